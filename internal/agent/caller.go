package agent

import (
	"context"
	"net"
	"net/http"
	"os"

	"golang.org/x/sys/unix"
)

// userKey is where the context of a request has the user id of who asks.
type userKey struct{}

// withUser notes who is at the other end of a unix socket, by the kernel's word.
func withUser(ctx context.Context, c net.Conn) context.Context {
	conn, ok := c.(*net.UnixConn)
	if !ok {
		return ctx
	}
	raw, err := conn.SyscallConn()
	if err != nil {
		return ctx
	}
	_ = raw.Control(func(fd uintptr) { // one that is closed has no user
		if peer, err := unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED); err == nil {
			ctx = context.WithValue(ctx, userKey{}, peer.Uid)
		}
	})
	return ctx
}

// ordered keeps orders, and questions about the process itself, to root and to the
// agent's own user: the group of the socket may ask about routes and guests.
func ordered(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		uid, known := r.Context().Value(userKey{}).(uint32)
		if !known || uid != 0 && int(uid) != os.Geteuid() {
			http.Error(w, "only root may order that", http.StatusForbidden)
			return
		}
		h.ServeHTTP(w, r)
	})
}
