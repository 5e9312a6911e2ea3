#!/bin/sh
# What dhcpcd calls: it has configured the interface itself; this writes down what the server said.
case "$reason" in
BOUND | RENEW | REBIND | REBOOT) ;;
*) exit 0 ;;
esac
[ -z "$new_interface_mtu" ] || ip link set "$interface" mtu "$new_interface_mtu"
cat >"$OUT.new" <<END
dns=$new_domain_name_servers
domain=$new_domain_name
search=$new_domain_search
hostname=$new_host_name
ntp=$new_ntp_servers
mtu=$new_interface_mtu
END
mv "$OUT.new" "$OUT"
