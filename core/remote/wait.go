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

// retryEvery is the pause between two attempts to reach a host that is starting.
const retryEvery = 150 * time.Millisecond

// finished waits for cloud-init where there is one. Its exit status 2 means done, with recoverable errors.
const finished = `command -v cloud-init >/dev/null || exit 0
cloud-init status --wait >/dev/null 2>&1; s=$?
[ $s -eq 2 ] && exit 0
[ $s -eq 0 ] || cloud-init status --long >&2
exit $s`

// Wait returns when every host takes a command over SSH and has ended its cloud-init. It asks all hosts at once,
// and again until timeout: a host that starts may refuse connections and even the right key for a while. Only a
// changed host key ends it early. The error names each host that is missing, and why. progress may be nil; its
// calls do not overlap.
func (c *Client) Wait(ctx context.Context, hosts []core.Host, timeout time.Duration, progress func(core.HostName, string)) error {
	ctx, cancel := context.WithTimeoutCause(ctx, timeout, errTimeout)
	defer cancel()
	var (
		mu   sync.Mutex
		wg   sync.WaitGroup
		errs = make([]error, len(hosts))
	)
	say := func(h core.HostName, text string) {
		if progress != nil {
			mu.Lock()
			defer mu.Unlock()
			progress(h, text)
		}
	}
	for i, h := range hosts {
		wg.Go(func() {
			if err := c.waitOne(ctx, h, say); err != nil {
				errs[i] = fmt.Errorf("wait for SSH on %s (%s): %w", h.Name, login(h), err)
			}
		})
	}
	wg.Wait()
	if err := context.Cause(ctx); err != nil && !errors.Is(err, errTimeout) {
		return err // cancelled from outside: what the hosts said last is of no interest
	}
	return errors.Join(errs...)
}

var errTimeout = errors.New("timeout")

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
			return fmt.Errorf("no success within %s: %s", time.Since(start).Round(time.Second), last)
		case <-time.After(retryEvery):
		}
	}
	say(h.Name, fmt.Sprintf("answers after %s", time.Since(start).Round(10*time.Millisecond)))
	told := time.AfterFunc(slow, func() { say(h.Name, "cloud-init is still at work") })
	defer told.Stop()
	_, err := c.Run(ctx, h, finished, nil)
	switch {
	case err == nil:
		return nil
	case errors.As(err, new(*ssh.ExitError)):
		return fmt.Errorf("cloud-init has failed: %w", err)
	case errors.Is(err, errTimeout):
		return fmt.Errorf("cloud-init has not ended within %s: %s", time.Since(start).Round(time.Second), c.stage(ctx, h))
	}
	return err
}

// slow is how long cloud-init may take before progress says that it is still at work.
const slow = 2 * time.Second

// stage is what cloud-init says of itself, after the time that it had.
func (c *Client) stage(ctx context.Context, h core.Host) string {
	ctx, cancel := context.WithTimeoutCause(context.WithoutCancel(ctx), dialTimeout, errTimeout)
	defer cancel()
	out, err := c.Run(ctx, h, "cloud-init status --long", nil)
	if said := lastLines(out, 5); said != "" || err == nil {
		return said
	}
	return err.Error()
}
