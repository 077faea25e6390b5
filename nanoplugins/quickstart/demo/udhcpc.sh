#!/bin/sh
# Called by udhcpc with the answer of the network in variables.
case "$1" in
deconfig)
    ip addr flush dev "$interface"
    ;;
bound | renew)
    ip addr replace "$ip/${mask:-24}" dev "$interface"
    for gateway in $router; do
        ip route replace default via "$gateway" dev "$interface"
    done
    {
        [ -n "$domain" ] && echo "search $domain"
        for server in $dns; do echo "nameserver $server"; done
    } > /etc/resolv.conf
    [ -n "$hostname" ] && hostname "$hostname"
    if [ "$1" = bound ]; then
        printf '\r\nnano-demo: ready %s\r\n' "$ip" > /dev/ttyS0
    fi
    ;;
esac
