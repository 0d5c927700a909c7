#!/bin/bash
# What the containers' test needs on a machine without a container engine and without an image registry.
#
#   containers.sh     install podman with runc, and make what compose.yaml names from Debian 12's packages, each
#                     unless it is there already:
#                       docker.io/library/python:3.11.14-slim-bookworm  Python 3.11.2
#                       docker.io/library/eclipse-mosquitto:2.0.22      Mosquitto 2.0.11
#                       docker.io/prom/prometheus:v3.5.0                Prometheus 2.42
#
# The names are those of the real images, so that the files are tested as they are; the versions are Debian's.
# Where the real images can be pulled, pull them first: then they are what is tested.
# As root. The first time takes two minutes; later calls return at once.
set -euo pipefail
python=docker.io/library/python:3.11.14-slim-bookworm
broker=docker.io/library/eclipse-mosquitto:2.0.22
prometheus=docker.io/prom/prometheus:v3.5.0
work=${CONTAINERS_WORK:-/var/tmp/fedge-containers}

if ! command -v podman >/dev/null || ! command -v runc >/dev/null; then
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
        podman buildah runc netavark aardvark-dns iptables debootstrap >/dev/null
fi
if [ ! -e /etc/containers/containers.conf ]; then
    # Without systemd there are no cgroups to delegate, and limits that exceed the machine's own are refused.
    mkdir -p /etc/containers
    cat >/etc/containers/containers.conf <<'CONF'
[containers]
default_ulimits = ["nofile=20000:20000", "nproc=9000:9000"]
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
CONF
fi
mkdir -p "$work"

exists() { podman image exists "$1"; }

# NAME COMMAND OPTIONS…: an image of the base, in which the command was run as root
derive() {
    local name=$1 command=$2 container
    shift 2
    container=$(buildah from "$python")
    buildah run --network=host "$container" -- sh -c "$command" >>"$work/log" 2>&1
    buildah config "$@" "$container"
    buildah commit -q "$container" "$name" >/dev/null
    buildah rm "$container" >/dev/null
}
install="apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends"

if ! exists "$python"; then
    mirror=$("$(dirname "$0")/mirror.py")
    rm -rf "$work/root"
    debootstrap --variant=minbase --include=python3,python3-venv,python3-pip,ca-certificates \
        bookworm "$work/root" "$mirror" >"$work/log" 2>&1
    for name in python python3; do ln -sf /usr/bin/python3 "$work/root/usr/local/bin/$name"; done
    ln -sf /usr/bin/pip3 "$work/root/usr/local/bin/pip"
    rm -f "$work"/root/usr/lib/python3*/EXTERNALLY-MANAGED
    # Whatever authorities this machine trusts, a build of it has to trust too.
    rm -rf "$work/root/etc/ssl/certs"
    cp -rL /etc/ssl/certs "$work/root/etc/ssl/certs"
    tar -C "$work/root" -c . | podman import --change 'CMD ["python3"]' - "$python" >/dev/null
    rm -rf "$work/root"
fi
if ! exists "$broker"; then
    derive "$broker" "$install mosquitto && mkdir -p /mosquitto/config /mosquitto/data /mosquitto/log \
            && chown -R mosquitto /mosquitto" \
        --entrypoint '[]' --cmd '/usr/sbin/mosquitto -c /mosquitto/config/mosquitto.conf' --port 1883
fi
if ! exists "$prometheus"; then
    derive "$prometheus" "$install prometheus && mkdir -p /prometheus && chown nobody:nogroup /prometheus" \
        --entrypoint '["/usr/bin/prometheus"]' --cmd '' --user nobody --port 9090
fi
