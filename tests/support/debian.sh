#!/bin/sh
# A machine like that of machine.sh, but with a Debian of its own, on which packages can be installed, and nothing of this project:
# machine.rs beside this starts it.
#
#   debian.sh ROOT CGROUP DEBIAN    ROOT is an empty folder, CGROUP a control group of version 2 without processes, DEBIAN a folder that
#                                   tests/run makes, of which nothing is changed
set -eu

if [ "$1" != inside ]; then
    echo $$ >"$2/cgroup.procs"
    exec setpriv --bounding-set=-sys_boot,-sys_module,-sys_time,-syslog \
        unshare --cgroup --ipc --mount --net --pid --uts --fork --kill-child sh "$0" inside "$@"
fi

root=$2 debian=$4

mount -t tmpfs -o mode=755 tmpfs "$root"
cd "$root"
mkdir upper work machine
mount -t overlay -o "lowerdir=$debian,upperdir=$root/upper,workdir=$root/work" overlay machine
cd machine

echo 00000000000000000000000000000001 >etc/machine-id
echo machine >etc/hostname
echo '127.0.0.1 localhost' >etc/hosts

# Else systemd takes the devices of whoever runs the tests for its own.
mount -t tmpfs -o mode=755 tmpfs dev
cp -a /dev/full /dev/null /dev/random /dev/tty /dev/urandom /dev/zero dev
ln -s pts/ptmx dev/ptmx
mount -t proc proc proc
# Settings of the kernel, which are not this machine's alone.
mount --bind proc/sys proc/sys
mount -o remount,bind,ro proc/sys
mount -t sysfs -o ro sysfs sys
mount -t cgroup2 cgroup2 sys/fs/cgroup

mkdir outside
pivot_root . outside
umount -l outside
rmdir outside
# As systemd has it where no other program has prepared its mounts.
mount --make-rshared /
cd /
exec env -i container=kadabra PATH=/usr/local/bin:/usr/sbin:/usr/bin LANG=C.UTF-8 /lib/systemd/systemd --unit=multi-user.target
