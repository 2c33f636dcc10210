package remote

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/seed-b96de936/troop/core"
)

// retryEvery is the pause between attempts to reach a starting host.
const retryEvery = 150 * time.Millisecond

// finished waits for cloud-init if it is installed. Its exit status 2 means done with recoverable errors.
const finished = `command -v cloud-init >/dev/null || exit 0
cloud-init status --wait >/dev/null 2>&1; s=$?
[ $s -eq 2 ] && exit 0
[ $s -eq 0 ] || cloud-init status --long >&2
exit $s`

// Wait waits until every host runs commands over SSH and has finished cloud-init. It tries all hosts concurrently and
// retries until timeout, since a starting host may refuse connections and even the right key. Only a changed host key
// ends it early. The error names each missing host with the reason; of those that could not be reached, it is an
// *AwayError. progress may be nil; its calls do not overlap.
func (c *Client) Wait(ctx context.Context, hosts []core.Host, timeout time.Duration, progress func(core.HostName, string)) error {
	ctx, cancel := context.WithTimeoutCause(ctx, timeout, errTimeout)
	defer cancel()
	var (
		mu    sync.Mutex
		wg    sync.WaitGroup
		ended bool // a timer may fire after the last host
		errs  = make([]error, len(hosts))
	)
	say := func(h core.HostName, text string) {
		if progress != nil {
			mu.Lock()
			defer mu.Unlock()
			if !ended {
				progress(h, text)
			}
		}
	}
	for i, h := range hosts {
		wg.Go(func() {
			if err := c.waitOne(ctx, h, say); err != nil {
				err = fmt.Errorf("wait for SSH on %s (%s): %w", h.Name, login(h), err)
				if errors.Is(err, errUnreached) {
					err = &AwayError{Host: h.Name, Err: err}
				}
				errs[i] = err
			}
		})
	}
	wg.Wait()
	mu.Lock()
	ended = true
	mu.Unlock()
	if err := context.Cause(ctx); err != nil && !errors.Is(err, errTimeout) {
		return err // cancelled: the hosts' last errors do not matter
	}
	return errors.Join(errs...)
}

var (
	errTimeout   = errors.New("timeout")
	errUnreached = errors.New("no success")
)

// AwayError says that a host could not be reached in time.
type AwayError struct {
	Host core.HostName
	Err  error
}

func (e *AwayError) Error() string { return e.Err.Error() }

func (e *AwayError) Unwrap() error { return e.Err }

// Away returns the hosts that could not be reached, with the reason of each, if that is all that err, an error of Wait,
// says.
func Away(err error) (hosts map[core.HostName]error, only bool) {
	hosts = map[core.HostName]error{}
	all, ok := err.(interface{ Unwrap() []error })
	if err != nil && !ok {
		return hosts, false
	}
	if err == nil {
		return hosts, true
	}
	for _, e := range all.Unwrap() {
		away, ok := errors.AsType[*AwayError](e)
		if !ok {
			return hosts, false
		}
		hosts[away.Host] = away.Err
	}
	return hosts, true
}

func (c *Client) waitOne(ctx context.Context, h core.Host, say func(core.HostName, string)) error {
	start, last := time.Now(), ""
	for {
		_, err := c.connect(ctx, h)
		if err == nil {
			break
		}
		if changed := new(HostKeyError); errors.As(err, &changed) {
			return changed
		}
		if ctx.Err() == nil && err.Error() != last {
			last = err.Error()
			say(h.Name, last)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w within %s: %s", errUnreached, time.Since(start).Round(time.Second), last)
		case <-time.After(retryEvery):
		}
	}
	say(h.Name, fmt.Sprintf("answers after %s", time.Since(start).Round(10*time.Millisecond)))
	timer := time.AfterFunc(slow, func() { say(h.Name, "cloud-init is still running") })
	defer timer.Stop()
	_, err := c.Run(ctx, h, finished, nil)
	switch {
	case err == nil:
		return nil
	case errors.As(err, new(*ssh.ExitError)):
		return fmt.Errorf("cloud-init failed: %w", err)
	case errors.Is(err, errTimeout):
		return fmt.Errorf("cloud-init did not finish within %s: %s", time.Since(start).Round(time.Second), c.stage(ctx, h))
	}
	return err
}

// slow is how long cloud-init may take before progress reports that it is still running.
const slow = 2 * time.Second

// stage returns cloud-init's own status after a timeout.
func (c *Client) stage(ctx context.Context, h core.Host) string {
	ctx, cancel := context.WithTimeoutCause(context.WithoutCancel(ctx), dialTimeout, errTimeout)
	defer cancel()
	out, err := c.Run(ctx, h, "cloud-init status --long", nil)
	if text := lastLines(out, 5); text != "" || err == nil {
		return text
	}
	return err.Error()
}
