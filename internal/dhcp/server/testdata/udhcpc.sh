#!/bin/sh
# What udhcpc calls: configures the interface and writes down what the server said.
case "$1" in
deconfig)
	ip -4 addr flush dev "$interface"
	exit ;;
bound | renew) ;;
*) exit ;;
esac
ip addr replace "$ip/$mask" dev "$interface"
[ -z "$mtu" ] || ip link set "$interface" mtu "$mtu"
if [ -n "$staticroutes" ]; then
	set -- $staticroutes # option 121, which replaces option 3
	while [ $# -gt 1 ]; do
		if [ "$2" = 0.0.0.0 ]; then
			ip route replace "$1" dev "$interface"
		else
			ip route replace "$1" via "$2" dev "$interface"
		fi
		shift 2
	done
elif [ -n "$router" ]; then
	ip route replace default via "$router" dev "$interface"
fi
cat >"$OUT.new" <<END
dns=$dns
domain=$domain
search=$search
hostname=$hostname
ntp=$ntpsrv
mtu=$mtu
END
mv "$OUT.new" "$OUT"
