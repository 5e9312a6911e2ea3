package agent

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/hostroute/hostroute/events"
	"github.com/hostroute/hostroute/internal/bgp/session"
	"github.com/hostroute/hostroute/internal/config"
	"github.com/hostroute/hostroute/internal/testenv"
	"github.com/hostroute/hostroute/projector"
)

// sessions are two reflectors, of which each confirms when told to.
type sessions struct {
	mu   sync.Mutex
	list []session.Departure
	news chan struct{}
	log  *[]string
}

func newSessions(log *[]string) *sessions {
	list := []session.Departure{
		{Name: "a", VRF: "public", Plane: "a", Address: netip.MustParseAddr("100.64.0.1"), Reason: "no session"},
		{Name: "b", VRF: "public", Plane: "b", Address: netip.MustParseAddr("100.64.2.1"), Reason: "no session"},
	}
	return &sessions{list: list, news: make(chan struct{}, 2), log: log}
}

func (s *sessions) confirm(i int) {
	s.mu.Lock()
	s.list[i].Confirmed, s.list[i].Reason = true, ""
	s.mu.Unlock()
	s.news <- struct{}{}
}

func (s *sessions) Departures() []session.Departure {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]session.Departure(nil), s.list...)
}

func (s *sessions) Leave(ctx context.Context) []session.Departure {
	for {
		list := s.Departures()
		if list[0].Confirmed && list[1].Confirmed {
			*s.log = append(*s.log, "bgp")
			return list
		}
		select {
		case <-ctx.Done():
			*s.log = append(*s.log, "bgp in part")
			return list
		case <-s.news:
		}
	}
}

// farewells notes what is done about BFD.
type farewells struct{ log *[]string }

func (f farewells) turnDeaf() { *f.log = append(*f.log, "deaf") }

func (f farewells) end(context.Context) *Farewell {
	*f.log = append(*f.log, "bfd")
	return &Farewell{Sessions: 2, Confirmed: true}
}

// leaveBed is a leaver on a socket.
type leaveBed struct {
	*leaver
	t        *testing.T
	sessions *sessions
	log      []string
	path     string
	ran      chan error
	stop     context.CancelFunc
}

func newLeaveBed(t *testing.T) *leaveBed {
	b := &leaveBed{t: t, path: filepath.Join(t.TempDir(), "s"), ran: make(chan error, 1)}
	b.sessions = newSessions(&b.log)
	cfg := &config.Config{Hypervisor: "hv1", BGP: config.BGP{RestartTime: 2 * time.Minute, LongLived: time.Hour}}
	b.leaver = newLeaver(cfg, b.sessions, farewells{&b.log}, slog.New(slog.DiscardHandler))
	b.announced = func() int { return 3 }
	s := &socket{path: b.path, log: b.leaver.log, orders: map[string]http.Handler{PathLeave: b.leaver}}
	listener, err := s.listen(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	b.stop = cancel
	served := make(chan error, 1)
	serving, end := context.WithCancel(context.Background())
	go func() { served <- s.Serve(serving, listener) }()
	go func() { b.ran <- b.Run(ctx) }()
	t.Cleanup(func() {
		end()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	return b
}

// order gives it as the command does.
func (b *leaveBed) order(query string) *http.Response {
	b.t.Helper()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", b.path)
	}}}
	request, err := http.NewRequestWithContext(b.t.Context(), http.MethodPost, "http://agent"+PathLeave+"?"+query, nil)
	if err != nil {
		b.t.Fatal(err)
	}
	response, err := client.Do(request)
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { response.Body.Close() })
	return response
}

const patient = "timeout=1h&abandon_guests=false"

// watcher reads how far it is.
type watcher struct {
	t     *testing.T
	lines *bufio.Scanner
}

func watching(t *testing.T, r *http.Response) watcher {
	t.Helper()
	if r.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(r.Body)
		t.Fatalf("%s: %s", r.Status, text)
	}
	return watcher{t, bufio.NewScanner(r.Body)}
}

// until reads on to a state that is as wanted; it is an error if none comes.
func (w watcher) until(what string, ok func(Leaving) bool) (l Leaving) {
	w.t.Helper()
	for w.lines.Scan() {
		l = Leaving{}
		if err := json.Unmarshal(w.lines.Bytes(), &l); err != nil {
			w.t.Fatal(err)
		}
		if ok(l) {
			return l
		}
	}
	w.t.Fatalf("%s: never told; last %+v, %v", what, l, w.lines.Err())
	return l
}

func done(l Leaving) bool { return l.Done }

func TestLeavingIsToldReflectorByReflector(t *testing.T) {
	t.Parallel()
	b := newLeaveBed(t)
	w := watching(t, b.order(patient))
	first := w.until("the order", func(Leaving) bool { return true })
	if first.Hypervisor != "hv1" || first.Withdrawn != 3 || len(first.Reflectors) != 2 || first.Complete() || first.KeptFor != 3720 {
		t.Errorf("%+v", first)
	}
	b.sessions.confirm(1)
	half := w.until("one", func(l Leaving) bool { return l.Reflectors[1].Confirmed })
	if half.Reflectors[0].Confirmed || half.Done || half.BFD != nil {
		t.Errorf("%+v", half)
	}
	second := watching(t, b.order(patient)) // joins
	second.until("the same", func(l Leaving) bool { return l.Reflectors[1].Confirmed })
	b.sessions.confirm(0)
	for _, w := range []watcher{w, second} {
		if last := w.until("the end", done); !last.Complete() || last.BFD.Sessions != 2 {
			t.Errorf("%+v", last)
		}
	}
	if err := <-b.ran; !errors.Is(err, ErrLeft) {
		t.Errorf("ran to %v", err)
	}
	if got := strings.Join(b.log, ", "); got != "deaf, bgp, bfd" {
		t.Errorf("the order of things: %s", got)
	}
}

// TestLeavingEndsWithoutTheOneWhoAsked: nobody listens any more.
func TestLeavingEndsWithoutTheOneWhoAsked(t *testing.T) {
	t.Parallel()
	b := newLeaveBed(t)
	r := b.order(patient)
	watching(t, r).until("the order", func(Leaving) bool { return true })
	r.Body.Close()
	b.sessions.confirm(0)
	b.sessions.confirm(1)
	if err := <-b.ran; !errors.Is(err, ErrLeft) {
		t.Errorf("ran to %v", err)
	}
}

// TestImpatienceEndsLeaving: a second order shortens what the first one allowed.
func TestImpatienceEndsLeaving(t *testing.T) {
	t.Parallel()
	b := newLeaveBed(t)
	first := watching(t, b.order(patient))
	b.sessions.confirm(1)
	first.until("one", func(l Leaving) bool { return l.Reflectors[1].Confirmed })
	watching(t, b.order("timeout=1ms&abandon_guests=false"))
	last := first.until("the end", done)
	if last.Complete() || last.Reflectors[0].Reason != "no session" || !last.Reflectors[1].Confirmed || last.BFD == nil {
		t.Errorf("%+v", last)
	}
	if err := <-b.ran; !errors.Is(err, ErrLeft) {
		t.Errorf("ran to %v", err)
	}
}

// TestAStopMeanwhileIsARestart: the next start is one like any other.
func TestAStopMeanwhileIsARestart(t *testing.T) {
	t.Parallel()
	b := newLeaveBed(t)
	watching(t, b.order(patient)).until("the order", func(Leaving) bool { return true })
	b.stop()
	if err := <-b.ran; err != nil {
		t.Errorf("ran to %v", err)
	}
	if got := strings.Join(b.log, ", "); got != "deaf, bgp in part" {
		t.Errorf("done: %s", got)
	}
}

func TestNobodyLeavesWithGuests(t *testing.T) {
	t.Parallel()
	b := newLeaveBed(t)
	here, doubt := []string{"vm1", "vm2", "vm3", "vm4", "vm5", "vm6"}, errors.New("the log is out of reach")
	b.guests = func() ([]string, error) { return here, doubt }
	refused := func(words ...string) {
		t.Helper()
		r := b.order(patient)
		text, err := io.ReadAll(r.Body)
		for _, w := range words {
			if err != nil || r.StatusCode != http.StatusConflict || !strings.Contains(string(text), w) {
				t.Errorf("%s %s %v; want %q in it", r.Status, text, err, w)
			}
		}
	}
	refused("the log has 6 guests on hv1 (vm1, vm2, vm3, vm4, vm5, …)", "--abandon-guests")
	here = nil
	refused("whether guests are on hv1 isn't known (the log is out of reach)", "--abandon-guests")
	for _, bad := range []string{"", "timeout=1h", "timeout=0s&abandon_guests=true", "timeout=1h&abandon_guests=perhaps"} {
		if r := b.order(bad); r.StatusCode != http.StatusBadRequest {
			t.Errorf("%q: %s", bad, r.Status)
		}
	}
	select {
	case <-b.asked:
		t.Fatal("it leaves though every order was refused")
	default:
	}
	here = []string{"vm9"}
	w := watching(t, b.order("timeout=1h&abandon_guests=true"))
	b.sessions.confirm(0)
	b.sessions.confirm(1)
	if last := w.until("the end", done); len(last.Abandoned) != 1 || last.Abandoned[0] != "vm9" {
		t.Errorf("%+v", last)
	}
	<-b.ran
}

// TestOrdersAreRoots has another user ask, over a socket that lets everybody.
func TestOrdersAreRoots(t *testing.T) {
	testenv.RequireRoot(t)
	b := newLeaveBed(t)
	for dir := filepath.Dir(b.path); dir != "/" && dir != os.TempDir(); dir = filepath.Dir(dir) {
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chmod(b.path, 0o666); err != nil {
		t.Fatal(err)
	}
	conn := make(chan net.Conn, 1)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with its user
		if _, _, errno := unix.RawSyscall(unix.SYS_SETRESUID, ^uintptr(0), 65534, ^uintptr(0)); errno != 0 {
			t.Error(errno)
		}
		c, err := net.Dial("unix", b.path)
		if err != nil {
			t.Error(err)
		}
		conn <- c
	}()
	c := <-conn
	if c == nil {
		t.FailNow()
	}
	defer c.Close()
	if _, err := io.WriteString(c, "POST "+PathLeave+"?"+patient+" HTTP/1.1\r\nHost: agent\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	r, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	if text, _ := io.ReadAll(r.Body); r.StatusCode != http.StatusForbidden || string(text) != "only root may order that\n" {
		t.Errorf("%s %s", r.Status, text)
	}
	b.stop()
	if err := <-b.ran; err != nil {
		t.Error(err)
	}
}

func TestGuestsThatStay(t *testing.T) {
	b := newTestbed(t)
	b.projection.publish(t, &events.VMCreated{VM: "b", Hypervisor: "hv2", Interfaces: []events.Interface{
		{Tap: "tap2", MAC: events.MAC{Octets: [6]byte{2, 0, 0, 0, 0, 2}}, Network: "web"}}})
	want := func(hv, names string) {
		t.Helper()
		if got := strings.Join(staying(b.projection.state, hv), " "); got != names {
			t.Errorf("on %s: %q, want %q", hv, got, names)
		}
	}
	want("hv1", "a")
	b.projection.publish(t, &events.VMMigrationStarted{VM: "b", To: "hv1"})
	want("hv1", "a b")
	b.projection.publish(t, &events.VMMigrated{VM: "b", To: "hv1"})
	want("hv1", "a b")
	want("hv2", "") // forwarded still
	b.projection.publish(t, &events.VMDeleted{VM: "a"})
	want("hv1", "b")
	if got := staying(projector.New(), "hv1"); len(got) > 0 {
		t.Errorf("of an empty log: %q", got)
	}
}
