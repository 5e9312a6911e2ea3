package log

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"hash"
	"slices"
	"strings"

	"github.com/nats-io/nats.go"
)

// hashOf is the hash of a message, in hexadecimal; doc.go has its definition.
func hashOf(subject string, h nats.Header, body []byte) string {
	var names []string
	count := 0
	for name, values := range h {
		if strings.HasPrefix(name, "ce-") || name == headerOffset {
			names = append(names, name)
			count += len(values)
		}
	}
	slices.Sort(names)
	s := sha256.New()
	hashText(s, subject)
	hashNumber(s, uint64(count))
	for _, name := range names {
		for _, value := range h[name] {
			hashText(s, name)
			hashText(s, value)
		}
	}
	hashNumber(s, uint64(len(body)))
	s.Write(body)
	return hex.EncodeToString(s.Sum(nil))
}

func hashNumber(s hash.Hash, n uint64) {
	var b [8]byte
	binary.BigEndian.PutUint64(b[:], n)
	s.Write(b[:])
}

func hashText(s hash.Hash, text string) {
	hashNumber(s, uint64(len(text)))
	s.Write([]byte(text))
}
