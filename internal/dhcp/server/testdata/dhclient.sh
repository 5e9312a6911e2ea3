#!/bin/sh
# What dhclient calls: configures the interface and writes down what the server said.
case "$reason" in
PREINIT)
	ip link set "$interface" up
	exit ;;
BOUND | RENEW | REBIND | REBOOT) ;;
EXPIRE | FAIL | RELEASE | STOP)
	ip -4 addr flush dev "$interface"
	exit ;;
*) exit ;;
esac
length=0
for byte in $(echo "$new_subnet_mask" | tr . ' '); do
	while [ "$byte" -gt 0 ]; do
		length=$((length + byte % 2)) byte=$((byte / 2))
	done
done
[ "$old_ip_address" = "$new_ip_address" ] || ip -4 addr flush dev "$interface"
ip addr replace "$new_ip_address/$length" dev "$interface"
[ -z "$new_interface_mtu" ] || ip link set "$interface" mtu "$new_interface_mtu"
if [ -n "$new_rfc3442_routes" ]; then
	set -- $new_rfc3442_routes # bytes: length, significant bytes of the prefix, router
	while [ $# -gt 4 ]; do
		bits=$1 prefix= n=0
		shift
		while [ $n -lt 4 ]; do
			if [ $((n * 8)) -lt "$bits" ]; then
				prefix=$prefix.$1
				shift
			else
				prefix=$prefix.0
			fi
			n=$((n + 1))
		done
		if [ "$1.$2.$3.$4" = 0.0.0.0 ]; then
			ip route replace "${prefix#.}/$bits" dev "$interface"
		else
			ip route replace "${prefix#.}/$bits" via "$1.$2.$3.$4" dev "$interface"
		fi
		shift 4
	done
else
	for router in $new_routers; do
		ip route replace default via "$router" dev "$interface"
	done
fi
cat >"$OUT.new" <<END
dns=$new_domain_name_servers
domain=$new_domain_name
search=$new_domain_search
hostname=$new_host_name
ntp=$new_ntp_servers
mtu=$new_interface_mtu
END
mv "$OUT.new" "$OUT"
