package kernel

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"syscall"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// largestBatch is the send buffer; the kernel takes a transaction whole.
const largestBatch = 32 << 20

// errGeneration: the ruleset is not the one that the transaction was made for.
var errGeneration = errors.New("somebody changed the ruleset meanwhile")

// nft is a socket to nf_tables, for one transaction at a time.
type nft struct {
	*socket
	what []string // of each message of the transaction
}

func dialNFT(ns int) (*nft, error) {
	conn, err := netlink.Dial(unix.NETLINK_NETFILTER, &netlink.Config{NetNS: ns})
	if err != nil {
		return nil, fmt.Errorf("opening a netfilter netlink socket: %w", err)
	}
	_ = conn.SetOption(netlink.ExtendedAcknowledge, true)
	_ = conn.SetOption(netlink.CapAcknowledge, true)
	s := &socket{conn: conn, in: make([]byte, dumpLen)}
	if s.raw, err = conn.SyscallConn(); err == nil {
		err = errors.Join(conn.SetReadBuffer(replies), conn.SetWriteBuffer(largestBatch))
	}
	if err != nil {
		conn.Close()
		return nil, fmt.Errorf("preparing a netfilter netlink socket: %w", err)
	}
	return &nft{socket: s}, nil
}

// message starts a message about a table's family.
func (n *nft) message(kind, flags uint16, family byte) int {
	n.seq = ownSequence | n.seq&^ownSequenceMask
	if n.seq == ownSequence|^uint32(ownSequenceMask) {
		n.seq = ownSequence
	}
	at := n.begin(unix.NFNL_SUBSYS_NFTABLES<<8|kind, flags)
	n.out = append(n.out, family, unix.NFNETLINK_V0, 0, 0)
	return at
}

// start begins a transaction, for that generation of the ruleset only, or for
// any if it is 0.
func (n *nft) start(generation uint32) {
	n.reset()
	n.what = n.what[:0]
	n.bound(unix.NFNL_MSG_BATCH_BEGIN, generation)
}

func (n *nft) bound(kind uint16, generation uint32) {
	at := n.message(0, 0, unix.AF_UNSPEC)
	binary.NativeEndian.PutUint16(n.out[at+4:], kind)
	binary.BigEndian.PutUint16(n.out[at+headerLen+2:], unix.NFNL_SUBSYS_NFTABLES)
	if generation != 0 {
		n.be32(unix.NFNL_BATCH_GENID, generation)
	}
	n.end(at)
}

// change adds a message to the transaction; f writes its attributes.
func (n *nft) change(kind, flags uint16, family byte, what string, f func()) {
	at := n.message(kind, flags, family)
	f()
	n.end(at)
	n.what = append(n.what, what)
}

// commit executes the transaction. All of it was done, or nothing.
func (n *nft) commit() error {
	if len(n.what) == 0 {
		return nil
	}
	count := uint32(len(n.what))
	last := n.seq
	n.acknowledge(last)
	n.bound(unix.NFNL_MSG_BATCH_END, 0)
	if err := n.send(); err != nil {
		return err
	}
	var failure error
	for {
		msgs, err := n.receive()
		if err != nil {
			return err
		}
		for len(msgs) >= headerLen {
			var m message
			if m, msgs, err = next(msgs); err != nil {
				return err
			}
			index := count - 1 - (last - m.seq) // of the first message, the BEGIN: -1
			if m.kind != unix.NLMSG_ERROR || index >= count && index != ^uint32(0) {
				continue // of an earlier request that was given up
			}
			err := m.failure()
			switch {
			case index == ^uint32(0) && errors.Is(err, unix.ERESTART):
				return errGeneration
			case index == ^uint32(0):
				return errors.Join(failure, err)
			case err != nil && failure == nil:
				failure = fmt.Errorf("%s: %w", n.what[index], err)
			}
			if m.seq == last {
				return failure
			}
		}
	}
}

// acknowledge asks for an answer to the message with that number.
func (n *nft) acknowledge(seq uint32) {
	for at := 0; at < len(n.out); at += int(binary.NativeEndian.Uint32(n.out[at:])) {
		if binary.NativeEndian.Uint32(n.out[at+8:]) == seq {
			flags := binary.NativeEndian.Uint16(n.out[at+6:])
			binary.NativeEndian.PutUint16(n.out[at+6:], flags|unix.NLM_F_ACK)
		}
	}
}

// list calls f for each object of a kind; attributes narrow it down. What isn't
// there is an empty list.
func (n *nft) list(ctx context.Context, kind uint16, family byte, narrow func(), f func(family byte, attributes []byte)) error {
	n.reset()
	at := n.message(kind, unix.NLM_F_DUMP, family)
	narrow()
	n.end(at)
	err := n.dump(ctx, func(_ uint16, payload []byte) {
		if len(payload) >= 4 {
			f(payload[0], payload[4:])
		}
	})
	return ignore(err, unix.ENOENT)
}

// generation is the number of the ruleset, which every transaction of anybody
// changes.
func (n *nft) generation(ctx context.Context) (uint32, error) {
	var id uint32
	n.reset()
	at := n.message(unix.NFT_MSG_GETGEN, unix.NLM_F_ACK, unix.AF_UNSPEC)
	n.end(at)
	err := n.dump(ctx, func(_ uint16, payload []byte) {
		if len(payload) >= 4 {
			attributes(payload[4:], func(kind uint16, data []byte) {
				if kind == unix.NFTA_GEN_ID {
					id = be32(data)
				}
			})
		}
	})
	if err != nil {
		return 0, fmt.Errorf("asking for the ruleset: %w", err)
	}
	return id, nil
}

// text is a string attribute, be32 a number; nf_tables wants its numbers in
// network order.
func (n *nft) text(kind uint16, s string) { n.attr(kind, append([]byte(s), 0)) }

func (n *nft) be32(kind uint16, value uint32) {
	n.attr(kind, binary.BigEndian.AppendUint32(nil, value))
}

func be32(b []byte) uint32 {
	if len(b) < 4 {
		return 0
	}
	return binary.BigEndian.Uint32(b)
}

func be64(b []byte) uint64 {
	if len(b) < 8 {
		return 0
	}
	return binary.BigEndian.Uint64(b)
}

// nested writes an attribute that holds what f writes.
func (n *nft) nested(kind uint16, f func()) {
	at := n.nest(kind | unix.NLA_F_NESTED)
	f()
	n.endNest(at)
}

func cString(b []byte) string {
	for i, c := range b {
		if c == 0 {
			return string(b[:i])
		}
	}
	return string(b)
}

// noNFT tells whether an error says that the kernel has no nf_tables.
func noNFT(err error) bool {
	var errno syscall.Errno
	return errors.As(err, &errno) &&
		(errno == unix.EINVAL || errno == unix.EOPNOTSUPP || errno == unix.EPROTONOSUPPORT || errno == unix.EAFNOSUPPORT)
}
