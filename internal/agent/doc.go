// Package agent is what runs on a hypervisor: it keeps the projected part of
// the log and brings it into the kernel and into BGP.
//
// # Tasks
//
//	log follower ──▶ apply loop ──▶ kernel (VRFs, taps, guest routes)
//	                     │
//	                     └────────▶ announcements ──▶ BGP sessions ──▶ RRs
//	kernel watch ──▶ apply loop, FIB                      │
//	                                      RIB ◀───────────┘
//	                                       └──▶ FIB ──▶ learned routes
//
// Each is a goroutine of one errgroup; the first that fails ends the agent
// with its error, and the service manager starts it again. Receiving is cheap:
// a feed message or a link event only wakes the apply loop, which compares
// what is desired with what the kernel has and executes the difference. Many
// wakes while it works are one more round.
//
// # Order of trust
//
// First the local snapshot of a former run: the kernel is made right with no
// network. Then the log. What only the snapshot says is announced when the log
// stays out of reach for snapshotGrace, since the log may say that a guest has
// moved. Nothing of ours is swept before the log was caught up, and no session is
// dialled before the guests of this hypervisor are in the kernel: with
// graceful restart (RFC 4724) the route reflectors then keep what was
// announced before, and End-of-RIB is the word that it is complete again. A
// prefix is announced only while its route is in the kernel, and withdrawn
// before that route goes. Learned routes of the previous run are swept when
// a reflector of their VRF has told all it knows and that is in the kernel.
//
// # Drift
//
// A notice of the kernel about a link is a round of the apply loop for that link.
// Routes that somebody else deleted or replaced go to the mender: it has the apply
// loop write those of guests again, and the FIB learned ones, with pauses, so that
// somebody who goes on deleting doesn't keep them busy. Everything is compared
// once a minute, learned routes less often where that is much to read.
//
// # Guests
//
// After each round the servers of DHCPv4, router advertisements, ND proxy and
// DHCPv6 get the taps that exist and what the log says for each. A tap is in the
// anti-spoof filter before it is in its VRF; see package vrf.
//
// What vanishes from the log in great numbers and without events that end it is
// served on and reported; see massGuard. Without a snapshot the kernel tells
// what was served; see orphanage.
//
// # Handover
//
// What to do about guests and prefixes that leave, arrive or are contested is for
// the machine of package handover to say, which every round asks (moving). It is
// woken by the machine's deadlines, by changes of the paths of prefixes that are
// ours, were ours, or are leaving (session.Speaker.Watch), and by guests that are
// heard on their prepared taps (arrival/packet). A process that was stopped for
// longer than its peers wait (pauseWatch) has its sessions say nothing, and
// announces nothing, before the log has answered.
//
// # Being asked
//
// The socket, Prometheus and /healthz are answered with what the tasks know when
// they are asked; there are no books of their own but for sums over taps, which
// come and go (totals). The service manager is told that the agent is ready when
// the kernel is what is known (see manager), and how it is, in a line.
//
// Who asks over the log whether an event has had its effect is answered when it
// has: rounds, writes of learned routes and the log wake them (effects, and
// holdings, which decides). While the hypervisor is drained, the counters of its
// taps are read each second (drainWatch).
//
// # Stopping
//
// The end of the agent leaves everything in place: the kernel forwards on and
// no session is closed with a Cease, so that a restart costs no packet. Only an
// order over the socket is a stop for good: everything is withdrawn, reflectors
// and BFD's peers are told, and Run ends with ErrLeft; see leaver. The kernel
// stays as it is then, too.
//
// # Failures
//
// A snapshot that can't be used is set aside, and one that can't be written is
// a problem in Status; both are otherwise as if there were none. What fails to
// apply is reported in Status, stays different from what is desired, and is
// tried again at the next wake, at the latest after longestRetry. A log out of
// reach changes nothing.
package agent
