package kernel

import (
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/hostroute/hostroute/internal/testenv"
)

// TestGroupBySysfs: the group of a link is set through sysfs where that shows the
// caller's namespace, and not at all where it shows another one, or another device.
func TestGroupBySysfs(t *testing.T) {
	ns := testenv.NewNetns(t)
	ns.IP("link add hrgroup0 type bridge", "link set hrgroup0 address ee:ee:ee:ee:ee:07 up")
	k := New(Options{NetNS: ns.FD()})
	must(t, k.open())
	t.Cleanup(func() { must(t, k.Close()) })
	found, err := (&executor{Kernel: k, ports: map[string]linkID{}}).lookUp("hrgroup0")
	must(t, err)
	group := func() string { return ns.Run("ip", "link", "show", "hrgroup0") }
	must(t, ns.Do(func() error {
		if setGroupQuietly("hrgroup0", found, 7) {
			t.Error("sysfs of another namespace was written to")
		}
		if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
			return err
		}
		if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
			return err
		}
		if err := unix.Mount("sysfs", "/sys", "sysfs", 0, ""); err != nil {
			return err
		}
		for what, other := range map[string]linkID{"another index": {found.index + 1, found.mac}, "another address": {found.index, "ee:ee:ee:ee:ee:08"}} {
			if setGroupQuietly("hrgroup0", other, 7) {
				t.Error("the group of a device was set that has " + what)
			}
		}
		if out := group(); !strings.Contains(out, "group default") {
			t.Errorf("the link is %s", out)
		}
		if !setGroupQuietly("hrgroup0", found, 7) {
			t.Error("the group was not set")
		}
		return nil
	}))
	if out := group(); !strings.Contains(out, "group 7") {
		t.Errorf("the link is %s", out)
	}
}
