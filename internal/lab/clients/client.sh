#!/bin/sh
# What a guest's DHCP client calls: does with ip(8) what it was told, and writes that down in $HR_TOLD, a line
# an event: "client event key=value …", separated by tabs. udhcpc names the event in $1, dhclient and dhcpcd in
# $reason. Nothing of the machine is touched: all guests share its files, and its resolv.conf is not theirs.
# It starts few processes: in an emulated VM each takes a tenth of a second.
set -u

tab='	'
newline='
'

# told CLIENT EVENT KEY VALUE...: without what has no value.
told() {
  line="$1$tab$2"; shift 2
  while [ $# -gt 1 ]; do
    [ -z "$2" ] || line="$line$tab$1=$2"
    shift 2
  done
  printf '%s\n' "$line" >>"$HR_TOLD"
}

# resolv SERVERS SEARCH: the guest's resolv.conf, beside its other files.
resolv() {
  [ -n "$1" ] || return 0
  text=${2:+search $2$newline}
  for server in $1; do text="${text}nameserver $server$newline"; done
  printf %s "$text" >"${HR_TOLD%/*}/resolv.conf"
}

# configure4 DEV ADDRESS/LENGTH MTU ROUTES ROUTERS: ROUTES are "DST GW …", the classless ones; only where there are
# none the routers count (RFC 3442).
configure4() {
  dev=$1 routers=$5
  batch="${3:+link set $dev mtu $3$newline}address replace $2 dev $dev$newline"
  # shellcheck disable=SC2086
  set -- $4
  [ $# -gt 0 ] || for r in $routers; do batch="${batch}route replace default via $r dev $dev metric 100$newline"; done
  while [ $# -gt 1 ]; do
    case $2 in
      0.0.0.0) batch="${batch}route replace $1 dev $dev scope link metric 100$newline" ;;
      *) batch="${batch}route replace $1 via $2 dev $dev metric 100$newline" ;;
    esac
    shift 2
  done
  printf %s "$batch" | ip -4 -batch -
}

# classless LENGTH OCTET… …: dhclient's plain octets of option 121 as "DST GW …" in $routes.
classless() {
  routes=
  while [ $# -gt 4 ]; do
    length=$1 dst= n=0; shift
    while [ $n -lt 4 ]; do
      if [ $((n * 8)) -lt "$length" ]; then dst="$dst.$1"; shift; else dst="$dst.0"; fi
      n=$((n + 1))
    done
    routes="$routes ${dst#.}/$length $1.$2.$3.$4"
    shift 4
  done
}

# link_local DEV: waits until the link-local address may be used; a client of DHCPv6 needs it.
link_local() {
  n=0
  while [ $n -lt 60 ]; do
    case $(ip -6 address show dev "$1" scope link) in
      *tentative*) ;;
      *inet6*) return ;;
    esac
    n=$((n + 1))
    sleep 0.5
  done
}

udhcpc() {
  case $1 in
    deconfig) printf 'address flush dev %s scope global\nlink set %s up\n' "$interface" "$interface" | ip -4 -batch - ;;
    bound | renew)
      configure4 "$interface" "$ip/$mask" "${mtu-}" "${staticroutes-}" "${router-}"
      resolv "${dns-}" "${search-}" ;;
  esac
  told udhcpc "$1" address "${ip:+$ip/${mask-}}" server "${serverid-}" routers "${router-}" routes "${staticroutes-}" dns "${dns-}" \
    domain "${domain-}" search "${search-}" hostname "${hostname-}" mtu "${mtu-}" ntp "${ntpsrv-}" lease "${lease-}"
}

dhclient4() {
  # shellcheck disable=SC2086
  classless ${new_rfc3442_classless_static_routes-}
  address=${new_ip_address:+$new_ip_address/${new_subnet_mask-}}
  case $reason in
    PREINIT) ip link set "$interface" up ;;
    BOUND | RENEW | REBIND | REBOOT)
      configure4 "$interface" "$address" "${new_interface_mtu-}" "$routes" "${new_routers-}"
      resolv "${new_domain_name_servers-}" "${new_domain_search-}" ;;
    EXPIRE | FAIL | RELEASE | STOP) ip -4 address flush dev "$interface" scope global ;;
  esac
  told dhclient "$reason" address "$address" server "${new_dhcp_server_identifier-}" routers "${new_routers-}" routes "$routes" \
    dns "${new_domain_name_servers-}" domain "${new_domain_name-}" search "${new_domain_search-}" hostname "${new_host_name-}" \
    mtu "${new_interface_mtu-}" ntp "${new_ntp_servers-}" lease "${new_dhcp_lease_time-}"
}

dhclient6() {
  address=${new_ip6_address-}
  case $reason in
    PREINIT6) ip link set "$interface" up; link_local "$interface" ;;
    BOUND6 | RENEW6 | REBIND6)
      [ -z "$address" ] || ip -6 address replace "$address/128" dev "$interface" valid_lft "$new_max_life" preferred_lft "$new_preferred_life" ;;
    EXPIRE6 | RELEASE6 | STOP6) [ -z "${old_ip6_address-}" ] || ip -6 address del "$old_ip6_address/128" dev "$interface" ;;
  esac
  told dhclient "$reason" address "${address:+$address/128}" delegated "${new_ip6_prefix-}" server "${new_dhcp6_server_id-}" \
    dns "${new_dhcp6_name_servers-}" search "${new_dhcp6_domain_search-}" ntp "${new_dhcp6_sntp_servers-}"
}

# dhcpcd configures the interface itself.
dhcpcd() {
  case $reason in
    *6) told dhcpcd "$reason" address "${new_dhcp6_ia_na1_ia_addr1-}" delegated "${new_dhcp6_ia_pd1_prefix1-}" \
      server "${new_dhcp6_server_id-}" dns "${new_dhcp6_name_servers-}" search "${new_dhcp6_domain_search-}" ;;
    ROUTERADVERT) told dhcpcd "$reason" server "${nd1_from-}" dns "${nd1_rdnss1_servers-}" search "${nd1_dnssl1_search-}" ;;
    *) told dhcpcd "$reason" address "${new_ip_address:+$new_ip_address/${new_subnet_cidr-}}" \
      server "${new_dhcp_server_identifier-}" routers "${new_routers-}" routes "${new_classless_static_routes-}" \
      dns "${new_domain_name_servers-}" domain "${new_domain_name-}" search "${new_domain_search-}" hostname "${new_host_name-}" \
      mtu "${new_interface_mtu-}" ntp "${new_ntp_servers-}" lease "${new_dhcp_lease_time-}" ;;
  esac
}

case "$HR_CLIENT-${reason-}" in
  udhcpc-*) udhcpc "$1" ;;
  dhclient-*6) dhclient6 ;;
  dhclient-*) dhclient4 ;;
  dhcpcd-*) dhcpcd ;;
esac
