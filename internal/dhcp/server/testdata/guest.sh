# Runs a DHCP client as a guest would, in a mount namespace where nothing of the machine is written to:
#   DIR=... guest.sh PROGRAM [ARGUMENT...]
# DIR outlives the client, as a guest's disk outlives its boots.
set -e
mkdir -p "$DIR/netif/links" "$DIR/netif/leases" "$DIR/netif/lldp" "$DIR/lib"
chown -R systemd-network:systemd-network "$DIR/netif"
mount -t tmpfs none /run
mkdir -p /run/systemd/network /run/systemd/netif /run/lock
mount --bind "$DIR/netif" /run/systemd/netif
[ ! -d /var/lib/dhcpcd ] || mount --bind "$DIR/lib" /var/lib/dhcpcd
# Read-only, so that systemd-networkd does not wait for udev to name the interface.
mount -o remount,bind,ro /sys
cp "${0%/*}/networkd.conf" /run/systemd/network/10-guest.network
exec "$@"
