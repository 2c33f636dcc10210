package store

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"math/rand/v2"
	"time"

	"github.com/seed-b96de936/troop/core"
)

// Patient repeats what fails for a reason that may pass: a server that is overloaded or away, a damaged answer. What a
// person has to mend fails at once.
type Patient struct {
	Objects core.Objects
	Wait    time.Duration // the longest time that one call goes on trying
	// Pause is the time before the first repetition; those that follow are longer, up to 50 times. 0: 100 ms.
	Pause time.Duration
	// Say is told once per call, when it has failed for 3 s, or for a tenth of Wait. Optional.
	Say func(line string)
}

var _ core.Objects = Patient{}

const (
	firstPause = 100 * time.Millisecond
	growth     = 50 // of a pause, from the first to the longest
	sayAfter   = 3 * time.Second
)

// attempt calls do until it succeeds, or fails for good.
func (p Patient) attempt(ctx context.Context, do func(n int) error) error {
	began, said, pause := time.Now(), false, cmp.Or(p.Pause, firstPause)
	longest := growth * pause
	damaged := ""
	for n := 0; ; n++ {
		err := do(n)
		if err == nil || !temporary(err) || errors.Is(err, core.ErrChanged) {
			return err
		}
		if damage := (*DamageError)(nil); errors.As(err, &damage) {
			if damaged == damage.Error() {
				return err // it is not the line: the same bytes came twice
			}
			damaged = damage.Error()
		}
		if cause := context.Cause(ctx); cause != nil {
			return fmt.Errorf("%w (last: %w)", cause, err)
		}
		spent := time.Since(began)
		if spent+pause > p.Wait {
			if n == 0 {
				return err
			}
			return fmt.Errorf("%w (tried %d times in %.0f s)", err, n+1, spent.Seconds())
		}
		if !said && spent >= min(sayAfter, p.Wait/10) && p.Say != nil {
			said = true
			p.Say(fmt.Sprintf("the store does not do its work: %v; trying again for %.0f s", err, (p.Wait - spent).Seconds()))
		}
		select {
		case <-ctx.Done():
		case <-time.After(pause/2 + rand.N(pause/2+1)): //nolint:gosec // spreads requests, guards nothing
		}
		pause = min(2*pause, longest)
	}
}

// Get implements core.Objects. Small values are read as a whole, so that one whose transfer breaks off is read again.
func (p Patient) Get(ctx context.Context, key string) (body io.ReadCloser, o core.Object, err error) {
	err = p.attempt(ctx, func(int) error {
		if body, o, err = p.Objects.Get(ctx, key); err != nil || o.Size > partSize {
			return err
		}
		b, err := io.ReadAll(body)
		if err = errors.Join(err, body.Close()); err != nil {
			return fmt.Errorf("read %s: %w", key, err)
		}
		body = io.NopCloser(bytes.NewReader(b))
		return nil
	})
	if err != nil {
		return nil, core.Object{}, err
	}
	return body, o, nil
}

// Put implements core.Objects. A write whose answer was lost has succeeded when the value is ours: then the condition of
// its repetition does not hold any more.
func (p Patient) Put(ctx context.Context, key string, data io.ReadSeeker, when core.Condition) (o core.Object, err error) {
	err = p.attempt(ctx, func(n int) error {
		o, err = p.Objects.Put(ctx, key, data, when)
		if n > 0 && errors.Is(err, core.ErrChanged) {
			if have, same := p.same(ctx, key, data); same {
				o, err = have, nil
			}
		}
		return err
	})
	return o, err
}

// same reports whether a value is what was to be written.
func (p Patient) same(ctx context.Context, key string, data io.ReadSeeker) (core.Object, bool) {
	body, o, err := p.Get(ctx, key)
	if err != nil {
		return o, false
	}
	defer body.Close()
	if _, err := data.Seek(0, io.SeekStart); err != nil {
		return o, false
	}
	have, errHave := core.DigestReader(body)
	want, errWant := core.DigestReader(data)
	return o, errHave == nil && errWant == nil && have == want
}

// List implements core.Objects. A list that breaks off goes on after the last key that was yielded.
func (p Patient) List(ctx context.Context, prefix string, shallow bool) iter.Seq2[core.Object, error] {
	return func(yield func(core.Object, error) bool) {
		last, ended := "", false
		err := p.attempt(ctx, func(int) error {
			for o, err := range p.Objects.List(ctx, prefix, shallow) {
				if err != nil {
					return err
				}
				if o.Key <= last {
					continue
				}
				last = o.Key
				if !yield(o, nil) {
					ended = true
					return nil
				}
			}
			return nil
		})
		if err != nil && !ended {
			yield(core.Object{}, err)
		}
	}
}

// Delete implements core.Objects.
func (p Patient) Delete(ctx context.Context, key string) error {
	return p.attempt(ctx, func(int) error { return p.Objects.Delete(ctx, key) })
}
