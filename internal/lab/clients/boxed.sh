# Runs a client that insists on its own places below /run and /var/lib: there it finds directories of its guest.
# ip(8) has already given this process mounts of its own, so nobody else sees them. With a read-only /sys
# systemd-networkd doesn't wait for an udev that the guest doesn't have. /run comes last: the box may be below it.
set -eu
[ ! -d /var/lib/dhcpcd ] || mount --bind "$HR_BOX/lib" /var/lib/dhcpcd
mount -o remount,bind,ro /sys
mount --bind "$HR_BOX/run" /run
exec "$@"
