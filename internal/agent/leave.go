package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/hostroute/hostroute/internal/bgp/session"
	"github.com/hostroute/hostroute/internal/config"
	"github.com/hostroute/hostroute/projector"
)

// ErrLeft is what Run ends with after a stop for good, so that nobody takes it
// for an end that is to be mended by a start. See docs/adr/0007.
var ErrLeft = errors.New("this hypervisor has left for good")

// PathLeave takes a POST, of root alone: a stop for good. Its query is timeout
// (a duration) and abandon_guests (true or false), its answer a Leaving in a
// line each time something changed, until one is Done.
const PathLeave = "/leave"

// Leaving is how far a stop for good is.
type Leaving struct {
	Hypervisor string `json:"hypervisor"`
	Withdrawn  int    `json:"withdrawn"` // prefixes that were announced, over all VRFs
	// Abandoned names the guests that are left behind.
	Abandoned  []string            `json:"abandoned,omitempty"`
	Until      time.Time           `json:"until"` // reflectors are waited for
	Reflectors []session.Departure `json:"reflectors"`
	// KeptFor is how long a reflector that hasn't confirmed may keep the routes
	// from the end of its session on, in seconds.
	KeptFor float64 `json:"kept_for"`
	// BFD is absent until BGP is over, and where no path is watched.
	BFD  *Farewell `json:"bfd,omitempty"`
	Done bool      `json:"done"` // nothing more comes: the agent ends
}

// Farewell is how the sessions of BFD ended.
type Farewell struct {
	Sessions int `json:"sessions"`
	// Confirmed is set when BFD's process has none of them any more: it goes on
	// telling each peer AdminDown until that has understood, or would have
	// noticed anyway. Reason says why not.
	Confirmed bool   `json:"confirmed"`
	Reason    string `json:"reason,omitempty"`
}

// Complete tells whether everybody who was to know has confirmed.
func (l Leaving) Complete() bool {
	return l.Done && (l.BFD == nil || l.BFD.Confirmed) &&
		!slices.ContainsFunc(l.Reflectors, func(d session.Departure) bool { return !d.Confirmed })
}

const (
	// leaveLook is how often sessions are asked how far they are: nothing tells.
	leaveLook = 50 * time.Millisecond
	// lastWord is how long whoever watches may take to hear the end of it.
	lastWord = 2 * time.Second
	// bfdPatience is how long BFD's process may take, which includes a restart.
	bfdPatience = 5 * time.Second
)

// departing are sessions that can be left for good.
type departing interface {
	Leave(ctx context.Context) []session.Departure
	Departures() []session.Departure
}

// pathEnder are paths whose watch can be ended.
type pathEnder interface {
	// turnDeaf has whatever becomes of the paths be taken for no failure.
	turnDeaf()
	end(ctx context.Context) *Farewell
}

var _ pathEnder = (*pathWatch)(nil)

// leaver is the stop for good. Nobody but an order over the socket begins one,
// and nothing but the end of the process undoes it: BGP withdraws everything
// and takes leave, then BFD does, then Run returns ErrLeft. The kernel stays as
// it is throughout.
type leaver struct {
	sessions  departing
	paths     pathEnder
	guests    func() (guests []string, doubt error)
	announced func() int
	log       *slog.Logger

	asked    chan struct{} // closed by the first order
	patience context.Context
	giveUp   context.CancelFunc

	mu       sync.Mutex
	timer    *time.Timer // of patience; nil: nobody asked
	state    Leaving
	changed  chan struct{} // closed, and made anew, when anything here changes
	watching int
}

func newLeaver(cfg *config.Config, sessions departing, paths pathEnder, log *slog.Logger) *leaver {
	l := &leaver{
		sessions: sessions, paths: paths, log: log,
		guests: func() ([]string, error) { return nil, nil }, announced: func() int { return 0 },
		asked: make(chan struct{}), changed: make(chan struct{}),
		state: Leaving{Hypervisor: cfg.Hypervisor, KeptFor: (cfg.BGP.RestartTime + cfg.BGP.LongLived).Seconds()},
	}
	l.patience, l.giveUp = context.WithCancel(context.Background())
	return l
}

// Run waits for the order, leaves, and returns ErrLeft; or nil if the context
// ends before: that is a restart, however far leaving was.
func (l *leaver) Run(ctx context.Context) error {
	defer l.giveUp()
	select {
	case <-ctx.Done():
		return nil
	case <-l.asked:
	}
	l.log.Warn("leaving for good: everything is withdrawn", "prefixes", l.announced())
	l.paths.turnDeaf()
	l.depart(ctx)
	if ctx.Err() != nil {
		return nil
	}
	farewell := l.paths.end(ctx)
	if ctx.Err() != nil {
		return nil
	}
	l.change(func(s *Leaving) { s.BFD, s.Done = farewell, true })
	for _, d := range l.now().Reflectors {
		if !d.Confirmed {
			l.log.Warn("reflector may keep our routes", "peer", d.Address, "vrf", d.VRF, "plane", d.Plane, "reason", d.Reason)
		}
	}
	l.log.Warn("left for good: routes and filter stay in the kernel", "complete", l.now().Complete())
	l.awaitWatchers(ctx)
	return ErrLeft
}

// depart takes leave of the reflectors and notes how far that is.
func (l *leaver) depart(ctx context.Context) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(l.patience, cancel)()
	left := make(chan []session.Departure, 1)
	go func() { left <- l.sessions.Leave(ctx) }()
	again := time.NewTicker(leaveLook)
	defer again.Stop()
	for {
		select {
		case list := <-left:
			l.note(list)
			return
		case <-again.C:
			l.note(l.sessions.Departures())
		}
	}
}

func (l *leaver) note(list []session.Departure) {
	before := l.now().Reflectors
	for i, d := range list {
		if d.Confirmed && (i >= len(before) || !before[i].Confirmed) {
			l.log.Info("reflector knows that we have left", "peer", d.Address, "vrf", d.VRF, "plane", d.Plane)
		}
	}
	if !slices.Equal(before, list) {
		l.change(func(s *Leaving) { s.Reflectors = list })
	}
}

func (l *leaver) now() Leaving {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.state
}

// change changes the state and tells whoever watches. Lists are replaced, never
// written.
func (l *leaver) change(do func(*Leaving)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	do(&l.state)
	l.tell()
}

// tell is called with mu held.
func (l *leaver) tell() {
	close(l.changed)
	l.changed = make(chan struct{})
}

// awaitWatchers lets those who watch hear the end before the socket goes.
func (l *leaver) awaitWatchers(ctx context.Context) {
	late := time.NewTimer(lastWord)
	defer late.Stop()
	for {
		l.mu.Lock()
		watching, changed := l.watching, l.changed
		l.mu.Unlock()
		if watching == 0 {
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-late.C:
			return
		case <-changed:
		}
	}
}

// order begins to leave, unless guests are here that are not to be abandoned. A
// later order only says anew how long reflectors are waited for.
func (l *leaver) order(timeout time.Duration, abandon bool) error {
	guests, doubt := l.guests()
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.timer == nil && !abandon {
		if err := objection(l.state.Hypervisor, guests, doubt); err != nil {
			return err
		}
	}
	l.state.Until = time.Now().Add(timeout)
	if l.timer != nil {
		l.timer.Reset(timeout)
	} else {
		l.state.Withdrawn, l.state.Abandoned, l.state.Reflectors = l.announced(), guests, l.sessions.Departures()
		l.timer = time.AfterFunc(timeout, l.giveUp)
		close(l.asked)
	}
	l.tell()
	return nil
}

// errRefused marks an order that isn't carried out as things stand.
type errRefused struct{ error }

// objection is why a hypervisor must not leave, and what to do about it.
func objection(hypervisor string, guests []string, doubt error) error {
	const anyway = "or leave them behind with --abandon-guests: nobody but guests of this host reaches them then"
	if n := len(guests); n > 0 {
		names := strings.Join(guests[:min(n, 5)], ", ")
		if n > 5 {
			names += ", …"
		}
		return errRefused{fmt.Errorf("the log has %s on %s (%s): move them (`hostroute vm migrate VM --to HYPERVISOR`) or delete them, %s",
			plural(n, "guest"), hypervisor, names, anyway)}
	}
	if doubt != nil {
		return errRefused{fmt.Errorf("whether guests are on %s isn't known (%w): mend that first, %s", hypervisor, doubt, anyway)}
	}
	return nil
}

// ServeHTTP takes an order and answers with a Leaving as a line of JSON each time
// something changed, until it is Done. Whoever goes away meanwhile stops nothing.
func (l *leaver) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	timeout, err := time.ParseDuration(r.URL.Query().Get("timeout"))
	if err != nil || timeout <= 0 {
		http.Error(w, fmt.Sprintf("timeout %q: write it like 30s", r.URL.Query().Get("timeout")), http.StatusBadRequest)
		return
	}
	abandon, err := strconv.ParseBool(r.URL.Query().Get("abandon_guests"))
	if err != nil {
		http.Error(w, fmt.Sprintf("abandon_guests %q: neither true nor false", r.URL.Query().Get("abandon_guests")), http.StatusBadRequest)
		return
	}
	l.enter(1)
	defer l.enter(-1)
	if err := l.order(timeout, abandon); err != nil {
		http.Error(w, err.Error(), http.StatusConflict)
		return
	}
	w.Header().Set("Content-Type", "application/x-ndjson")
	flush, lines := http.NewResponseController(w), json.NewEncoder(w)
	for {
		l.mu.Lock()
		state, changed := l.state, l.changed
		l.mu.Unlock()
		if err := errors.Join(lines.Encode(state), flush.Flush()); err != nil || state.Done {
			return
		}
		select {
		case <-r.Context().Done():
			return
		case <-changed:
		}
	}
}

func (l *leaver) enter(n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.watching += n
	l.tell()
}

// staying names the guests that live on a hypervisor or are expected there. One
// that has moved away and is forwarded still isn't: that goes on in the kernel.
func staying(s *projector.State, hypervisor string) (guests []string) {
	for _, g := range s.Guests() {
		if duty := g.Duty(hypervisor); duty == projector.DutyHome || duty == projector.DutyPrepare {
			guests = append(guests, g.VM)
		}
	}
	return guests
}

// stayingGuests names the guests that stay, and says why there may be others.
func (a *Agent) stayingGuests() (guests []string, doubt error) {
	guests = staying(a.ledger.State(), a.cfg.Hypervisor)
	switch s := a.ledger.status(); {
	case !s.Connected:
		doubt = fmt.Errorf("the log is out of reach: %s", s.reason())
	case !s.InSync || s.Behind:
		doubt = fmt.Errorf("not caught up with the log: %s", s.reason())
	case !s.Registered:
		doubt = fmt.Errorf("the log doesn't know hypervisor %s", a.cfg.Hypervisor)
	}
	return guests, doubt
}

// turnDeaf: a reflector that is left may end its BFD session as for a failure, as
// FRR does, and the path to it is as good as before.
func (w *pathWatch) turnDeaf() {
	w.acting.Lock()
	defer w.acting.Unlock()
	w.deaf = true
}

// end has BFD's process end all sessions in peace (AdminDown, RFC 5880 section
// 6.8.16, which to peers is no failure, RFC 5882 section 3.2), and waits until it
// has taken that over. nil: there are none to end.
func (w *pathWatch) end(ctx context.Context) *Farewell {
	if w.client == nil {
		return nil
	}
	f := &Farewell{Sessions: len(w.specs)}
	ctx, cancel := context.WithTimeout(ctx, bfdPatience)
	defer cancel()
	if err := w.client.Set(nil); err != nil {
		f.Reason = err.Error()
		return f
	}
	again := time.NewTicker(leaveLook)
	defer again.Stop()
	for {
		state := w.client.State()
		if f.Confirmed = state.Connected && len(state.Sessions) == 0; f.Confirmed {
			return f
		}
		select {
		case <-ctx.Done():
			f.Reason = state.LastError
			if state.Connected {
				f.Reason = plural(len(state.Sessions), "session") + " still there"
			}
			return f
		case <-again.C:
		}
	}
}

// announcedCount counts the prefixes that are announced, over all VRFs.
func (a *applier) announcedCount() int {
	set, _ := a.current()
	return len(set)
}
