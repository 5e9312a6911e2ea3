package kernel

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/hostroute/hostroute/vrf"
)

// Options of New and NewFIB.
type Options struct {
	// NetNS is an open file descriptor of the network namespace to work in, 0
	// for the caller's. It must stay open as long as the thing made with it.
	NetNS int
	// NoNextHopObjects makes the FIB write next hops into every route although
	// the kernel has next-hop objects. For tests, and against a kernel whose
	// objects are broken.
	NoNextHopObjects bool
	// NoResilientGroups makes the FIB use shared groups only although the kernel
	// has resilient ones. For the same purposes.
	NoResilientGroups bool
	// Resilience is used instead of vrf.DefaultResilience if it has buckets.
	Resilience vrf.Resilience
	// Writer is who needn't be told by Watch of the neighbours that it wrote or deleted
	// itself; nil: all are told.
	Writer *Kernel
}

// Kernel brings a host's desired state into the kernel. It is safe for
// concurrent use; reading and executing wait for each other.
type Kernel struct {
	ns   int
	port atomic.Uint32 // of the socket, as the kernel names it to those that watch

	mu     sync.Mutex
	handle *netlink.Handle
	socket *socket
	// routes are the guests' routes and blackholes as the last Read found them and Execute
	// changed them since; nil before the first Read. They spare a restricted
	// Apply the walk through tables with millions of learned ones.
	routes    *vrf.InstalledRoutes
	ports     map[string]*portState // uplinks and taps by name, as they were read last
	written   map[Route]bool        // blackholes of ours, which no former run made
	shared    bool                  // the FIB's readings keep routes right
	surveyed  *survey               // the reading under way, if there is one
	protocols bool                  // addresses carry their protocol
	filter    filterState
}

// New is inert: sockets are opened by the first use, and Close closes them.
func New(o Options) *Kernel { return &Kernel{ns: o.NetNS} }

// ErrNoVRF: the kernel can't make VRF devices.
var ErrNoVRF = errors.New("this kernel has no VRF: boot one with CONFIG_NET_VRF, or load the module vrf (Debian: package linux-image-amd64, not the cloud image), or do without by device: false under vrfs")

// ErrNotPermitted: the process may not change the network.
var ErrNotPermitted = errors.New("changing the kernel's network needs root, or the capability CAP_NET_ADMIN")

// open opens the sockets. The caller holds the lock.
func (k *Kernel) open() error {
	if k.socket != nil && !k.socket.spoilt {
		return nil
	}
	if k.socket != nil {
		k.handle.Close()
		_ = k.socket.close()
		k.socket, k.handle = nil, nil
	}
	s, err := dial(k.ns)
	if err != nil {
		return err
	}
	ns := netns.NsHandle(k.ns)
	if k.ns == 0 {
		ns = netns.None()
	}
	h, err := netlink.NewHandleAt(ns, unix.NETLINK_ROUTE)
	if err != nil {
		return errors.Join(fmt.Errorf("opening a route netlink socket: %w", err), s.close())
	}
	k.socket, k.handle = s, h
	k.port.Store(s.conn.PID())
	return nil
}

// Close closes the sockets. The kernel keeps what it was told.
func (k *Kernel) Close() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if n := k.filter.socket; n != nil {
		defer n.close()
		k.filter = filterState{}
	}
	if k.socket == nil {
		return nil
	}
	k.handle.Close()
	err := k.socket.close()
	k.socket, k.handle = nil, nil
	return err
}

// Apply reads, plans and executes. It returns the plan, also beside an error,
// and the next Apply finds again what failed. If the options restrict it to
// some links, its cost depends on those alone; the first is never restricted. Of
// links that nothing was told of only the attributes are read.
func (k *Kernel) Apply(ctx context.Context, desired vrf.Host, o vrf.Options) (vrf.Result, error) {
	var actual vrf.Actual
	var err error
	part := desired
	if o.Links != nil && k.hasRead() {
		part, actual, err = k.readLinks(ctx, desired, o.Links, o.Told)
	}
	if err == nil && !actual.Filter.Whole { // made anew, it needs to know every link
		part, o.Links = desired, nil
		actual, err = k.Read(ctx, desired)
	}
	if err != nil {
		return vrf.Result{}, err
	}
	result := vrf.Plan(part, actual, o)
	return result, k.Execute(ctx, result.Ops)
}

// notPermitted tells whether an error is about the process. Netlink's EACCES is
// not: it says that IPv6 is disabled on the link.
func notPermitted(op vrf.Op, err error) bool {
	if _, isFile := op.(vrf.SetSysctl); isFile {
		return errors.Is(err, os.ErrPermission)
	}
	return errors.Is(err, unix.EPERM)
}

// explain puts what a user can do into an error that says too little.
func explain(op vrf.Op, err error) error {
	if err == nil {
		return nil
	}
	if notPermitted(op, err) {
		return fmt.Errorf("%w: %w", ErrNotPermitted, err)
	}
	if _, isVRF := op.(vrf.CreateVRF); isVRF && errors.Is(err, unix.EOPNOTSUPP) {
		return fmt.Errorf("%w: %w", ErrNoVRF, err)
	}
	return err
}
