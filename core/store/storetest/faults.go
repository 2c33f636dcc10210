package storetest

import (
	"context"
	"errors"
	"io"
	"iter"
	"sync"

	"github.com/seed-b96de936/troop/core"
)

// ErrAway is how a store fails that does not answer.
var ErrAway = errors.New("503 Service Unavailable: reduce your request rate")

// Faults are objects that fail as a test says.
type Faults struct {
	core.Objects

	mu   sync.Mutex
	fail func(op, key string) error
	lose func(op, key string) bool
}

// Fail makes calls fail before they do anything: op is get, put, list or delete. A nil error lets a call pass.
func (f *Faults) Fail(fail func(op, key string) error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.fail = fail
}

// Lose makes writes succeed whose answer is lost.
func (f *Faults) Lose(lose func(op, key string) bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.lose = lose
}

func (f *Faults) before(op, key string) error {
	f.mu.Lock()
	fail := f.fail
	f.mu.Unlock()
	if fail == nil {
		return nil
	}
	return fail(op, key) // which may take its time
}

func (f *Faults) lost(op, key string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.lose != nil && f.lose(op, key)
}

// Get implements core.Objects.
func (f *Faults) Get(ctx context.Context, key string) (io.ReadCloser, core.Object, error) {
	if err := f.before("get", key); err != nil {
		return nil, core.Object{}, err
	}
	return f.Objects.Get(ctx, key)
}

// Put implements core.Objects.
func (f *Faults) Put(ctx context.Context, key string, data io.ReadSeeker, when core.Condition) (core.Object, error) {
	if err := f.before("put", key); err != nil {
		return core.Object{}, err
	}
	o, err := f.Objects.Put(ctx, key, data, when)
	if err == nil && f.lost("put", key) {
		return core.Object{}, ErrAway
	}
	return o, err
}

// List implements core.Objects.
func (f *Faults) List(ctx context.Context, prefix string, shallow bool) iter.Seq2[core.Object, error] {
	if err := f.before("list", prefix); err != nil {
		return func(yield func(core.Object, error) bool) { yield(core.Object{}, err) }
	}
	return f.Objects.List(ctx, prefix, shallow)
}

// Delete implements core.Objects.
func (f *Faults) Delete(ctx context.Context, key string) error {
	if err := f.before("delete", key); err != nil {
		return err
	}
	return f.Objects.Delete(ctx, key)
}
