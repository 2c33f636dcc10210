package agent

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/seed-b96de936/troop/plugins/deploy/acme"
	"github.com/seed-b96de936/troop/plugins/deploy/state"
	"github.com/seed-b96de936/troop/plugins/sdk"
)

const (
	certificateTick = time.Second
	maxRetry        = 6 * time.Hour
)

// certificate keeps the router's certificate by ACME, if there is to be one. One that cannot be renewed goes on serving.
func (a *agent) certificate(ctx context.Context) error {
	alerts, err := sdk.OpenAlerts(a.job.Info.StateDir, func(e sdk.Event) error { return a.job.Publish(ctx, e) })
	if err != nil {
		a.job.Warnf("%v", err)
	}
	k := keeper{agent: a, client: acme.New(a.job.Info.StateDir), alerts: alerts}
	listener, err := listenUnix(ctx, a.conf.Paths.Challenges())
	if err != nil {
		return err
	}
	server := &http.Server{Handler: k.client, ReadHeaderTimeout: askTime}
	go func() { _ = server.Serve(listener) }() // until it is closed
	defer func() { _ = server.Close() }()
	tick := time.NewTicker(certificateTick)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		if err := k.step(ctx); err != nil && err.Error() != k.said {
			k.said = err.Error()
			a.job.Warnf("%v", err)
		}
	}
}

// listenUnix opens a socket for HAProxy, in place of an old one.
func listenUnix(ctx context.Context, path string) (net.Listener, error) {
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("remove old socket: %w", err)
	}
	l, err := new(net.ListenConfig).Listen(ctx, "unix", path)
	if err != nil {
		return nil, fmt.Errorf("open socket: %w", err)
	}
	if err := os.Chmod(path, 0o660); err != nil {
		_ = l.Close() // the first error matters more
		return nil, fmt.Errorf("open socket: %w", err)
	}
	return l, nil
}

// keeper is what certificate remembers.
type keeper struct {
	agent  *agent
	client *acme.Client
	alerts *sdk.Alerts

	loaded string // what HAProxy has
	asked  state.ACME
	fails  int
	next   time.Time // no attempt before it
	reason string    // why the last one failed
	said   string    // the last error of a step
}

// step gives HAProxy the certificate that is there, and replaces it when it is due.
func (k *keeper) step(ctx context.Context) error {
	s, err := k.agent.router.Settings()
	if err != nil || s == nil || s.ACME == nil {
		k.report(nil)
		return err
	}
	text, err := k.agent.router.Certificate()
	if errors.Is(err, os.ErrNotExist) {
		return nil // the role is about to write a first one
	}
	if err != nil {
		return err
	}
	if text != k.loaded { // until HAProxy has it, it does not pass on questions either
		if err := k.agent.router.SetCertificate(ctx, text); err != nil {
			return err
		}
		k.loaded = text
	}
	due, ends, err := acme.Due(text, *s.ACME)
	if err != nil {
		return err
	}
	if fmt.Sprint(k.asked) != fmt.Sprint(*s.ACME) { // somebody may have repaired what was wrong
		k.asked, k.fails, k.next = *s.ACME, 0, time.Time{}
	}
	now := time.Now()
	if now.Before(due) {
		k.reason = ""
	}
	if now.Before(due) || now.Before(k.next) {
		k.report(&state.Certificate{Domains: s.ACME.Domains, Ends: ends, Problem: k.reason})
		return k.alerts.Retry()
	}
	return k.renew(ctx, *s.ACME, ends)
}

// renew gets a certificate, and tells why it could not.
func (k *keeper) renew(ctx context.Context, s state.ACME, ends time.Time) error {
	names := strings.Join(s.Domains, ", ")
	text, err := k.client.Obtain(ctx, s)
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case err == nil:
		k.fails, k.next = 0, time.Now().Add(k.agent.conf.Retry) // even if it cannot be written
		if err := k.agent.router.SetCertificate(ctx, text); err != nil {
			return err // the next step does it
		}
		k.loaded = text
		k.agent.job.Logf("there is a new certificate for %s", names)
		k.alerts.Resolve(sdk.Event{Kind: "certificate", Summary: "there is a new certificate for " + names})
		return nil
	}
	wait := min(k.agent.conf.Retry<<min(k.fails, 10), maxRetry) //nolint:mnd // far beyond maxRetry
	if why, ok := errors.AsType[*acme.Error](err); ok {
		wait = max(wait, why.After)
	}
	k.fails++
	k.next, k.reason = time.Now().Add(wait), err.Error()
	serves := "the router has no certificate yet that browsers accept"
	if !ends.IsZero() {
		serves = "the present one goes on serving, until " + ends.UTC().Format(time.DateTime)
	}
	summary := fmt.Sprintf("no new certificate for %s: %v; %s; the next attempt is in %s", names, err, serves, wait.Round(time.Second))
	k.agent.job.Warnf("%s", summary)
	k.alerts.Raise(sdk.Event{Kind: "certificate", Summary: summary, Data: map[string]any{"domains": s.Domains, "reason": err.Error()}})
	k.report(&state.Certificate{Domains: s.Domains, Ends: ends, Problem: k.reason})
	return nil
}

// report makes it part of the actual state.
func (k *keeper) report(c *state.Certificate) {
	k.agent.mu.Lock()
	defer k.agent.mu.Unlock()
	k.agent.tls = c
}
