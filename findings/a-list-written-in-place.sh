#!/usr/bin/env bash
# Mosquitto 2.0.11 (Debian 12: 2.0.11-1.2+deb12u2) with its plugin for dynamic security. Needs Debian 12, apt, no root.
#
# Expected: the plugin replaces its file of clients, roles and passwords as a whole. The program contains the text
#   "%s.new" and a rename, as for the broker's other files.
# What happens: it truncates the file and writes the whole list in place for each command. The buffer for the new name
#   is as long as the old name, so ".new" is cut off, and the file is renamed to itself. A second name of the file (a
#   hard link, below) shows this: with a real rename it would keep the old content.
# Effect: a power cut, a killed broker or a full disk during the write leaves a part of the list. The broker starts with
#   that, logs one line, and knows no client and no administrator.
# Source: https://github.com/eclipse-mosquitto/mosquitto/pull/2734, which mended it for later versions; Debian 12 has the
#   older one. In 2.1.2 the file is new, synced and renamed.
set -euo pipefail

version=2.0.11-1.2+deb12u2
folder=$(mktemp -d)
broker=
trap '[ -z "$broker" ] || kill "$broker"; wait; rm -rf "$folder"' EXIT
cd "$folder"
apt-get -qq download "mosquitto=$version" "libmosquitto1=$version" libcjson1 libdlt2 libwrap0 2>/dev/null
for package in *.deb; do dpkg-deb -x "$package" tree; done
libraries=$(echo "$folder"/tree/usr/lib/*-linux-gnu)
export LD_LIBRARY_PATH=$libraries

control=("$folder/tree/usr/bin/mosquitto_ctrl")
"${control[@]}" dynsec init "$folder/clients.json" admin secret >/dev/null
port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
cat >mosquitto.conf <<CONF
listener $port 127.0.0.1
allow_anonymous false
user $(id -un)
plugin $libraries/mosquitto_dynamic_security.so
plugin_opt_config_file $folder/clients.json
log_dest file $folder/log
CONF
tree/usr/sbin/mosquitto -c mosquitto.conf &
broker=$!
for _ in $(seq 100); do
    grep -qs " running" log && break
    sleep 0.1
done
echo "mosquitto $(grep -o 'version [0-9.]*' log | head -1)"

ln clients.json second-name
"${control[@]}" -h 127.0.0.1 -p "$port" -u admin -P secret dynsec createRole pump
echo "the file now:            $(grep -c '"rolename":.*"pump"' clients.json) role of that name"
echo "its second name, before: $(grep -c '"rolename":.*"pump"' second-name || true) role of that name"
if ! grep -q '"pump"' clients.json; then
    echo "the role was not saved: this has changed"
    exit 1
fi
if ! grep -q '"pump"' second-name; then
    echo "the file was replaced as a whole: this has changed"
    exit 1
fi
echo "both are one file: it was written in place"
