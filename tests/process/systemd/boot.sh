#!/bin/bash
# The first process of a box: boots this machine's systemd over an overlay of its root, so that nothing that it writes
# or cleans reaches the machine. Only ever run by box.py, as root, within namespaces of its own:
#
#   unshare --pid --fork --kill-child --mount --uts --ipc bash boot.sh FOLDER
#
# `boot.sh FOLDER --try` only tries the mounts, and exits 0 where a box can be had. The network is the machine's own.
# There is no udev and no logind. The box is gone, with its mounts, when its first process ends.
set -e
folder=$1
root=$folder/root
mount --make-rprivate /
mkdir -p "$folder/space" "$root"
mount -t tmpfs tmpfs "$folder/space"
mkdir "$folder/space/upper" "$folder/space/work"
mount -t overlay overlay -o "lowerdir=/,upperdir=$folder/space/upper,workdir=$folder/space/work" "$root"
mount -t proc proc "$root/proc"
mount --bind /dev "$root/dev"
mount -t sysfs -o ro sysfs "$root/sys"
mount -t tmpfs tmpfs "$root/sys/fs/cgroup"
mkdir "$root/sys/fs/cgroup/systemd"
mount -t cgroup -o none,name=systemd cgroup "$root/sys/fs/cgroup/systemd"
mount -t tmpfs tmpfs "$root/run"
mount -t tmpfs tmpfs "$root/tmp"
test "$2" != --try || exit 0

rm -f "$root/etc/machine-id"
echo 0123456789abcdef0123456789abcdef >"$root/etc/machine-id"
units=$root/etc/systemd/system
for unit in systemd-{udevd,udev-trigger,tmpfiles-setup-dev,sysctl,modules-load,binfmt,remount-fs,update-utmp,random-seed}.service \
            systemd-udevd-{control,kernel}.socket \
            {dev-hugepages,sys-kernel-debug,sys-kernel-tracing,sys-kernel-config,sys-fs-fuse-connections}.mount; do
  ln -sf /dev/null "$units/$unit"
done
# Not chroot: the kernel makes no user namespace (PrivateUsers=) for a process in one.
cd "$root"
pivot_root . .
umount -l .
# As on a machine. systemd leaves it to us in a container, and mounts credentials by it.
mount --make-rshared /
exec env -i container=box PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
  /lib/systemd/systemd --system --unit=basic.target --log-target=journal
