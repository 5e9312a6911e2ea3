package vrf

import (
	"context"
	"errors"
	"fmt"
)

// OpError is the failure of one operation of a plan.
type OpError struct {
	Op  Op
	Err error
}

// Error names the operation, and so the thing and the value.
func (e *OpError) Error() string { return e.Op.String() + ": " + e.Err.Error() }

// Unwrap is the cause.
func (e *OpError) Unwrap() error { return e.Err }

// Run executes a plan with do. An operation that fails stops only what depends
// on it; that is counted, not listed, and is found again by the next plan, as
// is the failure itself. The errors come back joined, each an *OpError.
func Run(ctx context.Context, ops []Op, do func(Op) error) error {
	failed := map[string]bool{}
	var errs []error
	skipped := 0
	for _, op := range ops {
		if err := ctx.Err(); err != nil {
			return errors.Join(append(errs, err)...)
		}
		op, ok := independent(op, failed)
		if !ok {
			skipped++
			continue
		}
		if err := do(op); err != nil {
			errs = append(errs, &OpError{op, err})
			if op.blocks() {
				failed[op.subject()] = true
				if f, ok := op.(interface{ waiting() []string }); ok {
					for _, link := range f.waiting() {
						failed[link] = true
					}
				}
			}
		}
	}
	if skipped > 0 {
		errs = append(errs, fmt.Errorf("%d operations wait for these", skipped))
	}
	return errors.Join(errs...)
}

// independent is what of an operation doesn't depend on something that failed.
func independent(op Op, failed map[string]bool) (Op, bool) {
	if dependsOn(op, failed) {
		return nil, false
	}
	if o, ok := op.(interface {
		without(map[string]bool) (Op, bool)
	}); ok && len(failed) > 0 {
		return o.without(failed)
	}
	return op, true
}

func dependsOn(op Op, failed map[string]bool) bool {
	if len(failed) == 0 {
		return false
	}
	if failed[op.subject()] {
		return true
	}
	for _, n := range op.needs() {
		if failed[n] {
			return true
		}
	}
	return false
}
