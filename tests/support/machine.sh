#!/bin/sh
# A machine in namespaces of its own, with a systemd as its first process: machine.rs beside this says what is in it.
#
#   machine.sh ROOT CGROUP KADABRA PROJECT [FROM TO]...
#
# ROOT is an empty folder, CGROUP a control group of version 2 without processes. Each folder FROM is at TO on the machine, to be read.
set -eu

if [ "$1" != inside ]; then
    # So that the control groups of this systemd lie below this one.
    echo $$ >"$2/cgroup.procs"
    # It could change the clock and the kernel of whoever runs the tests. It ends with the process that this becomes, and with
    # it everything that it has started.
    exec setpriv --bounding-set=-sys_boot,-sys_module,-sys_time,-syslog \
        unshare --cgroup --ipc --mount --net --pid --uts --fork --kill-child sh "$0" inside "$@"
fi

root=$2 kadabra=$4 project=$5
units=/usr/lib/systemd/system

mount -t tmpfs -o mode=755 tmpfs "$root"
cd "$root"
mkdir -p dev etc/systemd/system/sockets.target.wants etc/systemd/system/multi-user.target.wants etc/kadabra \
    home/somebody proc root run sys tmp usr var/lib var/log var/tmp
chmod 1777 tmp var/tmp

# The programs of whoever runs the tests, which nobody can change from here; of their units only those that a small machine needs.
mount --bind /usr usr
mount -o remount,bind,ro usr
for name in /bin /sbin /lib*; do
    [ ! -L "$name" ] || cp -a "$name" .
done
for folder in usr/local/bin usr/lib/systemd/system-generators usr/lib/systemd/system; do
    mount -t tmpfs -o mode=755 tmpfs $folder
done
for unit in basic.target final.target local-fs.target multi-user.target network.target network-online.target paths.target \
    shutdown.target slices.target sockets.target sysinit.target timers.target umount.target \
    systemd-journald.service systemd-journald.socket systemd-journald-dev-log.socket dbus.service dbus.socket; do
    cp -a $units/$unit usr/lib/systemd/system
done
for socket in dbus.socket systemd-journald.socket systemd-journald-dev-log.socket; do
    ln -s $units/$socket etc/systemd/system/sockets.target.wants
done

cat >etc/passwd <<END
root:x:0:0::/root:/bin/sh
messagebus:x:990:990::/:/bin/false
redis:x:991:991::/:/bin/false
somebody:x:1000:1000::/home/somebody:/bin/sh
nobody:x:65534:65534::/:/bin/false
END
cat >etc/group <<END
root:x:0:
messagebus:x:990:
redis:x:991:
somebody:x:1000:
clients:x:1001:
nogroup:x:65534:
END
echo 00000000000000000000000000000001 >etc/machine-id
echo machine >etc/hostname
echo '127.0.0.1 localhost' >etc/hosts
printf 'passwd: files systemd\ngroup: files systemd\nhosts: files\n' >etc/nsswitch.conf
echo 'of nobody else' >home/somebody/letter

# What docs/packages.md says about installing it by hand.
cp "$kadabra" usr/local/bin/kadabra
cp "$project/conf/examples/influxdb.toml" etc/kadabra/kadabra.toml
cp "$project/conf/systemd/kadabra.service" "$project/conf/systemd/kadabra.socket" etc/systemd/system

shift 5
while [ $# -gt 0 ]; do
    mkdir -p ".$2"
    mount --bind "$1" ".$2"
    mount -o remount,bind,ro ".$2"
    shift 2
done

# shellcheck source=tests/support/boot.sh
. "${0%/*}/boot.sh"
