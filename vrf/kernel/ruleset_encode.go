package kernel

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

const (
	nfAccept      = 1    // NF_ACCEPT
	setConcat     = 0x80 // NFT_SET_CONCAT, Linux 5.6
	setDescConcat = 2    // NFTA_SET_DESC_CONCAT
	// Each concatenated type has six bits in the number that nft(8) reads.
	concatBits = 6
	// userDataByteOrder and userDataComment are nft(8)'s own notes, without which
	// it can't print the set or the rule.
	userDataByteOrder = 0
	userDataComment   = 0
)

// table makes a table anew: adding it first lets the deletion find one.
func (n *nft) table(family byte) {
	name := func() { n.text(unix.NFTA_TABLE_NAME, filterTable) }
	n.change(unix.NFT_MSG_NEWTABLE, unix.NLM_F_CREATE, family, "table "+filterTable, name)
	n.change(unix.NFT_MSG_DELTABLE, 0, family, "table "+filterTable, name)
	n.change(unix.NFT_MSG_NEWTABLE, unix.NLM_F_CREATE, family, "table "+filterTable, name)
}

func (n *nft) set(family byte, s set, id uint32) {
	n.change(unix.NFT_MSG_NEWSET, unix.NLM_F_CREATE, family, "set "+s.name, func() {
		var kind, size, flags uint32
		for _, t := range s.types {
			kind = kind<<concatBits | t.id
			size += (t.size + 3) &^ 3
		}
		if s.ranges {
			flags |= unix.NFT_SET_INTERVAL | setConcat
		}
		if s.dynamic > 0 {
			flags |= unix.NFT_SET_EVAL | unix.NFT_SET_TIMEOUT
		}
		n.text(unix.NFTA_SET_TABLE, filterTable)
		n.text(unix.NFTA_SET_NAME, s.name)
		n.be32(unix.NFTA_SET_FLAGS, flags)
		n.be32(unix.NFTA_SET_KEY_TYPE, kind)
		n.be32(unix.NFTA_SET_KEY_LEN, size)
		n.be32(unix.NFTA_SET_ID, id)
		if s.dynamic > 0 {
			n.attr(unix.NFTA_SET_TIMEOUT, binary.BigEndian.AppendUint64(nil, uint64(s.dynamic.Milliseconds())))
		}
		n.nested(unix.NFTA_SET_DESC, func() {
			if s.dynamic > 0 {
				n.be32(unix.NFTA_SET_DESC_SIZE, s.most)
			}
			if s.ranges {
				n.nested(setDescConcat, func() {
					for _, t := range s.types {
						n.nested(unix.NFTA_LIST_ELEM, func() { n.be32(1, t.size) }) // NFTA_SET_FIELD_LEN
					}
				})
			}
		})
		order := uint32(1) // the host's, as nft(8) has it for names
		if len(s.types) > 1 {
			order = 2
		}
		n.attr(unix.NFTA_SET_USERDATA, binary.NativeEndian.AppendUint32([]byte{userDataByteOrder, 4}, order))
	})
}

func (n *nft) chain(family byte, c chain) {
	n.change(unix.NFT_MSG_NEWCHAIN, unix.NLM_F_CREATE, family, "chain "+c.name, func() {
		n.text(unix.NFTA_CHAIN_TABLE, filterTable)
		n.text(unix.NFTA_CHAIN_NAME, c.name)
		if c.hook < 0 {
			return
		}
		n.nested(unix.NFTA_CHAIN_HOOK, func() {
			n.be32(unix.NFTA_HOOK_HOOKNUM, uint32(c.hook))
			n.be32(unix.NFTA_HOOK_PRIORITY, uint32(c.order))
		})
		n.be32(unix.NFTA_CHAIN_POLICY, nfAccept)
		n.text(unix.NFTA_CHAIN_TYPE, "filter")
	})
}

// rules writes the rules of all chains of a table, each with its number.
func (n *nft) rules(t table, fingerprint string) error {
	var failure error
	for _, c := range t.chains {
		for i, r := range c.rules {
			what := fmt.Sprintf("rule %d of chain %s", i, c.name)
			n.change(unix.NFT_MSG_NEWRULE, unix.NLM_F_CREATE|unix.NLM_F_APPEND, t.family, what, func() {
				n.text(unix.NFTA_RULE_TABLE, filterTable)
				n.text(unix.NFTA_RULE_CHAIN, c.name)
				n.nested(unix.NFTA_RULE_EXPRESSIONS, func() {
					for _, e := range r {
						b, err := expr.Marshal(t.family, e)
						if err != nil {
							failure = errors.Join(failure, fmt.Errorf("encoding %s: %w", what, err))
						}
						n.attr(unix.NFTA_LIST_ELEM|unix.NLA_F_NESTED, b)
					}
				})
				note := append([]byte(comment(fingerprint, i)), 0)
				n.attr(unix.NFTA_RULE_USERDATA, append([]byte{userDataComment, byte(len(note))}, note...))
			})
		}
	}
	return failure
}

func comment(fingerprint string, i int) string { return fmt.Sprintf("%s-%d", fingerprint, i) }

// describe says what must be found in the kernel.
func (r *ruleset) describe() {
	for _, t := range r.tables {
		r.description = append(r.description, describeTable(t.family, 0))
		for _, c := range t.chains {
			r.description = append(r.description, describeChain(t.family, c))
			for i := range c.rules {
				r.description = append(r.description, describeRule(t.family, c.name, i, comment(r.fingerprint, i)))
			}
		}
	}
	slices.Sort(r.description)
}

func describeTable(family byte, flags uint32) string {
	return fmt.Sprintf("table %d flags %d", family, flags)
}

func describeChain(family byte, c chain) string {
	if c.hook < 0 {
		return fmt.Sprintf("chain %d %s", family, c.name)
	}
	return fmt.Sprintf("chain %d %s hook %d at %d policy %d", family, c.name, c.hook, c.order, nfAccept)
}

func describeRule(family byte, chain string, i int, note string) string {
	return fmt.Sprintf("rule %d %s %d %s", family, chain, i, note)
}

// describe lists what is in our tables, sorted, in the words of the functions
// above.
func (n *nft) describe(ctx context.Context) ([]string, error) {
	var list []string
	for _, family := range []byte{unix.NFPROTO_INET, unix.NFPROTO_ARP} {
		of, err := n.describeFamily(ctx, family)
		if err != nil {
			return nil, err
		}
		list = append(list, of...)
	}
	slices.Sort(list)
	return list, nil
}

func (n *nft) describeFamily(ctx context.Context, family byte) ([]string, error) {
	var list []string
	none := func() {}
	err := n.list(ctx, unix.NFT_MSG_GETTABLE, family, none, func(_ byte, b []byte) {
		var name string
		var flags uint32
		attributes(b, func(kind uint16, data []byte) {
			switch kind {
			case unix.NFTA_TABLE_NAME:
				name = cString(data)
			case unix.NFTA_TABLE_FLAGS:
				flags = be32(data)
			}
		})
		if name == filterTable {
			list = append(list, describeTable(family, flags))
		}
	})
	if err != nil {
		return nil, err
	}
	err = n.list(ctx, unix.NFT_MSG_GETCHAIN, family, none, func(_ byte, b []byte) {
		if table, text := parseChain(family, b); table == filterTable {
			list = append(list, text)
		}
	})
	if err != nil {
		return nil, err
	}
	numbers := map[string]int{}
	err = n.list(ctx, unix.NFT_MSG_GETRULE, family, func() { n.text(unix.NFTA_RULE_TABLE, filterTable) }, func(_ byte, b []byte) {
		table, chain, note := parseRuleMessage(b)
		if table == filterTable {
			list = append(list, describeRule(family, chain, numbers[chain], note))
			numbers[chain]++
		}
	})
	return list, err
}

func parseChain(family byte, b []byte) (table, text string) {
	c := chain{hook: -1}
	policy := uint32(nfAccept)
	attributes(b, func(kind uint16, data []byte) {
		switch kind {
		case unix.NFTA_CHAIN_TABLE:
			table = cString(data)
		case unix.NFTA_CHAIN_NAME:
			c.name = cString(data)
		case unix.NFTA_CHAIN_POLICY:
			policy = be32(data)
		case unix.NFTA_CHAIN_HOOK:
			attributes(data, func(kind uint16, data []byte) {
				switch kind {
				case unix.NFTA_HOOK_HOOKNUM:
					c.hook = int(be32(data))
				case unix.NFTA_HOOK_PRIORITY:
					c.order = int32(be32(data))
				}
			})
		}
	})
	text = describeChain(family, c)
	if policy != nfAccept {
		text = strings.ReplaceAll(text, "policy", "another policy than")
	}
	return table, text
}

func parseRuleMessage(b []byte) (table, chain, note string) {
	attributes(b, func(kind uint16, data []byte) {
		switch kind {
		case unix.NFTA_RULE_TABLE:
			table = cString(data)
		case unix.NFTA_RULE_CHAIN:
			chain = cString(data)
		case unix.NFTA_RULE_USERDATA:
			if len(data) > 2 && data[0] == userDataComment {
				note = cString(data[2:])
			}
		}
	})
	return table, chain, note
}
