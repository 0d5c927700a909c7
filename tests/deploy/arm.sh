#!/bin/bash
# An ARM Linux userland on this machine, by emulation: it stands in for a Raspberry Pi's. As root.
#
#   arm.sh up arm64|armhf            build a Debian 12 for that processor; three to four minutes, once
#   arm.sh exec arm64|armhf CMD...   run a command in it
#   arm.sh down arm64|armhf          delete it
#
# It has the machine's network and nothing else of it. Emulation is 10 to 30 times slower than the machine: it
# shows that something works, never how fast.
set -euo pipefail
arch=${2:-}
case $arch in
arm64) processor=qemu-aarch64 ;;
armhf) processor=qemu-arm ;;
*) sed -n '2,/^set /p' "$0" | sed '$d'; exit 64 ;;
esac
root=/var/tmp/arm-$arch

# The path of a folder is a mount: nothing is deleted through one.
not_mounted() {
    if grep -q " $root/" /proc/mounts; then echo "$root: something is still mounted in it" >&2; exit 1; fi
}

case $1 in
up)
    if [ -e "$root/ready" ]; then exit 0; fi
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
        qemu-user-static binfmt-support debootstrap >/dev/null
    mountpoint -q /proc/sys/fs/binfmt_misc || mount -t binfmt_misc binfmt_misc /proc/sys/fs/binfmt_misc
    [ -e /proc/sys/fs/binfmt_misc/$processor ] || update-binfmts --enable $processor
    not_mounted
    mirror=$("$(dirname "$0")/mirror.py")
    rm -rf --one-file-system "$root"
    debootstrap --arch="$arch" --variant=minbase --include=python3,python3-venv,python3-pip,ca-certificates \
        bookworm "$root" "$mirror" >"$root.log" 2>&1 || { tail -5 "$root.log" >&2; exit 1; }
    # The authorities that this machine trusts, a proxy's among them.
    rm -rf "$root/etc/ssl/certs"
    cp -rL /etc/ssl/certs "$root/etc/ssl/certs"
    cp -L /etc/resolv.conf "$root/etc/resolv.conf"
    touch "$root/ready"
    ;;
exec)
    shift 2
    # In a mount namespace of its own: what is mounted goes with the command. The kernel knows the emulator by
    # its file, or not at all after a restart of the machine.
    mountpoint -q /proc/sys/fs/binfmt_misc || mount -t binfmt_misc binfmt_misc /proc/sys/fs/binfmt_misc
    [ -e /proc/sys/fs/binfmt_misc/$processor ] || update-binfmts --enable $processor
    # shellcheck disable=SC2016 # expanded by the inner shell
    exec unshare --mount --propagation private /bin/sh -euc '
        root=$1; shift
        mount -t proc proc "$root/proc"
        mount --rbind /dev "$root/dev"
        exec chroot "$root" /usr/bin/env -i HOME=/root LANG=C.UTF-8 PATH=/usr/sbin:/usr/bin:/sbin:/bin "$@"
    ' sh "$root" "$@"
    ;;
down)
    not_mounted
    rm -rf --one-file-system "$root"
    ;;
*) exit 64 ;;
esac
