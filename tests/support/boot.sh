# Starts the systemd of a machine whose root is the current folder: the end of machine.sh and of debian.sh.
# shellcheck shell=sh

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
