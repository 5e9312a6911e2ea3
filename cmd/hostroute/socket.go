package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
)

const defaultSocket = "/run/hostroute/agent.sock"

// patience is how long an agent may think about an answer. Millions of routes
// take it some seconds.
const patience = time.Minute

// question makes a command that asks the agent of this host. Show words the
// answer; without it a program reads the JSON.
func question[T any](a *app, use, short, path string, query func(args []string) (url.Values, error), show func(T) error) *cobra.Command {
	var socket string
	name, _, _ := strings.Cut(use, " ")
	c := a.command(use, short, "hostroute "+name, func(ctx context.Context, args []string) error {
		values, err := query(args)
		if err != nil {
			return err
		}
		body, err := ask(ctx, socket, path, values)
		if err != nil {
			return err
		}
		var answer T
		if err := json.Unmarshal(body, &answer); err != nil {
			return fmt.Errorf("reading the answer of the agent at %s: %w", socket, err)
		}
		if a.json {
			if err := writeJSON(a.stdout, json.RawMessage(body)); err != nil {
				return err
			}
			return verdict(answer)
		}
		if err := show(answer); err != nil {
			return err
		}
		return verdict(answer)
	})
	c.Flags().StringVar(&socket, "socket", defaultSocket, "`PATH` of the agent's socket")
	return c
}

// nothing is the query of a question that has no arguments.
func nothing([]string) (url.Values, error) { return nil, nil }

// ask puts a question to the agent over its unix socket.
func ask(ctx context.Context, socket, path string, query url.Values) ([]byte, error) {
	response, err := request(ctx, http.MethodGet, socket, path, query)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return nil, fmt.Errorf("asking the agent at %s: %w", socket, err)
	}
	return body, nil
}

// request gives the agent's answer if it isn't a refusal.
func request(ctx context.Context, method, socket, path string, query url.Values) (*http.Response, error) {
	return requestWithin(ctx, patience, method, socket, path, query)
}

// requestWithin has another patience.
func requestWithin(ctx context.Context, patience time.Duration, method, socket, path string, query url.Values) (*http.Response, error) {
	client := &http.Client{Transport: &http.Transport{
		DisableKeepAlives:     true,
		ResponseHeaderTimeout: patience,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", socket)
		},
	}}
	request, err := http.NewRequestWithContext(ctx, method, "http://agent"+path+"?"+query.Encode(), nil)
	if err != nil {
		return nil, err
	}
	response, err := client.Do(request)
	if err != nil {
		return nil, fmt.Errorf("asking the agent at %s: %w", socket, cmp.Or(ctx.Err(), unreachable(err)))
	}
	if response.StatusCode == http.StatusOK {
		return response, nil
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return nil, fmt.Errorf("asking the agent at %s: %w", socket, err)
	}
	text := strings.TrimSpace(string(body))
	if response.StatusCode == http.StatusConflict {
		return nil, found{fmt.Errorf("the agent at %s refuses: %s", socket, text)}
	}
	return nil, fmt.Errorf("the agent at %s answers: %s", socket, text)
}

// nobody is the error of a socket on which no agent answers.
type nobody struct{ text string }

func (n nobody) Error() string { return n.text }

// unreachable says what can be done about a socket that nobody answers on.
func unreachable(err error) error {
	var request *url.Error
	if errors.As(err, &request) {
		err = request.Err // how the question was put is nobody's business
	}
	var waited net.Error
	switch {
	case errors.As(err, &waited) && waited.Timeout():
		return fmt.Errorf("no answer within %s; the agent hangs, so look into its messages and restart it", patience)
	case errors.Is(err, os.ErrNotExist):
		return nobody{"there is no such socket; start the agent, or name its socket with --socket"}
	case errors.Is(err, syscall.ECONNREFUSED):
		return nobody{"nobody answers; the agent has ended, so start it again"}
	case errors.Is(err, os.ErrPermission):
		return errors.New("permission denied; ask as root or as a member of the socket's group")
	}
	return err
}
