// Package events is the public contract between hostroute and whoever
// publishes to its log: the types of events, their JSON, what makes one valid,
// and the subjects under which they are kept.
//
// An event says what happened, in the past tense, once, and is never changed:
// a guest was created, an address was assigned. What must follow from it on
// which hypervisor is not written down anywhere; package projector computes it.
//
// # JSON
//
// A publisher sends one JSON object an event, with CloudEvents 1.0 attributes
// beside the data:
//
//	{"id": "6f1c…", "type": "IPAssigned", "source": "cloud/api-3",
//	 "time": "2026-11-22T03:12:00Z",
//	 "data": {"prefix": "203.0.113.7/32", "vm": "web-1", "role": "primary"}}
//
// The id makes a retry safe: an id that the log has is never stored twice. A
// publisher that leaves it out gets one, and with it no such promise. Unknown
// fields are refused rather than ignored, since a misspelt field would
// otherwise change what is routed.
//
// # Validity
//
// [Event.Validate] checks all that can be told from the event alone and names
// the field, the value and the way out in an [Error]. What depends on other
// events (does this guest exist, is this address taken) is decided by package
// projector when the event is published, with errors of the same type.
//
// # Names
//
// Names and ids are 1 to 63 of a-z, 0-9, '-' and '_', so that they are subject
// tokens, file names and metric labels alike. A tap is a Linux interface name.
package events
