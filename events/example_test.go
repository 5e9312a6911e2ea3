package events_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"

	"github.com/hostroute/hostroute/events"
)

// An event is checked before it is sent, as far as it can be alone.
func ExampleEvent_Validate() {
	e := events.Event{ID: "6f1c2a", Data: &events.VMCreated{VM: "web 1", Hypervisor: "hv1"}}
	var bad *events.Error
	if errors.As(e.Validate(), &bad) {
		fmt.Println(bad.Code, bad.Field, bad.Value)
	}
	// Output: invalid vm web 1
}

// What is sent is one JSON object.
func ExampleEvent_MarshalJSON() {
	e := events.Event{ID: "6f1c2a", Source: "cloud/api-3", Data: &events.IPAssigned{
		Prefix: events.PrefixFrom(netip.MustParsePrefix("203.0.113.7/32")), VM: "web-1",
	}}
	b, err := json.Marshal(e)
	fmt.Println(string(b), err)
	// Output: {"id":"6f1c2a","type":"IPAssigned","source":"cloud/api-3","data":{"prefix":"203.0.113.7/32","vm":"web-1"}} <nil>
}

// And read back the same way; unknown fields are refused.
func ExampleParse() {
	_, err := events.Parse([]byte(`{"type": "VMDeleted", "data": {"wm": "web-1"}}`))
	fmt.Println(err)
	// Output: VMDeleted: data.wm: unknown field
}
