package agent

import (
	"github.com/prometheus/client_golang/prometheus"
)

// metric is one family that the agent tells of.
type metric struct {
	desc *prometheus.Desc
	kind prometheus.ValueType
}

// metrics are all families. Labels are from the configuration, or words of this
// program: what guests say of themselves is in none, nor is a tap, of which there
// are thousands. `hostroute guests` has the counters of each.
type metrics struct {
	all []*prometheus.Desc

	build, healthy, problems metric

	connected, inSync, behind, registered, restored, unsaved metric
	cursor, gaps, snapshots, quarantined, heldBack, lost     metric

	operations, rounds, applied                           metric
	learned, dirty, pending, writeErrors, groups, dropped metric
	absentTaps, guests                                    metric
	handovers, yielded, arrivals                          metric
	drained, drainGuests, drainDelivered, drainWatched    metric
	planeSound, uplinkPresent, uplinkCarrier, uplinkUsed  metric

	announcements, established, since, received, announced, falls, kept, malformed metric
	bfdConnected, bfdUp, bfdFalls, bfdDetection, bfdLoss                           metric

	requests, answers, ignored, unsent, limited, panics, failing metric
}

// newMetrics defines them. The names are the interface: docs/operating.md lists
// them, and a test notices one that changes.
func newMetrics() *metrics {
	m := &metrics{}
	m.build = m.gauge("build_info", "1, with the version of the agent and the name under which the log knows this host.", "version", "hypervisor")
	m.healthy = m.gauge("healthy", "1 if nothing is wrong, as `hostroute status` says; else it says what to do.")
	m.problems = m.gauge("problems", "What `hostroute status` has as problems, by kind.", "kind")
	m.ofLog()
	m.ofHost()
	m.ofSessions()
	m.ofGuests()
	return m
}

func (m *metrics) ofLog() {
	m.connected = m.gauge("log_connected", "1 while there is a connection to the log. Without one all that is known is served on.")
	m.inSync = m.gauge("log_in_sync", "1 once the log was caught up with since the start; before that nothing is swept.")
	m.behind = m.gauge("log_behind", "1 while something of the log is known to be missing: check `hostroute log serve`.")
	m.registered = m.gauge("log_registered", "1 if the log knows this hypervisor: else `hostroute hypervisor register` it.")
	m.restored = m.gauge("log_restored_from_snapshot", "1 if this agent started from the local snapshot, 0 if there was none.")
	m.unsaved = m.gauge("log_snapshot_failed", "1 if there is no local snapshot for the next start: `hostroute status` says why.")
	m.cursor = m.gauge("log_cursor_sequence", "Sequence of the last tick of the log, of this hypervisor and of the networks.", "chain")
	m.gaps = m.counter("log_gaps_total", "Gaps that were noticed in the chains of ticks, and closed by a snapshot.")
	m.snapshots = m.counter("log_snapshots_taken_total", "Snapshots that were taken from the log service.")
	m.quarantined = m.gauge("log_quarantined_messages", "Messages of the log that can't be read: `hostroute status` names the first.")
	m.heldBack = m.gauge("log_held_back_routes", "Routes that vanished from the log in great numbers and are served on: see `hostroute status`.")
	m.lost = m.gauge("log_out_of_reach_timestamp_seconds", "Since when the log is out of reach; absent while it isn't.")
}

func (m *metrics) ofHost() {
	m.operations = m.counter("kernel_operations_total", "Changes made to the kernel; many of them in a quiet hour are somebody's hand in it.")
	m.rounds = m.counter("apply_rounds_total", "Comparisons of what the log wants with the kernel, by result; failed ones are repeated.", "result")
	m.applied = m.gauge("apply_last_success_timestamp_seconds", "When the kernel was last brought to what the log wants.")
	m.learned = m.gauge("learned_routes", "Learned routes in the kernel.", "vrf", "family")
	m.dirty = m.gauge("learned_routes_dirty", "Learned routes whose last write failed; they are tried again.", "vrf")
	m.pending = m.gauge("learned_routes_pending", "Learned prefixes that wait to be written.", "vrf")
	m.writeErrors = m.counter("learned_routes_write_errors_total", "Writes of learned routes that failed.", "vrf")
	m.groups = m.gauge("next_hop_groups", "Distinct sets of next hops of learned routes.", "vrf")
	m.dropped = m.counter("filter_dropped_packets_total", "Packets of guests that the filter dropped, over all taps: spoofed, refused, beyond the limit.", "reason")
	m.absentTaps = m.gauge("absent_taps", "Taps that the log has here and this host has not; a guest isn't started, or was lost.")
	m.uplinkPresent = m.gauge("uplink_present", "1 if the port is on this host.", "uplink", "vrf", "plane")
	m.uplinkCarrier = m.gauge("uplink_carrier", "1 while the port has a carrier: else check the cable.", "uplink", "vrf", "plane")
	m.uplinkUsed = m.gauge("uplink_used", "1 while learned routes lead over the port wherever they can.", "uplink", "vrf", "plane")
	m.planeSound = m.gauge("plane_sound", "1 if nothing is wrong with the plane: else `hostroute status` says what.", "plane")
	m.guests = m.gauge("guests", "Guests by what this hypervisor does for them.", "duty")
	m.handovers = m.gauge("handovers", "Guests that have left: announced on, forwarded to, or dropped since nobody has heard of their new home.", "state")
	m.yielded = m.gauge("yielded_prefixes", "Prefixes of this hypervisor that somebody newer announces: yielded, or contested since the log says otherwise; `hostroute status` says who it is.", "state")
	m.arrivals = m.gauge("arrivals", "Guests that were seen on their prepared taps before the log said so; unconfirmed: it didn't in time.", "state")
	m.drained = m.gauge("drain_active", "1 while the log has this hypervisor drained.")
	m.drainGuests = m.gauge("drain_guests", "Guests that are homed on a drained hypervisor: members hold nothing but anycast prefixes. Absent while it isn't drained.", "kind")
	m.drainDelivered = m.gauge("drain_delivered_packets", "Packets to guests of a drained hypervisor within the time that is watched. Absent while it isn't drained.")
	m.drainWatched = m.gauge("drain_watched_seconds", "Over which time the packets are counted: the last 5 s, less at first. Absent while it isn't drained.")
}

func (m *metrics) ofSessions() {
	m.announcements = m.gauge("bgp_announcements", "Prefixes that are announced, over all VRFs.")
	m.established = m.gauge("bgp_session_established", "1 while the session is established.", "vrf", "plane", "peer")
	m.since = m.gauge("bgp_session_state_timestamp_seconds", "Since when the session is in its state.", "vrf", "plane", "peer")
	m.received = m.gauge("bgp_received_prefixes", "Prefixes received and kept, stale ones too.", "vrf", "plane", "peer", "family")
	m.announced = m.gauge("bgp_announced_prefixes", "Prefixes announced to the peer.", "vrf", "plane", "peer", "family")
	m.falls = m.counter("bgp_session_falls_total", "How often the session fell that was established: `hostroute peers` says why it did last.", "vrf", "plane", "peer")
	m.kept = m.gauge("bgp_stale_paths", "Paths that a session that fell has left, and that are used until it is back.", "vrf", "plane", "peer", "family")
	m.malformed = m.counter("bgp_malformed_updates_total", "UPDATEs that were tolerated though malformed (RFC 7606): look at the peer.", "vrf", "plane", "peer")
	m.bfdConnected = m.gauge("bfd_connected", "1 while `hostroute bfd` tells of its sessions; without it a silent loss takes the hold time.")
	m.bfdUp = m.gauge("bfd_session_up", "1 while the path to the peer is heard.", "vrf", "plane", "peer")
	m.bfdFalls = m.counter("bfd_session_falls_total", "How often the path was lost.", "vrf", "plane", "peer")
	m.bfdLoss = m.gauge("bfd_session_loss_ratio", "Which part of the packets from the peer is lost, 0 to 1; absent while too little is known.", "vrf", "plane", "peer")
	m.bfdDetection = m.gauge("bfd_session_detection_seconds", "After how long a silence the path counts as lost.", "vrf", "plane", "peer")
}

func (m *metrics) ofGuests() {
	m.requests = m.counter("guest_requests_total", "Messages of guests that were understood, over all taps.", "service", "kind")
	m.answers = m.counter("guest_answers_total", "Messages that guests were sent, over all taps.", "service", "kind")
	m.ignored = m.counter("guest_ignored_total", "Messages of guests without an answer, by reason: `hostroute guests VM` has those of each.", "service", "reason")
	m.unsent = m.counter("guest_unsent_total", "Answers that the kernel didn't take.", "service")
	m.limited = m.counter("guest_limited_total", "How often a guest asked more than it may.", "service")
	m.panics = m.counter("guest_panics_total", "Messages of guests that ended in a panic of this program and were lost: report them.", "service")
	m.failing = m.gauge("guest_services_failing", "Taps where a service can't run: `hostroute status` says why; tried again until it can.", "service")
}

func (m *metrics) gauge(name, help string, labels ...string) metric {
	return m.define(prometheus.GaugeValue, name, help, labels)
}

func (m *metrics) counter(name, help string, labels ...string) metric {
	return m.define(prometheus.CounterValue, name, help, labels)
}

func (m *metrics) define(kind prometheus.ValueType, name, help string, labels []string) metric {
	d := prometheus.NewDesc("hostroute_"+name, help, labels, nil)
	m.all = append(m.all, d)
	return metric{d, kind}
}

// tell sends one sample.
func (m metric) tell(ch chan<- prometheus.Metric, value float64, labels ...string) {
	ch <- prometheus.MustNewConstMetric(m.desc, m.kind, value, labels...)
}

// truth is how Prometheus has a condition.
func truth(holds bool) float64 {
	if holds {
		return 1
	}
	return 0
}
