package session

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/hostroute/hostroute/internal/bgp"
)

// Codes and subcodes of NOTIFICATIONs beyond those of package bgp.
const (
	codeHold  = 4
	codeFSM   = 5
	codeCease = 6

	ceaseShutdown  = 2
	ceaseHardReset = 9  // RFC 8538 section 3
	ceaseBFDDown   = 10 // RFC 9384
)

// notification is one that the peer sent.
type notification struct {
	code, subcode uint8
	data          []byte
}

// names of codes, and of subcodes where the code alone says little (IANA, BGP
// Error Codes).
var (
	codeNames = map[uint8]string{
		1: "message header error", 2: "OPEN message error", 3: "UPDATE message error", 4: "hold timer expired",
		5: "state machine error", 6: "cease", 7: "ROUTE-REFRESH message error", 8: "send hold timer expired",
	}
	subcodeNames = map[[2]uint8]string{
		{1, 1}: "connection not synchronized", {1, 2}: "bad message length", {1, 3}: "bad message type",
		{2, 1}: "unsupported version", {2, 2}: "bad peer AS", {2, 3}: "bad BGP identifier",
		{2, 4}: "unsupported optional parameter", {2, 6}: "unacceptable hold time",
		{2, 7}: "unsupported capability", {2, 11}: "role mismatch",
		{3, 1}: "malformed attribute list", {3, 2}: "unrecognized well-known attribute",
		{3, 3}: "missing well-known attribute", {3, 4}: "attribute flags error", {3, 5}: "attribute length error",
		{3, 6}: "invalid ORIGIN", {3, 8}: "invalid NEXT_HOP", {3, 9}: "optional attribute error",
		{3, 10}: "invalid network field", {3, 11}: "malformed AS_PATH",
		{6, 1}: "maximum number of prefixes reached", {6, 2}: "administrative shutdown", {6, 3}: "peer de-configured",
		{6, 4}: "administrative reset", {6, 5}: "connection rejected", {6, 6}: "other configuration change",
		{6, 7}: "connection collision", {6, 8}: "out of resources", {6, 9}: "hard reset", {6, 10}: "BFD down",
	}
)

// describeCodes says in words what a NOTIFICATION's numbers mean.
func describeCodes(code, subcode uint8) string {
	text := codeNames[code]
	if text == "" {
		text = "unknown error"
	}
	if sub := subcodeNames[[2]uint8{code, subcode}]; sub != "" {
		text += ", " + sub
	}
	return fmt.Sprintf("%s (%d/%d)", text, code, subcode)
}

// Error says what the peer said, with its shutdown message (RFC 9003), or with
// what a hard reset is about (RFC 8538 section 3.1).
func (n *notification) Error() string {
	text := "the peer closed the session: " + describeCodes(n.code, n.subcode)
	if n.hard() && len(n.data) >= 2 { // with another one in it
		inner := notification{n.data[0], n.data[1], n.data[2:]}
		return text + " after " + strings.TrimPrefix(inner.Error(), "the peer closed the session: ")
	}
	if n.code == codeCease && (n.subcode == 2 || n.subcode == 4) && len(n.data) > 1 {
		if m := n.data[1:]; int(n.data[0]) == len(m) && utf8.Valid(m) {
			text += fmt.Sprintf(": %q", strings.TrimSpace(string(m)))
		}
	}
	return text
}

func (n *notification) hard() bool { return n.code == codeCease && n.subcode == ceaseHardReset }

// bfdDown tells that it is the peer's BFD that failed, which FRR wraps into a
// hard reset.
func (n *notification) bfdDown() bool {
	if n.hard() && len(n.data) >= 2 {
		return n.data[0] == codeCease && n.data[1] == ceaseBFDDown
	}
	return n.code == codeCease && n.subcode == ceaseBFDDown
}

// fault is an error that we tell the peer about.
type fault = bgp.MessageError

func newFault(code, subcode uint8, data []byte, format string, args ...any) *fault {
	return &fault{Code: code, Subcode: subcode, Data: data, Reason: fmt.Sprintf(format, args...)}
}

// Reasons for which we end a session ourselves.
var (
	// ErrUplinkDown is why a session falls whose uplink lost its carrier.
	ErrUplinkDown = errors.New("the uplink is down")
	// ErrStopped is why sessions end when the Speaker does.
	ErrStopped = errors.New("stopped")
)

// peerDown is why a session falls that somebody else, BFD for one, knows to be
// dead.
type peerDown struct {
	reason string
	tell   bool // the peer, that it may not keep what it learned here
}

func (r peerDown) Error() string { return r.reason }
