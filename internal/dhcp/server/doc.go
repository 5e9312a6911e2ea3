// Package server answers DHCPv4 on taps, as package dhcp decides.
//
// Each tap has a UDP socket of its own, bound to the device on port 67. In a VRF
// that is the enslaved tap and not the VRF's device, from which broadcasts would
// leave nowhere. No packet of one tap is seen by the socket of another, so there
// is nothing to tell apart and nothing to confuse.
//
// Answers go where RFC 2131, section 4.1 has them go: to ciaddr when the guest
// has its address, to everybody when it asks for that or for a NAK, and
// otherwise to its address although it has none yet. The tap's route and its
// permanent neighbour entry make that possible; without the entry the kernel
// would ask for the address by ARP and nobody would answer. Where the VRF has no
// route to the guest, the answer goes to everybody on the tap. The source is
// the server's identifier, Service.Gateway, which is an address of the tap: a
// guest renews by unicast to it. Until the tap has that address answers
// can't be sent; they are counted, and the guest asks again.
//
// # State
//
// There is none that an answer depends on. The [Status] of a tap is told to
// people; it is forgotten with the process and when the tap is dropped. What is
// kept of a guest's words is two texts of bounded length, escaped where they
// come in, so that no reader of a status or a log has to.
//
// # Goroutines
//
// Run is the fleet's goroutine and one for each tap, which reads, decides and
// writes; there is no other. Set and Status may be called at any time. A packet
// beyond the rate is not read (package receive), so a guest that floods waits
// for its own answers only. A packet that makes the handler panic is lost and
// counted. A socket that can't be opened, because the device has gone or another
// one has its name, is tried again by the fleet, and Status says why.
//
// At the end guests are told nothing, whether the process ends or the tap is
// dropped: a lease goes on until it expires.
//
// # The codec
//
// Messages are parsed by insomniacslk/dhcp, which puts together options that
// come in parts (RFC 3396); options in the fields file and sname are read here.
// Answers get their fixed part from the library and their options from here,
// because their order matters. UDP checksums are left out, as IPv4 allows: guests
// read answers from raw frames, and old ones take a checksum that virtual
// hardware has not completed yet for a wrong one.
//
// # Tests
//
// Real clients live through everything that DHCP has in network namespaces with
// taps set up as the agent does it: udhcpc, ISC dhclient, dhcpcd and
// systemd-networkd, each in both styles. They are started by testdata/guest.sh
// in mount namespaces of their own, where they can write to nothing of the
// machine. What they once sent is in testdata/clients, where the fuzz test
// FuzzFrame begins: any bytes through codec, core and codec. One test needs VRF.
package server
