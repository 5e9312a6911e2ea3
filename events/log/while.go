package log

import "context"

// While runs the server and, when it is ready, the work; it ends when the work
// or the server does. The server goes last, so that what the work has under
// way is finished. The work's context ends with the given one, or when the
// server fails.
func (s *Server) While(ctx context.Context, work func(context.Context) error) error {
	serving, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	working, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	ended := make(chan error, 1)
	go func() {
		err := s.Run(serving)
		cancel(err)
		ended <- err
	}()
	var err error
	select {
	case <-working.Done():
	case <-s.Ready():
		err = work(working)
	}
	stop()
	if failed := <-ended; failed != nil {
		return failed
	}
	return err
}
