package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/rogpeppe/go-internal/testscript"

	"github.com/hostroute/hostroute/events/log"
)

var updateScripts = flag.Bool("update", false, "write what the scripts compare with anew")

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"hostroute": func() { os.Exit(hostroute()) }})
}

// TestScripts runs the scripts of testdata/script. In them hostroute is the
// real binary, a process of its own, and further
//
//	log              serves a real log for this script and sets HOSTROUTE_LOG
//	poison SUBJECT   puts nonsense into the log, past the log service
//	answer SOCKET    answers on a unix socket with the script's files status.json,
//	                 routes.json, peers.json, guests.json and explain-ADDRESS.json,
//	                 in place of an agent
//	leaving SOCKET FILE  answers in place of an agent that is told to leave
//	witness HV FILE  answers as the agent of a hypervisor whether it has an effect,
//	                 with what the file has then
//	status N CMD…    runs a command and wants this exit code
//	expand FILE      puts the values of variables into a file
//	await FILE TEXT  waits until a file has a text
//	times FILE COPY  writes a copy of a file with TIME for every time in it
//
// $FREE is an address that nobody listens on, $DEPLOY the folder deploy.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		UpdateScripts:       *updateScripts,
		RequireExplicitExec: true,
		Setup: func(env *testscript.Env) error {
			env.Setenv("TZ", "UTC")
			env.Setenv("USER", "tester")
			env.Setenv("FREE", freeAddress(t))
			deploy, err := filepath.Abs("../../deploy")
			env.Setenv("DEPLOY", deploy)
			return err
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"log": serveLog, "answer": answer, "status": status, "await": await, "expand": expand, "poison": poison, "stream": alterStream, "leaving": leaving, "times": times, "witness": witness,
		},
	})
}

// freeAddress finds a loopback address to listen on.
func freeAddress(t testing.TB) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// serveLog runs hostroute log serve until the script ends, and wants it to end
// well.
func serveLog(ts *testscript.TestScript, _ bool, _ []string) {
	listen, file := ts.Getenv("FREE"), ts.MkAbs("log-for-this-script.yaml")
	text := "log: {embedded: {listen: \"" + listen + "\", store: " + ts.MkAbs("store") + ", sync: 1s}}\n"
	ts.Check(os.WriteFile(file, []byte(text), 0o600))
	seen := newWatch("log service answers")
	a := &app{stdin: bytes.NewReader(nil), stdout: seen, stderr: seen, now: time.Now, env: ts.Getenv}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan int, 1)
	go func() { ended <- a.run(ctx, []string{"log", "serve", "--config", file}) }()
	ts.Defer(func() {
		stop()
		if code := <-ended; code != exitFine {
			ts.Fatalf("log serve ended with %d:\n%s", code, seen)
		}
	})
	select {
	case <-seen.found:
	case <-time.After(time.Minute):
		ts.Fatalf("the log isn't served after a minute:\n%s", seen)
	case code := <-ended:
		ended <- code
		ts.Fatalf("log serve ended with %d:\n%s", code, seen)
	}
	ts.Setenv("HOSTROUTE_LOG", "nats://"+listen)
}

func poison(ts *testscript.TestScript, _ bool, args []string) {
	nc, err := nats.Connect(ts.Getenv("HOSTROUTE_LOG"))
	ts.Check(err)
	defer nc.Close()
	js, err := jetstream.New(nc)
	ts.Check(err)
	_, err = js.Publish(context.Background(), args[0], []byte("nonsense"))
	ts.Check(err)
}

// alterStream deletes a stream, or sets its description and how many consumers it
// may have, as somebody with rights would by hand.
func alterStream(ts *testscript.TestScript, _ bool, args []string) {
	nc, err := nats.Connect(ts.Getenv("HOSTROUTE_LOG"))
	ts.Check(err)
	defer nc.Close()
	js, err := jetstream.New(nc)
	ts.Check(err)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if args[0] == "delete" {
		ts.Check(js.DeleteStream(ctx, args[1]))
		return
	}
	s, err := js.Stream(ctx, args[1])
	ts.Check(err)
	c := s.CachedInfo().Config
	c.MaxConsumers, err = strconv.Atoi(args[2])
	ts.Check(err)
	_, err = js.UpdateStream(ctx, c)
	ts.Check(err)
}

// watch is a writer that notices a text.
type watch struct {
	mu    sync.Mutex
	text  []byte
	want  []byte
	found chan struct{}
}

func newWatch(want string) *watch { return &watch{want: []byte(want), found: make(chan struct{})} }

func (w *watch) Write(b []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	had := bytes.Contains(w.text, w.want)
	w.text = append(w.text, b...)
	if !had && bytes.Contains(w.text, w.want) {
		close(w.found)
	}
	return len(b), nil
}

func (w *watch) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return string(w.text)
}

func answer(ts *testscript.TestScript, _ bool, args []string) {
	l, err := net.Listen("unix", ts.MkAbs(args[0]))
	ts.Check(err)
	server := &http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, err := os.ReadFile(ts.MkAbs(filepath.Base(r.URL.Path) + ".json"))
		if name := r.URL.Query().Get("address"); name != "" {
			b, err = os.ReadFile(ts.MkAbs("explain-" + name + ".json"))
		}
		if err != nil || r.URL.Query().Get("prefix") == "bad" {
			http.Error(w, "prefix \"bad\": not an address or a prefix", http.StatusBadRequest)
			return
		}
		_, _ = w.Write(b)
	})}
	go func() { _ = server.Serve(l) }()
	ts.Defer(func() { _ = server.Close() })
}

func status(ts *testscript.TestScript, _ bool, args []string) {
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	err = ts.Exec(args[1], args[2:]...)
	got := 0
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		got = exit.ExitCode()
	} else {
		ts.Check(err)
	}
	if got != want {
		ts.Fatalf("exit code %d, want %d", got, want)
	}
}

// await looks at a file again and again: nobody tells when a process has
// written.
func await(ts *testscript.TestScript, _ bool, args []string) {
	deadline := time.Now().Add(time.Minute)
	for tick := time.NewTicker(10 * time.Millisecond); ; <-tick.C {
		b, err := os.ReadFile(ts.MkAbs(args[0]))
		if err == nil && bytes.Contains(b, []byte(args[1])) {
			return
		}
		if time.Now().After(deadline) {
			ts.Fatalf("%s has no %q after a minute:\n%s", args[0], args[1], b)
		}
	}
}

func witness(ts *testscript.TestScript, _ bool, args []string) {
	nc, err := log.Connect(ts.Getenv("HOSTROUTE_LOG"), log.ConnectOptions{})
	ts.Check(err)
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	w := log.NewEffectWitness(nc, args[0], func() func(log.Effect) log.EffectAnswer {
		return func(log.Effect) (answer log.EffectAnswer) {
			b, err := os.ReadFile(ts.MkAbs(args[1]))
			if err = errors.Join(err, json.Unmarshal(b, &answer)); err != nil {
				answer.Lacks = []string{err.Error()}
			}
			return answer
		}
	}, nil)
	go func() { ended <- w.Run(ctx) }()
	ts.Defer(func() {
		stop()
		ts.Check(<-ended)
		nc.Close()
	})
	deadline := time.Now().Add(time.Minute)
	for tick := time.NewTicker(time.Millisecond); nc.NumSubscriptions() == 0; <-tick.C {
		if time.Now().After(deadline) {
			ts.Fatalf("the agent of %s doesn't listen", args[0])
		}
	}
	ts.Check(nc.Flush())
}

func times(ts *testscript.TestScript, _ bool, args []string) {
	text := regexp.MustCompile(`\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(\.\d+)?Z`).ReplaceAllString(ts.ReadFile(args[0]), "TIME")
	ts.Check(os.WriteFile(ts.MkAbs(args[1]), []byte(text), 0o600))
}

func expand(ts *testscript.TestScript, _ bool, args []string) {
	text := os.Expand(ts.ReadFile(args[0]), ts.Getenv)
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), []byte(text), 0o600))
}
