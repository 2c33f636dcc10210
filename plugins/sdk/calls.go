package sdk

import (
	"context"
	"sync"

	"github.com/seed-b96de936/troop/plugins/sdk/internal/wire"
)

// calls are the running calls, by the core's number.
type calls struct {
	mu      sync.Mutex
	cancels map[uint64]context.CancelCauseFunc
	early   map[uint64]error // causes of calls cancelled before they arrived
	active  int
}

// begin returns the context of a call, which ends with the stream, with Cancel or with end.
func (c *calls) begin(parent context.Context, id uint64) (ctx context.Context, end func()) {
	ctx, cancel := context.WithCancelCause(parent)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.active++
	if id != 0 {
		if c.cancels == nil {
			c.cancels = map[uint64]context.CancelCauseFunc{}
		}
		c.cancels[id] = cancel
		if cause, ok := c.early[id]; ok {
			cancel(cause)
			delete(c.early, id)
		}
	}
	return ctx, func() {
		cancel(context.Canceled)
		c.mu.Lock()
		defer c.mu.Unlock()
		c.active--
		delete(c.cancels, id)
	}
}

// cancelError is the reason why the core cancelled a call, of kind context.Canceled or context.DeadlineExceeded.
type cancelError struct {
	text string
	kind error
}

func (e *cancelError) Error() string { return e.text }
func (e *cancelError) Unwrap() error { return e.kind }

// Cancel ends the context of a call.
func (s *server[C]) Cancel(_ context.Context, r *wire.CancelRequest) (*wire.CancelReply, error) {
	cause := &cancelError{text: r.GetCause(), kind: context.Canceled}
	if r.GetDeadline() {
		cause.kind = context.DeadlineExceeded
	}
	if cause.text == "" {
		cause.text = cause.kind.Error()
	}
	s.calls.cancel(r.GetCall(), cause)
	return &wire.CancelReply{}, nil
}

func (c *calls) cancel(id uint64, cause error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if cancel := c.cancels[id]; cancel != nil {
		cancel(cause)
		return
	}
	if c.early == nil {
		c.early = map[uint64]error{}
	}
	c.early[id] = cause
}
