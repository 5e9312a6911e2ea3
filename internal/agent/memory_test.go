package agent

import "testing"

func TestGarbageIsBounded(t *testing.T) {
	before := uint64(0)
	for _, live := range []uint64{0, 1 << 20, 6 << 20, 10 << 20, 50 << 20, 150 << 20, 192 << 20, 300 << 20, 4 << 30} {
		percent := gcPercent(live)
		garbage := live * uint64(percent) / 100
		if percent < 100/garbagePart || percent > 400 {
			t.Errorf("%d MB live: %d %%", live>>20, percent)
		}
		if most := max(leastGarbage, live/garbagePart); garbage > most {
			t.Errorf("%d MB live: %d MB of garbage, want at most %d", live>>20, garbage>>20, most>>20)
		}
		if garbage+live < before {
			t.Errorf("%d MB live: collected earlier than a smaller heap", live>>20)
		}
		before = garbage + live
	}
}
