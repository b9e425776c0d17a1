#!/bin/sh
# Runs in the guest: starts the agent and a burner, fetches a profile of it, prints that between two marks.
[ -e /object ] && export PPROFD_EBPF_OBJECT=/object
/pprofd --listen 127.0.0.1:7060 2> /tmp/log &
agent=$!
/burner &
burner=$!
tries=0
until wget -q -O /dev/null http://127.0.0.1:7060/readyz; do
  tries=$((tries + 1))
  kill -0 $agent && [ $tries -lt 300 ] || { cat /tmp/log; exit 1; }
  usleep 200000
done
wget -q -O /tmp/profile "http://127.0.0.1:7060/pid/$burner/debug/pprof/profile?seconds=4&hz=99" || { cat /tmp/log; exit 2; }
echo "smoke: profile begins"
base64 /tmp/profile
echo "smoke: profile ends"
kill -TERM $agent
wait $agent || { cat /tmp/log; exit 3; }
kill $burner
