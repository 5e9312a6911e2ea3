package log

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/hostroute/hostroute/migrations"
)

// configOf makes the configuration of a stream from its layout.
func configOf(s migrations.Stream, replicas int) jetstream.StreamConfig {
	c := jetstream.StreamConfig{
		Name:               s.Name,
		Description:        s.Description,
		Subjects:           s.Subjects,
		Storage:            jetstream.FileStorage,
		Replicas:           max(replicas, 1),
		Discard:            jetstream.DiscardNew,
		MaxMsgs:            -1,
		MaxBytes:           -1,
		MaxMsgSize:         -1,
		MaxMsgsPerSubject:  -1,
		MaxConsumers:       s.MaxConsumers,
		AllowDirect:        s.AllowDirect,
		AllowAtomicPublish: s.AllowAtomic,
		DenyDelete:         s.DenyDelete,
		DenyPurge:          s.DenyPurge,
	}
	if s.MaxMsgsPerSubject > 0 {
		c.MaxMsgsPerSubject = s.MaxMsgsPerSubject
		c.Discard = jetstream.DiscardOld
	}
	if s.Compression == "s2" {
		c.Compression = jetstream.S2Compression
	}
	if s.Mirror != nil {
		c.Mirror = &jetstream.StreamSource{Name: s.Mirror.Stream, FilterSubject: s.Mirror.Filter}
	}
	if s.Republish != nil {
		c.RePublish = &jetstream.RePublish{Source: s.Republish.From, Destination: s.Republish.To}
	}
	return c
}

// ensure makes a stream, or compares the one that is there with the layouts that
// are served. Nothing that is there is altered: that is for a [Migrator].
func ensure(ctx context.Context, js jetstream.JetStream, s migrations.Stream, o Options) (jetstream.Stream, error) {
	var stream jetstream.Stream
	var err error
	for range 4 { // a young cluster may lose a request
		if stream, err = findOrMake(ctx, js, configOf(s, o.Replicas), o.Timeout); err == nil || !isUnavailable(err) || ctx.Err() != nil {
			break
		}
	}
	if err != nil {
		return nil, fmt.Errorf("opening stream %s: %w", s.Name, err)
	}
	have := stream.CachedInfo().Config
	replicas := o.Replicas
	if replicas == 0 {
		replicas = have.Replicas
	}
	return stream, known(have, replicas)
}

func findOrMake(ctx context.Context, js jetstream.JetStream, c jetstream.StreamConfig, timeout time.Duration) (jetstream.Stream, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	stream, err := js.Stream(ctx, c.Name)
	if !errors.Is(err, jetstream.ErrStreamNotFound) {
		return stream, err
	}
	stream, err = js.CreateStream(ctx, c)
	if errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) { // somebody else was faster
		return js.Stream(ctx, c.Name)
	}
	return stream, err
}

// drift compares what a stream is with what it must be.
func drift(have, want jetstream.StreamConfig) error {
	var errs []error
	for _, d := range drifts(have, want) {
		errs = append(errs, d)
	}
	return errors.Join(errs...)
}

// drifts lists the settings that differ.
func drifts(have, want jetstream.StreamConfig) (list []*DriftError) {
	for _, f := range fields() {
		if h, w := f.read(have), f.read(want); h != w {
			list = append(list, &DriftError{Stream: want.Name, Field: f.name, Have: h, Want: w})
		}
	}
	return list
}

// field reads one setting of a stream as text; name is that of JetStream's API.
type field struct {
	name string
	read func(jetstream.StreamConfig) string
}

func fields() []field {
	number := func(f func(jetstream.StreamConfig) int64) func(jetstream.StreamConfig) string {
		return func(c jetstream.StreamConfig) string { return strconv.FormatInt(f(c), 10) }
	}
	flag := func(f func(jetstream.StreamConfig) bool) func(jetstream.StreamConfig) string {
		return func(c jetstream.StreamConfig) string { return strconv.FormatBool(f(c)) }
	}
	return []field{
		{"subjects", func(c jetstream.StreamConfig) string { return fmt.Sprint(slices.Sorted(slices.Values(c.Subjects))) }},
		{"mirror", mirrorText},
		{"sources", number(func(c jetstream.StreamConfig) int64 { return int64(len(c.Sources)) })},
		{"republish", republishText},
		{"retention", func(c jetstream.StreamConfig) string { return c.Retention.String() }},
		{"storage", func(c jetstream.StreamConfig) string { return c.Storage.String() }},
		{"compression", func(c jetstream.StreamConfig) string { return c.Compression.String() }},
		{"discard", func(c jetstream.StreamConfig) string { return c.Discard.String() }},
		{"num_replicas", number(func(c jetstream.StreamConfig) int64 { return int64(c.Replicas) })},
		{"max_msgs", number(func(c jetstream.StreamConfig) int64 { return c.MaxMsgs })},
		{"max_bytes", number(func(c jetstream.StreamConfig) int64 { return c.MaxBytes })},
		{"max_age", func(c jetstream.StreamConfig) string { return c.MaxAge.String() }},
		{"max_msg_size", number(func(c jetstream.StreamConfig) int64 { return int64(c.MaxMsgSize) })},
		{"max_msgs_per_subject", number(func(c jetstream.StreamConfig) int64 { return c.MaxMsgsPerSubject })},
		{"max_consumers", number(func(c jetstream.StreamConfig) int64 { return int64(c.MaxConsumers) })},
		{"allow_direct", flag(func(c jetstream.StreamConfig) bool { return c.AllowDirect })},
		{"allow_atomic", flag(func(c jetstream.StreamConfig) bool { return c.AllowAtomicPublish })},
		{"deny_delete", flag(func(c jetstream.StreamConfig) bool { return c.DenyDelete })},
		{"deny_purge", flag(func(c jetstream.StreamConfig) bool { return c.DenyPurge })},
		{"allow_rollup_hdrs", flag(func(c jetstream.StreamConfig) bool { return c.AllowRollup })},
		{"sealed", flag(func(c jetstream.StreamConfig) bool { return c.Sealed })},
		{"no_ack", flag(func(c jetstream.StreamConfig) bool { return c.NoAck })},
	}
}

func mirrorText(c jetstream.StreamConfig) string {
	if c.Mirror == nil {
		return "none"
	}
	return fmt.Sprintf("%s of %s", c.Mirror.FilterSubject, c.Mirror.Name)
}

func republishText(c jetstream.StreamConfig) string {
	if c.RePublish == nil {
		return "none"
	}
	return fmt.Sprintf("%s to %s", c.RePublish.Source, c.RePublish.Destination)
}
