#!/bin/busybox sh
# The first process: loads the modules, mounts the host's / under an overlay, and hands over to stage2.
bb() { /bin/busybox "$@"; }
bb mount -t proc proc /proc
bb mount -t sysfs sys /sys
bb mount -t devtmpfs dev /dev
while read -r m; do bb insmod "/modules/$m" || echo "hostroute: module $m can't be loaded"; done </modules/order
fail() { echo "hostroute: $*"; bb reboot -f; }
bb mount -t 9p -o trans=virtio,version=9p2000.L,msize=524288,cache=loose,ro host /host || fail "the host's / can't be mounted"
bb mount -t tmpfs -o mode=755 top /top && bb mkdir /top/upper /top/work || fail "no memory for the overlay"
bb mount -t overlay -o lowerdir=/host,upperdir=/top/upper,workdir=/top/work new /new || fail "the overlay can't be mounted"
for d in proc sys dev; do bb mount --move /$d /new/$d || bb umount /$d; done
bb mount -t tmpfs -o mode=755 run /new/run
bb mkdir -p /new/run/hostroute-vm
bb cp /stage2 /job /bin/busybox /new/run/hostroute-vm/
exec /bin/busybox switch_root /new /run/hostroute-vm/busybox sh /run/hostroute-vm/stage2
fail "switch_root came back"
