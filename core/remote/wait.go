package remote

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"syscall"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/seed-b96de936/troop/core"
)

// patience holds the intervals and limits of Wait.
type patience struct {
	retry time.Duration   // pause between attempts to reach a starting host
	tell  time.Duration   // how often the state of a host that does not come is told
	keys  []time.Duration // pauses after each refusal of our key; one refusal more is the last
}

// usual: a host may refuse the right key until cloud-init has installed it. The pauses grow since sshd punishes a client
// that fails often by closing its connections.
func usual() patience {
	return patience{
		retry: 150 * time.Millisecond,
		tell:  15 * time.Second,
		keys: []time.Duration{
			time.Second, 2 * time.Second, 4 * time.Second, 8 * time.Second,
			15 * time.Second, 15 * time.Second, 15 * time.Second, 15 * time.Second,
		},
	}
}

// finished waits for cloud-init if it is installed. Its exit status 2 means done with recoverable errors.
const finished = `command -v cloud-init >/dev/null || exit 0
cloud-init status --wait >/dev/null 2>&1; s=$?
[ $s -eq 2 ] && exit 0
[ $s -eq 0 ] || cloud-init status --long >&2
exit $s`

// Waiting is what Wait knows of a host.
type Waiting struct {
	Host  core.HostName
	State string // a sentence without the host's name
	// Due: the host has not come for some time, and everybody should hear what it waits for. It is repeated while the wait
	// lasts. What is not due is a change of state, for those who follow closely.
	Due bool
}

// Wait waits until every host runs commands over SSH and has finished cloud-init. It tries all hosts concurrently and
// retries until timeout, since a starting host may refuse connections and even the right key. It ends early, for all hosts,
// where waiting cannot help: another host key than the pinned one, or our key refused again and again. The error names each
// missing host with the reason and what to do; that of a host which could not be reached in time is an *AwayError. progress
// may be nil; its calls do not overlap.
func (c *Client) Wait(ctx context.Context, hosts []core.Host, timeout time.Duration, progress func(Waiting)) error {
	ctx, cancel := context.WithTimeoutCause(ctx, timeout, errTimeout)
	defer cancel()
	ctx, giveUp := context.WithCancelCause(ctx)
	defer giveUp(nil)
	var (
		mu    sync.Mutex
		wg    sync.WaitGroup
		ended bool // a timer may fire after the last host
		errs  = make([]error, len(hosts))
	)
	say := func(w Waiting) {
		if progress != nil {
			mu.Lock()
			defer mu.Unlock()
			if !ended {
				progress(w)
			}
		}
	}
	for i, h := range hosts {
		wg.Go(func() {
			one := &awaited{client: c, host: h, say: say, start: time.Now()}
			if err := one.wait(ctx); err != nil {
				err = fmt.Errorf("wait for SSH on %s (%s): %w", h.Name, login(h), err)
				if errors.As(err, new(hopeless)) {
					giveUp(errHopeless)
				} else if errors.Is(err, errUnreached) {
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
	if err := context.Cause(ctx); err != nil && !errors.Is(err, errTimeout) && !errors.Is(err, errHopeless) {
		return err // cancelled: the hosts' last errors do not matter
	}
	return errors.Join(errs...)
}

var (
	errTimeout   = errors.New("timeout")
	errHopeless  = errors.New("another host will never come")
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

// hopeless is an error that waiting does not mend.
type hopeless struct{ error }

func (h hopeless) Unwrap() error { return h.error }

// awaited is one host of a Wait.
type awaited struct {
	client *Client
	host   core.Host
	say    func(Waiting)
	start  time.Time

	mu    sync.Mutex
	state string // last told
	told  bool   // as due
}

// is tells a new state.
func (a *awaited) is(state string) {
	a.mu.Lock()
	same := state == a.state
	a.state = state
	a.mu.Unlock()
	if !same {
		a.say(Waiting{Host: a.host.Name, State: state})
	}
}

// remind tells the state again and again until ctx ends.
func (a *awaited) remind(ctx context.Context) {
	tick := time.NewTicker(a.client.patience.tell)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			a.mu.Lock()
			state := a.state
			a.told = a.told || state != ""
			a.mu.Unlock()
			if state == cloudInit {
				if stage := a.client.stage(ctx, a.host); ctx.Err() == nil && stage != "" {
					state += ": " + stage
				}
			}
			if state != "" && ctx.Err() == nil {
				a.say(Waiting{Host: a.host.Name, State: fmt.Sprintf("%s (since %s)", state, a.since()), Due: true})
			}
		}
	}
}

func (a *awaited) since() time.Duration { return time.Since(a.start).Round(time.Second) }

func (a *awaited) wait(ctx context.Context) error {
	reminding, stop := context.WithCancel(ctx)
	defer stop()
	go a.remind(reminding)
	for {
		if err := a.connect(ctx); err != nil {
			return err
		}
		a.mu.Lock()
		told := a.told
		a.mu.Unlock()
		a.say(Waiting{Host: a.host.Name, State: fmt.Sprintf("answers after %s", time.Since(a.start).Round(10*time.Millisecond)), Due: told})
		a.mu.Lock()
		a.state = ""
		a.mu.Unlock()
		lost, err := a.finish(ctx)
		if !lost {
			return err
		}
		a.is("closed the connection while cloud-init was running, perhaps to restart")
	}
}

// connect makes a connection.
func (a *awaited) connect(ctx context.Context) error {
	refusals, last := 0, obstacle{}
	for {
		_, err := a.client.connect(ctx, a.host)
		if err == nil {
			return nil
		}
		pause := a.client.patience.retry
		if ctx.Err() == nil {
			last = a.client.obstacle(a.host, err)
			if last.err == nil {
				a.is(last.state)
			}
			if last.key {
				if refusals == len(a.client.patience.keys) {
					return hopeless{fmt.Errorf("%s %d times within %s; %s", last.state, refusals+1, a.since(), last.remedy)}
				}
				pause = a.client.patience.keys[refusals]
				refusals++
			}
		}
		if last.err != nil {
			return hopeless{last.err}
		}
		select {
		case <-ctx.Done():
			if errors.Is(context.Cause(ctx), errHopeless) {
				return fmt.Errorf("not waited for any longer: %s", last.state)
			}
			return fmt.Errorf("%w within %s: %s", errUnreached, a.since(), last)
		case <-time.After(pause):
		}
	}
}

// finish waits for cloud-init. lost: the connection has ended, as when cloud-init restarts the host.
func (a *awaited) finish(ctx context.Context) (lost bool, err error) {
	if a.host.Given != nil { // it was started long ago
		err := a.client.Root(ctx, a.host)
		if errors.As(err, new(*SudoError)) {
			return false, hopeless{err}
		}
		return err != nil && ctx.Err() == nil, context.Cause(ctx)
	}
	timer := time.AfterFunc(slow, func() { a.is(cloudInit) })
	defer timer.Stop()
	_, err = a.client.Run(ctx, a.host, finished, nil)
	switch {
	case err == nil:
		return false, nil
	case Exited(err):
		return false, fmt.Errorf("cloud-init failed: %w", err)
	case errors.Is(err, errHopeless):
		return false, errors.New("not waited for any longer: " + cloudInit)
	case errors.Is(err, errTimeout):
		return false, fmt.Errorf("cloud-init did not finish within %s: %s", a.since(), a.client.stage(ctx, a.host))
	case ctx.Err() != nil, errors.Is(err, net.ErrClosed):
		return false, err
	}
	return true, nil
}

// slow is how long cloud-init may take before progress reports that it is still running.
const (
	slow      = 2 * time.Second
	cloudInit = "cloud-init is still running"
)

// stage returns cloud-init's own status.
func (c *Client) stage(ctx context.Context, h core.Host) string {
	ctx, cancel := context.WithTimeoutCause(context.WithoutCancel(ctx), dialTimeout, errTimeout)
	defer cancel()
	out, err := c.Run(ctx, h, "cloud-init status --long", nil)
	if text := lastLines(out, 5); text != "" || err == nil {
		return text
	}
	return err.Error()
}

// obstacle is why a host could not be reached.
type obstacle struct {
	state  string // a sentence without the host's name
	remedy string // for the case that it lasts
	key    bool   // our key is refused
	err    error  // waiting cannot help
}

func (o obstacle) String() string {
	if o.remedy == "" {
		return o.state
	}
	return o.state + "; " + o.remedy
}

// obstacle explains why a connection failed.
func (c *Client) obstacle(h core.Host, err error) obstacle {
	port := address(h)
	if changed, ok := errors.AsType[*HostKeyError](err); ok {
		return obstacle{state: changed.Error(), err: changed}
	}
	if none, ok := errors.AsType[*ssh.AlgorithmNegotiationError](err); ok {
		if none.What == "host key" {
			err = fmt.Errorf("it has no host key of the pinned type any more: %w; if the host was replaced on purpose, accept the new key with: troop hosts accept %s --env %s", err, h.Name, c.known.environment())
		}
		return obstacle{state: err.Error(), err: err}
	}
	if refused, ok := errors.AsType[*RefusedError](err); ok {
		return obstacle{state: refused.state(), err: refused}
	}
	var far net.Error
	switch {
	case errors.Is(err, errLocal), errors.Is(err, net.ErrClosed), errors.As(err, new(*UnknownHostError)):
		return obstacle{state: err.Error(), err: err}
	case errors.As(err, new(*proxyError)):
		if h.SSM != nil {
			return obstacle{
				state:  "cannot be reached through AWS Systems Manager: " + err.Error(),
				remedy: "this machine needs the AWS command line with its session-manager-plugin and the right ssm:StartSession, the instance its agent and a role; try it by hand: aws ssm start-session --region " + h.SSM.Region + " --target " + h.SSM.Instance,
			}
		}
		return obstacle{state: "cannot be reached through its jump host: " + err.Error(), remedy: "try it by hand: ssh " + h.Address}
	case refused(err):
		return obstacle{
			state: "refuses the key of the environment for the user " + h.User, key: true,
			remedy: fmt.Sprintf("is %s the right user (user in the output or block of the host, image_user in terraform/aws)? Its ~/.ssh/authorized_keys must contain %s.pub (unable to authenticate)", h.User, c.key.file),
		}
	case errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.ENETUNREACH):
		return obstacle{state: "no route to " + h.Address, remedy: "this machine must reach that address: is it private, or the host stopped?"}
	case errors.Is(err, syscall.ECONNREFUSED):
		return obstacle{state: "refuses connections to " + port, remedy: "sshd does not listen there (connection refused)"}
	case errors.As(err, new(*net.DNSError)):
		return obstacle{state: err.Error(), remedy: "the address of the host must be one that this machine can resolve"}
	case errors.As(err, new(noAnswer)), errors.Is(err, os.ErrDeadlineExceeded), errors.As(err, &far) && far.Timeout():
		return obstacle{state: "no answer from " + port, remedy: "a security group or a firewall must let this machine in (ssh_cidrs in terraform/aws)"}
	}
	return obstacle{state: err.Error()}
}
