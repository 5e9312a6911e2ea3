package lab

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"time"
)

// TimeFactorEnv stretches every limit of Eventually, for machines that are slower than what limits are
// written for. In the emulated VM the factor is 5 unless the variable says otherwise.
const TimeFactorEnv = "HOSTROUTE_TIME_FACTOR"

// TimeFactor is what limits are multiplied with here: at least 1.
func TimeFactor() float64 {
	if f, err := strconv.ParseFloat(os.Getenv(TimeFactorEnv), 64); err == nil && f >= 1 {
		return f
	}
	if os.Getenv("HOSTROUTE_IN_VM") != "" {
		return 5
	}
	return 1
}

// mostPause is the longest pause between two questions.
const mostPause = 2 * time.Second

// Eventually asks until the answer is nil, at most for the limit times TimeFactor. It returns nil, or what
// was waited for with the last answer.
func Eventually(ctx context.Context, what string, limit time.Duration, ask func() error) error {
	limit = time.Duration(float64(limit) * TimeFactor())
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	pause := 2 * time.Millisecond
	for {
		asked := time.Now()
		err := ask()
		if err == nil {
			return nil
		}
		// Where asking is a lot of work, what is waited for must have its turn, too.
		select {
		case <-ctx.Done():
			return fmt.Errorf("waiting for %s (%v): %w", what, limit.Round(time.Millisecond), err)
		case <-time.After(max(pause, min(time.Since(asked), mostPause))):
			pause = min(2*pause, 200*time.Millisecond)
		}
	}
}
