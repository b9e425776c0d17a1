#!/bin/sh
# Runs in the guest: starts the agent, a burner and what works in a kernel module, fetches a profile of each, prints them
# between marks.
[ -e /object ] && export PPROFD_EBPF_OBJECT=/object
/pprofd --listen 127.0.0.1:7060 2> /tmp/log &
agent=$!
/burner &
burner=$!
/digests &
digests=$!
tries=0
until wget -q -O /dev/null http://127.0.0.1:7060/readyz; do
  tries=$((tries + 1))
  kill -0 $agent && [ $tries -lt 300 ] || { cat /tmp/log; exit 1; }
  usleep 200000
done
profile_of() {
  wget -q -O /tmp/profile "http://127.0.0.1:7060/pid/$2/debug/pprof/profile?seconds=4&hz=99" || { cat /tmp/log; exit 2; }
  echo "smoke: $1 begins"
  base64 /tmp/profile
  echo "smoke: $1 ends"
}
# The wall clock is set an hour ahead in the window of the first one, and back.
jump() {
  sleep 1
  date -s "@$(($(date +%s) + 3600))"
  sleep 1
  date -s "@$(($(date +%s) - 3600))" && echo "smoke: the clock was set twice"
}
jump &
jumping=$!
profile_of burner $burner
wait $jumping
profile_of digests $digests
kill -TERM $agent
wait $agent || { cat /tmp/log; exit 3; }
kill $burner $digests
