package kernel

import (
	"strconv"
	"strings"
)

// setGroupQuietly sets a link's group by sysfs and tells whether it could. By
// netlink a group is a change of the link, for which the kernel goes through all
// IPv6 routes of all tables if the link is up: 25 ms for 65,000 routes, for each
// tap, in which nobody else can change anything. By sysfs it is a number that is
// written, and nobody is told. Only the caller's own namespace is what sysfs
// shows, and only if it was mounted there: what it shows must be the very link.
func setGroupQuietly(name string, port linkID, group uint32) bool {
	if strings.ContainsRune(name, '/') || name == "." || name == ".." {
		return false
	}
	dir := "/sys/class/net/" + name + "/"
	index, err := readFile(dir + "ifindex")
	if err != nil || index != strconv.Itoa(port.index) {
		return false
	}
	address, err := readFile(dir + "address")
	if err != nil || address != port.mac {
		return false
	}
	return writeFile(dir+"netdev_group", strconv.FormatUint(uint64(group), 10)) == nil
}
