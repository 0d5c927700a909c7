#!/bin/sh
# A simulated device. It takes a part of the data that no other container uses, joins the federation as that
# device unless it has joined before, and runs the agent as a real device does.
#
#   FEDGE_TROUBLE   if it contains "crash" or "all", the agent is killed repeatedly at random times
set -eu
devices=/var/lib/fedge/devices

# A lock is held until this container ends, so the part of an ended container is free again.
home=
for part in "$devices"/*/; do
    exec 9>"${part}lock"
    if flock --nonblock 9; then
        home=${part%/}
        break
    fi
done
if [ -z "$home" ]; then
    echo "device.sh: no part of the data is free: start fewer devices" >&2
    exit 0 # restarting would not help
fi
device=${home##*/}

# The broker and the registrar may start later than this container.
trap 'exit 0' TERM INT
until [ -e "$home/agent.toml" ]; do
    fedge-agent join - --device "$device" --folder "$home" <"$devices/token" || sleep 2
done

case ",${FEDGE_TROUBLE:-}," in
*,crash,* | *,all,*) ;;
*) exec fedge-agent --config "$home/agent.toml" ;;
esac

agent=
trap '[ -z "$agent" ] || kill -TERM "$agent"; exit 0' TERM INT
while true; do
    fedge-agent --config "$home/agent.toml" &
    agent=$!
    sleep "$(shuf -i 20-90 -n 1)" &
    wait $!
    kill -0 "$agent" 2>/dev/null || break # it ended by itself; the log has the reason
    echo "device.sh: killing the agent" >&2
    kill -KILL "$agent"
    wait "$agent" || true
done
wait "$agent"
