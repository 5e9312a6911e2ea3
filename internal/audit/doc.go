// Package audit answers questions about history: who had an address when and
// where, what happened to a guest or a hypervisor, what differs between two
// moments. It is pure; its user reads the log.
//
// # How a question is asked
//
// A [Book] holds the histories of the registers that were read so far. A
// question to it, such as [Book.Address], either has its answer or comes back
// as a [*projector.MissingError] that names the histories to read, as subjects
// or patterns; put them and ask again. So a question reads what it needs and no
// more: the histories of the prefixes that cover an address, one for each
// length and VRF, then those of the guests that held them, then those of the
// hypervisors they were on. None of that grows with the log.
//
// A [Comparison] is the exception: two moments of everything are compared by
// folding the log once.
//
// # What is true
//
// Registers: each of their messages has the value that projector.Apply made
// when the event was published. Nothing is folded a second time here, only
// compared, one value with the next. A test draws histories and wants, for every
// moment, the answer that a projector.State has which was folded up to there.
//
// The order of the log decides, never a clock. A moment is a sequence; who
// knows only a time finds the sequence first (log.SequenceBefore). The clock of
// a publisher is told where it differs ([Origin.Skew]) and used for nothing.
//
// # Damage
//
// A change that can't be read has no value; the value before it goes on, as it
// does for agents. It is told as [Damage] beside every answer that rests on that
// history, and so is a change that doesn't follow on the one before it.
package audit
