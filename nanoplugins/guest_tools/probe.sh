# Prints what is known of this boot; run by the guest's agent, or by the first-boot settings where there is none.
d=/run/cloud-init
echo "== cloud-init"
if [ -d $d ] || command -v cloud-init >/dev/null 2>&1; then echo present; else echo absent; fi
[ -e $d/disabled ] && echo disabled
echo "== status"
head -c 16384 $d/status.json 2>/dev/null
echo
echo "== result"
head -c 16384 $d/result.json 2>/dev/null
echo
echo "== warnings"
log=/var/log/cloud-init.log
if [ -r $log ]; then
  begin=$(grep -n "running 'init-local'" $log | tail -n 1 | cut -d: -f1)
  tail -n +"${begin:-1}" $log | grep -E ' - [a-z_]+\.py\[(WARNING|ERROR|CRITICAL)\]' | cut -c 1-400 | head -n 40
fi
echo "== shells"
while IFS=: read -r user _ id _ _ _ shell; do
  [ "$id" -ge 1000 ] 2>/dev/null && [ "$id" -lt 60000 ] && [ -n "$shell" ] && [ ! -x "$shell" ] && echo "$user $shell"
done </etc/passwd | head -n 20
echo "== memory"
grep -E '^Mem(Total|Available):' /proc/meminfo
echo "== end"
