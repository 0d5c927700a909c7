#!/bin/sh
# Process 1 of the virtual machine: broker, aggregator and every device, as their services would start them.
# What they say goes to the serial console, and so does the end of any of them.
export PATH=/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin
export PYTHONPATH=/srv/code PYTHONUNBUFFERED=1 OPENBLAS_NUM_THREADS=1
exec </dev/null >/dev/ttyS0 2>&1

mount -t tmpfs tmpfs /tmp
modprobe virtio_net
ip link set lo up
ip link set eth0 up
ip address add 10.0.2.15/24 dev eth0

# The kernel writes nothing back by itself, and closes its journal only when somebody asks for it: what no
# program has synced is not on the disk when the power goes.
mount -t ext4 -o noatime,commit=300 /dev/vdb /srv
echo 0 >/proc/sys/vm/dirty_writeback_centisecs

cd /srv/fleet || exit
chown -R mosquitto broker
sh /srv/code/quarantine-db /srv/fleet/demo/broker
(
    mosquitto -c mosquitto.conf 2>&1 | sed -u 's/^/broker: /'
    echo "POWER ended the broker"
) &
python3 /srv/code/programs.py &
echo "POWER on"
while :; do wait; sleep 3600; done
