package migrations

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// object is a JSON object with its fields in their order and their values as
// they are written, so that what an up-caster doesn't touch stays the same to
// the byte.
type object []member

type member struct {
	name  string
	value json.RawMessage
}

// parseObject reads one object and nothing behind it. A name that is there twice
// is refused: of two values an up-caster could move one only.
func parseObject(b []byte) (object, error) {
	d := json.NewDecoder(bytes.NewReader(b))
	if start, err := d.Token(); err != nil || start != json.Delim('{') {
		return nil, errors.Join(errors.New("must be a JSON object"), err)
	}
	o := object{}
	seen := map[string]bool{}
	for d.More() {
		token, err := d.Token()
		if err != nil {
			return nil, fmt.Errorf("not JSON: %w", err)
		}
		m := member{name: fmt.Sprint(token)}
		if seen[m.name] {
			return nil, fmt.Errorf("%q is given twice", m.name)
		}
		seen[m.name] = true
		if err := d.Decode(&m.value); err != nil {
			return nil, fmt.Errorf("not JSON: %w", err)
		}
		o = append(o, m)
	}
	if _, err := d.Token(); err != nil { // its end
		return nil, fmt.Errorf("not JSON: %w", err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("something follows the object")
	}
	return o, nil
}

// bytes writes the object without spaces between its fields, as encoding/json
// does.
func (o object) bytes() json.RawMessage {
	var b bytes.Buffer
	b.WriteByte('{')
	for i, m := range o {
		if i > 0 {
			b.WriteByte(',')
		}
		name, _ := json.Marshal(m.name) // a string always can be
		b.Write(name)
		b.WriteByte(':')
		b.Write(m.value)
	}
	b.WriteByte('}')
	return b.Bytes()
}
