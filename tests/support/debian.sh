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

# shellcheck source=tests/support/boot.sh
. "${0%/*}/boot.sh"
