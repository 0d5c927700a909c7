#!/bin/sh
# Run Mosquitto, and let it reload its access list, passwords and revoked certificates when they change.
#
# The programs that change them run in another container and cannot signal a process in this one.
set -eu
folder=/var/lib/fedge/federation/broker

state() {
    cat "$folder/acl" "$folder/passwords" "$folder/crl.pem" | cksum
}

quarantine-db "$folder/data"
read=$(state)
mosquitto -c "$folder/mosquitto.conf" &
broker=$!
trap 'kill -TERM $broker' TERM INT
while sleep 1 && kill -0 "$broker" 2>/dev/null; do
    if [ "$(state)" != "$read" ]; then
        read=$(state)
        kill -HUP "$broker"
    fi
done
wait "$broker"
