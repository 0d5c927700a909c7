#!/bin/bash
# A real Debian 12 with systemd as PID 1 and a network of its own, on a machine that has no hypervisor.
#
#   booted-debian.sh up            make it (the first time about a minute) and boot it; returns when systemd is up
#   booted-debian.sh exec CMD...   run a command inside it (systemctl, journalctl, apt-get, pip, ...)
#   booted-debian.sh copy SRC DST  copy a file or folder into it
#   booted-debian.sh down          power it off        (a later `up` boots the same files again)
#   booted-debian.sh kill          pull the plug       (no shutdown: what was not synced may be lost)
#   booted-debian.sh wipe          power it off and delete it; the next `up` makes a new one
#
# $ROOT.base keeps what every new one is a copy of. It is as clean as a new server: no Mosquitto, no pip, no Fedge. NAME and ROOT can be set in the environment.
# It reaches the world through this machine (NAT); its ports are its own. Needs root.
set -euo pipefail
NAME=${NAME:-fedge-debian}
ROOT=${ROOT:-/var/tmp/$NAME}
BASE=${BASE:-$ROOT.base}
NET=${NET:-10.213.58}

leader() {   # PID of its init, or nothing
    local nspawn; nspawn=$(pgrep -f "^systemd-nspawn -D $ROOT " | head -1) || true
    if [ -n "$nspawn" ]; then pgrep -P "$nspawn" | head -1 || true; fi
}
inside() {
    (cd / && nsenter -t "$(leader)" -m -u -i -p -n -r -w env -i HOME=/root TERM=dumb LANG=C.UTF-8 \
        PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin "$@")
}
nat() { iptables -t nat "$1" POSTROUTING -s "$NET.0/24" ! -d "$NET.0/24" -j MASQUERADE 2>/dev/null; }

build() {
    if ! command -v systemd-nspawn >/dev/null || ! command -v debootstrap >/dev/null || ! command -v iptables >/dev/null; then
        apt-get update -qq
        DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends systemd-container debootstrap iptables iproute2 >/dev/null
    fi
    if [ ! -e "$BASE/built" ]; then
        mirror=$("$(dirname "$0")/mirror.py")
        rm -rf "$BASE"
        debootstrap --variant=minbase --include=systemd,systemd-sysv,dbus,python3,ca-certificates,iproute2,sudo \
            bookworm "$BASE" "$mirror" >"$ROOT.log" 2>&1
        # What this machine trusts, and where its pip looks, holds inside too.
        rm -rf "$BASE/etc/ssl/certs"; cp -rL /etc/ssl/certs "$BASE/etc/ssl/certs"
        [ ! -e /etc/pip.conf ] || cp /etc/pip.conf "$BASE/etc/pip.conf"
        [ -z "${PIP_INDEX_URL:-}" ] || printf '[global]\nindex-url = %s\n' "$PIP_INDEX_URL" >"$BASE/etc/pip.conf"
        echo broker >"$BASE/etc/hostname"
        printf '127.0.0.1 localhost broker broker.example\n' >"$BASE/etc/hosts"
        touch "$BASE/built"
    fi
    [ -e "$ROOT/built" ] || { rm -rf "$ROOT"; cp -a --reflink=auto "$BASE" "$ROOT"; }
}
connect() {   # a namespace, a cable into it, and the way out
    [ -e "/run/netns/$NAME" ] && return 0
    local cable; cable=$(printf '%s' "$NAME" | cksum | cut -c1-8)
    ip netns add "$NAME"
    ip link add "h$cable" type veth peer name host0 netns "$NAME"
    ip addr add "$NET.1/24" dev "h$cable"; ip link set "h$cable" up
    ip -n "$NAME" addr add "$NET.2/24" dev host0
    ip -n "$NAME" link set lo up; ip -n "$NAME" link set host0 up
    ip -n "$NAME" route add default via "$NET.1"
    sysctl -qw net.ipv4.ip_forward=1
    nat -C || nat -A
    iptables -I FORWARD -s "$NET.0/24" -j ACCEPT; iptables -I FORWARD -d "$NET.0/24" -j ACCEPT
}
disconnect() {
    ip netns del "$NAME" 2>/dev/null || true
    nat -D || true
    iptables -D FORWARD -s "$NET.0/24" -j ACCEPT 2>/dev/null || true
    iptables -D FORWARD -d "$NET.0/24" -j ACCEPT 2>/dev/null || true
}
gone() { for _ in $(seq 600); do [ -n "$(leader)" ] || return 0; sleep 0.25; done; return 1; }

case "${1:-}" in
up)
    if [ -n "$(leader)" ]; then echo "$NAME: already up"; exit 0; fi
    build; connect
    systemd-nspawn -D "$ROOT" --boot --register=no --keep-unit --resolv-conf=copy-host \
        --network-namespace-path="/run/netns/$NAME" >"$ROOT.console" 2>&1 </dev/null &
    for _ in $(seq 1200); do
        sleep 0.25
        [ -n "$(leader)" ] || continue
        case "$(inside systemctl is-system-running 2>/dev/null || true)" in running|degraded) echo "$NAME: up"; exit 0;; esac
    done
    echo "$NAME: did not boot; see $ROOT.console" >&2; exit 1;;
exec) shift; inside "$@";;
copy) cp -r "$2" "$ROOT/$3";;
down) [ -z "$(leader)" ] || inside systemctl poweroff || true
      gone; disconnect; echo "$NAME: down";;
kill) kill -9 "$(leader)"; gone; echo "$NAME: killed";;
wipe) "$0" down || true; rm -rf "$ROOT" "$ROOT.log" "$ROOT.console"; echo "$NAME: gone";;
*) sed -n '2,/^set /p' "$0" | sed '$d'; exit 2;;
esac
