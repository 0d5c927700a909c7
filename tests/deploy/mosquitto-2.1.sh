#!/bin/bash
# Put Mosquitto 2.1 beside the installed one: it is not in Debian 12, so it comes from the next Debian, with the
# libraries it was built for, into a folder of its own. Nothing on the machine changes.
#
#   PATH=$(tests/deploy/mosquitto-2.1.sh):$PATH pytest -m system
#
# Prints the folder to put first on the PATH. Needs apt, and the Debian archive that mirror.py finds or is told;
# no root. Some 10 s, once.
set -euo pipefail
root=${MOSQUITTO_21:-/var/tmp/fedge-mosquitto-2.1}
suite=forky
arch=$(dpkg --print-architecture)

if [ ! -e "$root/bin/mosquitto" ]; then
    mirror=$("$(dirname "$0")/mirror.py")
    rm -rf "$root"
    mkdir -p "$root"/{lists/partial,debs/partial,tree,bin}
    : >"$root/status"
    echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror $suite main" >"$root/sources.list"
    options=(-qq -o "Dir::Etc::SourceList=$root/sources.list" -o Dir::Etc::SourceParts=/dev/null
        -o "Dir::State::Lists=$root/lists" -o "Dir::State::status=$root/status" -o "Dir::Cache=$root/cache"
        -o "Dir::Cache::Archives=$root/debs" -o APT::Install-Recommends=false -o Debug::NoLocking=true
        -o APT::Sandbox::User=root)
    apt-get "${options[@]}" update >&2
    apt-get "${options[@]}" --yes --download-only install mosquitto >&2
    for package in "$root"/debs/*.deb; do dpkg-deb -x "$package" "$root/tree"; done
    loader=$(find "$root/tree" -name 'ld-linux*.so.*' | head -1)
    libraries=$(find "$root/tree" -name 'libmosquitto*.so.*' -printf '%h\n' -o -name 'libc.so.6' -printf '%h\n' | sort -u | paste -sd:)
    for folder in ${libraries//:/ }; do /sbin/ldconfig -n "$folder"; done # names that a package leaves to ldconfig
    cat >"$root/bin/mosquitto" <<RUN
#!/bin/sh
exec "$loader" --library-path "$libraries" "$root/tree/usr/sbin/mosquitto" "\$@"
RUN
    chmod +x "$root/bin/mosquitto"
    "$root/bin/mosquitto" -h | head -1 >&2 || true
    rm -rf "$root"/{lists,debs,cache}
fi
echo "$root/bin"
