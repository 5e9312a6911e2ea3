package scenarios

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/hostroute/hostroute/internal/lab"
)

var drift = serving("drift", "every kind of kernel object is deleted and changed by hand, and comes back",
	chapter{"What an event tells of is damaged on hv1, one by one", (*world).damageTold},
	chapter{"Settings of which no event tells are changed", (*world).damageCompared},
	chapter{"The VRF itself is deleted", (*world).deleteVRF},
)

// drifting is the hypervisor that is damaged.
const drifting = "hv1"

// damage is what somebody does to a hypervisor by hand, and what shows it. Commands
// are separated by semicolons.
type damage struct{ what, command, show string }

// toldLimit is how long the repair of what an event tells may take. It is stretched on
// slow machines, where asking for what is shown takes most of it.
const toldLimit = time.Second

// comparedLimit is how long a repair may take that only a comparison finds: agents
// compare once a minute, on slow machines too, which then take their time.
func comparedLimit() time.Duration {
	return time.Duration(float64(time.Minute)/lab.TimeFactor()) + settle/2
}

func (w *world) damageTold(ctx context.Context) error {
	if err := w.putOthers(ctx); err != nil {
		return err
	}
	t, err := w.traffic(ctx, "vm3", "vm4")
	if err != nil {
		return err
	}
	before, err := w.whole(ctx)
	if err != nil {
		return err
	}
	found, err := w.foundDamages(ctx)
	if err != nil {
		return err
	}
	for _, list := range [][]damage{ruleDamages, addressDamages, tapDamages, filterDamages, routeDamages, settingDamages, found} {
		if err := w.mendsEach(ctx, list); err != nil {
			return err
		}
	}
	// These cost the sessions over the uplink, after which routes change for a while.
	for _, d := range uplinkDamages {
		if err := w.mendsEach(ctx, []damage{d}); err != nil {
			return err
		}
		w.story.Eventually(ctx, "both planes are in use again", 4*settle, func() error { return w.routedEverywhere(ctx, drifting, "ab") })
	}
	w.asBefore(ctx, before)
	w.story.Check("what others have there is still there", w.others(ctx))
	w.lossless(ctx, t, "traffic between hv2 and hv3 meanwhile")
	return nil
}

// mendsEach does one damage after the other and waits for each to be mended.
func (w *world) mendsEach(ctx context.Context, list []damage) error {
	for _, d := range list {
		before, err := w.shown(ctx, d)
		if err != nil {
			return err
		}
		if _, err := w.each(ctx, d.command); err != nil {
			return fmt.Errorf("%s: %w", d.what, err)
		}
		w.story.Eventually(ctx, d.what+" → as it was", toldLimit, func() error { return w.mended(ctx, d, before) })
	}
	return nil
}

// damageCompared does all damages at once, since one comparison finds all of them.
func (w *world) damageCompared(ctx context.Context) error {
	whole, err := w.whole(ctx)
	if err != nil {
		return err
	}
	before := map[string]string{}
	for _, d := range silentDamages {
		if before[d.what], err = w.shown(ctx, d); err != nil {
			return err
		}
	}
	start := time.Now()
	for _, d := range silentDamages {
		if _, err := w.each(ctx, d.command); err != nil {
			return fmt.Errorf("%s: %w", d.what, err)
		}
	}
	took := map[string]time.Duration{}
	err = lab.Eventually(ctx, "all settings", comparedLimit(), func() (missing error) {
		for _, d := range silentDamages {
			if took[d.what] > 0 {
				continue
			}
			if err := w.mended(ctx, d, before[d.what]); err != nil {
				missing = errors.Join(missing, err)
			} else {
				took[d.what] = time.Since(start)
			}
		}
		return missing
	})
	w.story.Check("every setting is as it was within a minute", err)
	for _, d := range silentDamages {
		if took[d.what] > 0 {
			w.story.MeasureTime(d.what+" → as it was", took[d.what])
		}
	}
	w.recovered(ctx, "all healthy, both planes in use")
	w.asBefore(ctx, whole)
	return nil
}

func (w *world) deleteVRF(ctx context.Context) error {
	before, err := w.whole(ctx)
	if err != nil {
		return err
	}
	if err := w.mendsEach(ctx, []damage{{"a VRF, deleted, with all that was in it", "ip link del public", "ip -brief link show master public"}}); err != nil {
		return err
	}
	w.recovered(ctx, "all healthy, both planes in use")
	w.asBefore(ctx, before)
	w.story.Check("what others have there is still there", w.others(ctx))
	w.story.Eventually(ctx, "every guest reaches every guest and the internet", settle, func() error { return w.all(ctx, w.public()) })
	return nil
}

// shown is what shows a damage, but for numbers that nobody chose.
func (w *world) shown(ctx context.Context, d damage) (string, error) {
	out, err := w.each(ctx, d.show)
	return withoutNumbers(out), err
}

// mended wants what shows a damage to be shown as before.
func (w *world) mended(ctx context.Context, d damage, before string) error {
	after, err := w.shown(ctx, d)
	if err != nil {
		return err
	}
	return same(before, after)
}

// each runs commands on the drifting hypervisor, and returns what they print together.
func (w *world) each(ctx context.Context, commands string) (all string, err error) {
	for command := range strings.SplitSeq(commands, ";") {
		out, err := w.Exec(ctx, drifting, strings.Fields(command)...)
		if err != nil {
			return all, err
		}
		all += out
	}
	return all, nil
}
