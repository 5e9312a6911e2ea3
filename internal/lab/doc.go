// Package lab builds the reference topology of hostroute in network namespaces on one kernel.
//
//	            control (log)                        edge: BIRD, default route, "the internet"
//	                 │ mgmt 198.51.100.0/24            │ a-public          │ b-public
//	   ┌─────────────┼─────────────┐                   │                   │
//	  hv1           hv2           hv3 ──a-public── plane A public   ──b-public── plane B public
//	 │   │           │             │  ──a-private─ plane A private  ──b-private─ plane B private
//	vm1 vm2         vm3           vm4              rra: BIRD reflects     rrb: FRR reflects
//
// Sized builds it with up to four planes, and with two reflectors in each.
//
// Every host is a namespace (hr-hv1, hr-vm1, hr-rra …), so every VRF, table, rule and route belongs to one
// host. A plane is a namespace with one bridge a segment. A guest is a namespace whose veth ends in a
// hypervisor under the tap's name. It is a machine that is switched off until it is booted, and then has nothing but
// what comes over the wire: its kernel listens to router advertisements, and real clients speak DHCP (udhcpc, ISC
// dhclient, dhcpcd, systemd-networkd), each with a script or a directory of the lab's own, so that none of them touches
// this machine's configuration.
//
// # Guarantees
//
// Up either leaves the whole topology standing, reflectors and edge configured and started, or removes what
// it made and says what went wrong. What hostroute is responsible for is left alone: hypervisors get plain
// interfaces, and no VRF, address, route or sysctl of theirs is touched but for the management network.
// Down removes everything of ours, whatever its size, also what a crashed or killed run left: it looks at namespaces and
// the processes in them, not at notes. Nothing here uses the netlink code under test, only ip(8) and files below /proc/sys.
//
// # Guests that move
//
// A mobile guest's cables end in bridges in a namespace of their own, NodeMachines, and the bridges in its taps: in those
// of one hypervisor while it runs, in none while it is paused. Its kernel sees no carrier lost; its connections live.
//
// # State, goroutines, failure
//
// A Lab is a description and a directory (configuration files, daemons' pid files and logs), so that one
// process can build it and another use it. Each started daemon has one goroutine that waits for its end, and
// outlives the process that started it. A Watch has one goroutine until it is stopped, Traffic one and one a flow. Two labs can stand at the same time with different prefixes.
//
// # Tests
//
// client_test.go has each client get an address from a DHCP server that is not ours, renew, reboot and release, and
// probe_test.go tries what the scenarios look with; both need no hostroute. lab_test.go builds the whole topology in plain namespaces, waits until the edge and both reflectors have
// learnt from each other over BIRD and FRR in both families, watched by BFD, cuts and silences a plane under traffic,
// moves a guest, switches a hypervisor off and on, and looks for leftovers. sized_test.go has every size's configuration
// read by those it is for, and sizedlab_test.go has reflectors of the largest topology die. traffic_test.go tries the counting of losses. machine_test.go moves a guest that runs, between
// routers that Linux alone makes, and wants its connection to live.
// Losses in a plane (Lose) need netem, which only scenarios have. It needs root, bird2 and frr, and no VRF.
package lab
