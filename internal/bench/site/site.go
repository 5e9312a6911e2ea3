package site

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/hostroute/hostroute/internal/bench/contender"
)

const (
	// AS is that of everybody.
	AS = 65000
	// Table is the one that contenders write.
	Table = 90

	port   = 1179
	prefix = "hrbench-"
)

// Site is a namespace for a contender and one for the reflectors.
type Site struct {
	DUT, RR    string // as ip netns knows them
	reflectors int
}

var sites atomic.Int32

// New makes a site with one or two reflectors.
func New(ctx context.Context, reflectors int) (*Site, error) {
	if err := sweep(ctx); err != nil {
		return nil, err
	}
	name := fmt.Sprintf("%s%d-%d", prefix, os.Getpid(), sites.Add(1))
	s := &Site{DUT: name + "-dut", RR: name + "-rr", reflectors: reflectors}
	if err := s.build(ctx); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

func (s *Site) build(ctx context.Context) error {
	for _, ns := range []string{s.DUT, s.RR} {
		if _, err := ip(ctx, "", "netns", "add", ns); err != nil {
			return err
		}
	}
	if err := s.settings(); err != nil {
		return err
	}
	for _, family := range []string{"-4", "-6"} { // so that the kernel looks into the table when it is asked for an address
		if _, err := ip(ctx, "", "-n", s.DUT, family, "rule", "add", "pref", "40000", "lookup", strconv.Itoa(Table)); err != nil {
			return err
		}
	}
	dut, rr := []string{"link set lo up"}, []string{"link set lo up"}
	for i, r := range s.Reflectors() {
		dut = append(dut,
			fmt.Sprintf("link add %s type veth peer name rr-%s netns %s", r.Uplink, r.Plane, s.RR),
			fmt.Sprintf("addr add %s dev %s", r.Local, r.Uplink),
			fmt.Sprintf("addr add %s dev %s nodad", r.Local6, r.Uplink),
			"link set "+r.Uplink+" up")
		rr = append(rr, fmt.Sprintf("addr add %s/16 dev rr-%s", r.Address, r.Plane),
			fmt.Sprintf("addr add fd64:%x::1/64 dev rr-%s nodad", 10+i, r.Plane), "link set rr-"+r.Plane+" up")
	}
	if err := batch(ctx, s.DUT, dut); err != nil {
		return err
	}
	return batch(ctx, s.RR, rr)
}

// settings are limits that would stop any contender; what is of no consequence for the
// amount of routes is left to them.
func (s *Site) settings() error {
	return Do(s.DUT, func() error {
		for name, value := range map[string]string{
			"ipv6/route/max_size":          "2147483647",
			"ipv6/conf/all/disable_ipv6":   "0",
			"ipv6/conf/default/accept_dad": "0",
		} {
			if err := os.WriteFile("/proc/sys/net/"+name, []byte(value), 0o644); err != nil && !errors.Is(err, os.ErrNotExist) {
				return fmt.Errorf("setting %s: %w", name, err)
			}
		}
		return nil
	})
}

// Reflectors are those of the site, each in a plane of its own, on whose subnets all next hops are.
func (s *Site) Reflectors() []contender.Reflector {
	list := make([]contender.Reflector, s.reflectors)
	for i := range list {
		plane := string(rune('a' + i))
		list[i] = contender.Reflector{
			Plane: plane, Uplink: "up-" + plane, Port: port,
			Local:   netip.PrefixFrom(netip.AddrFrom4([4]byte{100, byte(64 + i), 0, 2}), 16),
			Local6:  netip.PrefixFrom(netip.AddrFrom16([16]byte{0: 0xfd, 1: 0x64, 3: byte(10 + i), 15: 2}), 64),
			Address: netip.AddrFrom4([4]byte{100, byte(64 + i), 0, 1}),
		}
	}
	return list
}

// Contender is the site as a contender sees it.
func (s *Site) Contender(dir string) contender.Site {
	return contender.Site{Namespace: s.DUT, Dir: dir, Table: Table, AS: AS, RouterID: netip.AddrFrom4([4]byte{10, 0, 0, 2}), Reflectors: s.Reflectors()}
}

// Close ends what still runs in the site, and the site. It has its own time, so
// that it works when the context of all else has ended.
func (s *Site) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	return errors.Join(remove(ctx, s.DUT), remove(ctx, s.RR))
}

func remove(ctx context.Context, ns string) error {
	if _, err := os.Stat("/run/netns/" + ns); errors.Is(err, os.ErrNotExist) {
		return nil
	}
	out, err := ip(ctx, "", "netns", "pids", ns)
	if err != nil {
		return err
	}
	for _, f := range strings.Fields(out) {
		if pid, err := strconv.Atoi(f); err == nil && pid != os.Getpid() {
			_ = syscall.Kill(pid, syscall.SIGKILL) // gone already is as good
		}
	}
	// The kernel would take minutes to end a namespace with many routes through next-hop
	// objects, and hold up all others meanwhile.
	for _, family := range []string{"-4", "-6"} {
		_, _ = ip(ctx, "", "-n", ns, family, "route", "flush", "table", strconv.Itoa(Table)) // there may be no such table
	}
	_, err = ip(ctx, "", "netns", "del", ns)
	return err
}

// sweep removes the sites of processes that are gone.
func sweep(ctx context.Context) error {
	entries, err := os.ReadDir("/run/netns")
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("listing network namespaces: %w", err)
	}
	var errs []error
	for _, e := range entries {
		rest, ok := strings.CutPrefix(e.Name(), prefix)
		maker, _, _ := strings.Cut(rest, "-")
		pid, err := strconv.Atoi(maker)
		if ok && err == nil && errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) {
			errs = append(errs, remove(ctx, e.Name()))
		}
	}
	return errors.Join(errs...)
}

// Do calls f on a thread that is in a namespace; sockets that f opens stay there. The
// thread ends afterwards.
func Do(namespace string, f func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // and never unlocked
		done <- inside(namespace, f)
	}()
	return <-done
}

func inside(namespace string, f func() error) error {
	ns, err := os.Open("/run/netns/" + namespace)
	if err != nil {
		return fmt.Errorf("opening the namespace %s: %w", namespace, err)
	}
	defer ns.Close()
	if err := unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("entering the namespace %s: %w", namespace, err)
	}
	return f()
}

func batch(ctx context.Context, ns string, lines []string) error {
	_, err := ip(ctx, strings.Join(lines, "\n")+"\n", "-n", ns, "-b", "-")
	return err
}

func ip(ctx context.Context, stdin string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, "ip", args...)
	cmd.Stdin = strings.NewReader(stdin)
	out, err := cmd.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("running ip %s: %w: %s", strings.Join(args, " "), err, strings.TrimSpace(string(out)))
	}
	return string(out), nil
}
