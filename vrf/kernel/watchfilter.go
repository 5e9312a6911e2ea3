package kernel

import (
	"context"
	"errors"
	"fmt"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// subscribeFilter gives nil where the kernel has no nf_tables.
func subscribeFilter(ns int) (*netlink.Conn, error) {
	conn, err := netlink.Dial(unix.NETLINK_NETFILTER, &netlink.Config{NetNS: ns})
	if noNFT(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("opening a netfilter netlink socket: %w", err)
	}
	err = errors.Join(conn.SetReadBuffer(replies), conn.JoinGroup(unix.NFNLGRP_NFTABLES))
	if err != nil {
		return nil, errors.Join(fmt.Errorf("subscribing to changes of the filter: %w", err), conn.Close())
	}
	return conn, nil
}

func (w *watcher) receiveFilter(ctx context.Context, conn *netlink.Conn) error {
	touched := false // our tables, in the transaction whose messages are coming
	for {
		msgs, err := conn.Receive()
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, unix.ENOBUFS): // somebody has a large ruleset
			touched = false
			w.note(func() { w.pending.Filter = true })
		case err != nil:
			return fmt.Errorf("receiving changes of the filter: %w", err)
		}
		for _, m := range msgs {
			switch {
			case uint16(m.Header.Type) != unix.NFNL_SUBSYS_NFTABLES<<8|unix.NFT_MSG_NEWGEN:
				touched = touched || aboutFilter(m)
			case touched && m.Header.Sequence&ownSequenceMask != ownSequence:
				w.note(func() { w.pending.Filter = true })
				fallthrough
			default:
				touched = false
			}
		}
	}
}

// aboutFilter tells whether a message is about our tables. In each the first
// attribute is the table's name, but for the last of a transaction, which is
// about none and alone has the number that the transaction was sent with.
func aboutFilter(m netlink.Message) bool {
	ours := false
	if len(m.Data) >= 4 {
		attributes(m.Data[4:], func(kind uint16, data []byte) {
			ours = ours || kind == unix.NFTA_TABLE_NAME && cString(data) == filterTable
		})
	}
	return ours
}
