"""Bridges, NAT, DHCP and DNS on a cell, made by netlink, ``nft`` and dnsmasq."""
