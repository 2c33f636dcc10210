package environment

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/seed-b96de936/troop/core"
	"github.com/seed-b96de936/troop/core/notify"
)

// Artifacts stores files content-addressed. The store implements it.
type Artifacts interface {
	PutArtifact(ctx context.Context, path string) (core.Artifact, error)
	Artifact(ctx context.Context, d core.Digest) (core.Artifact, error)
}

// Plugins describes plugins and finds their binaries, to install agents. The loader implements it.
type Plugins interface {
	Path(typ string) (string, error)
	Describe(ctx context.Context, typ string) (core.Description, core.Digest, error)
}

// Service serves the environments of one run, or of one operator action, to the engine; it implements core.Environments.
// Set the fields before first use.
type Service struct {
	// Options apply to all environments; Name and Run are filled in.
	Options   Options
	Artifacts Artifacts
	Plugins   Plugins
	Force     bool          // ignore drift; configure hosts even if nothing changed
	Send      notify.Sender // sends the result of a run if no host can; nil: notify.Send

	mu       sync.Mutex
	open     map[string]*Environment // current ones, by name
	opened   []*Environment          // all
	releases []func() error
}

var _ core.Environments = (*Service)(nil)

// errNone: a job without an environment uses a capability that needs one.
var errNone = errors.New("this run has no environment: use --env, or a trigger in the manifest")

// Admit implements core.Environments: who is no member of the team opens nothing.
func (s *Service) Admit(ctx context.Context, p *core.Pipeline, name string) error {
	if s.Options.Vault == nil {
		return nil
	}
	_, _, err := s.Options.Vault.of(p, name).Load(ctx)
	return err
}

// Prepare makes and configures the hosts of an environment. It locks the environment until Close, so that no other run
// deploys there.
func (s *Service) Prepare(ctx context.Context, p *core.Pipeline, run core.RunID, name string, emit func(core.Event)) error {
	o := s.Options
	o.Log = func(line string) { emit(core.Event{Kind: core.KindLog, Summary: line}) }
	s.mu.Lock()
	e, err := s.add(p, run, name, o)
	s.mu.Unlock()
	if err != nil {
		return err
	}
	release, err := e.Lock(ctx)
	if err != nil {
		return err
	}
	s.mu.Lock()
	s.releases = append(s.releases, release)
	s.mu.Unlock()
	return e.Prepare(ctx, s.Force, emit)
}

// Hold locks an environment until Close, for an action, unless another command holds it.
func (s *Service) Hold(ctx context.Context, p *core.Pipeline, name string) error {
	e, err := s.get(p, "", name)
	if err != nil {
		return err
	}
	release, err := e.TryLock(ctx)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.releases = append(s.releases, release)
	return nil
}

// Secrets returns an environment's passwords and keys, and makes them if needed.
func (s *Service) Secrets(p *core.Pipeline, name string) ([]string, error) {
	e, err := s.get(p, "", name)
	if err != nil {
		return nil, err
	}
	secrets, err := e.secrets()
	if err != nil {
		return nil, err
	}
	hosts, err := e.Hosts()
	if _, none := errors.AsType[*core.NotFoundError](err); none { // yet
		err = nil
	}
	return secrets.values(hosts, e.conf.Accessories), err
}

// Capabilities serves one job. Its environment is opened by the first call that needs it.
func (s *Service) Capabilities(p *core.Pipeline, job core.Job) core.Capabilities {
	typ, _, _ := strings.Cut(string(job.Info.Stage), ".")
	return &capabilities{job: job, typ: typ, artifacts: s.Artifacts, plugins: s.Plugins, env: func() (*Environment, error) {
		return s.get(p, job.Info.Run, job.Info.Environment)
	}}
}

// get returns an open environment, or opens it.
func (s *Service) get(p *core.Pipeline, run core.RunID, name string) (*Environment, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if e := s.open[name]; e != nil {
		return e, nil
	}
	return s.add(p, run, name, s.Options)
}

// add opens an environment and makes it the current one. The caller holds mu.
func (s *Service) add(p *core.Pipeline, run core.RunID, name string, o Options) (*Environment, error) {
	if name == "" {
		if len(p.Environments) == 0 {
			return nil, errNone
		}
		var names []string
		for _, e := range p.Environments {
			names = append(names, e.Name)
		}
		return nil, fmt.Errorf("%w; the pipeline has %s", errNone, strings.Join(names, ", "))
	}
	o.Pipeline, o.Run, o.Name = p, run, name
	e, err := Open(o)
	if err != nil {
		return nil, err
	}
	if s.open == nil {
		s.open = map[string]*Environment{}
	}
	s.open[name] = e
	s.opened = append(s.opened, e)
	return e, nil
}

// Timeouts for sending the result of a run: in total, and through the relay.
const (
	announceWait = 30 * time.Second
	relayWait    = 5 * time.Second
)

// Announce sends the result of a run to people: through the environment's relay if reachable, so that rate limits hold
// across runs, else directly. It fails if a receiver could not be reached.
func (s *Service) Announce(ctx context.Context, p *core.Pipeline, run core.Run) error {
	ctx, cancel := context.WithTimeout(ctx, announceWait)
	defer cancel()
	e := core.Complete(core.Event{
		Environment: run.Environment, Run: run.ID, Source: "run", Kind: core.RunEnded(run.Status),
		Summary: fmt.Sprintf("%s %s: %s (%.8s %s)", run.Pipeline, run.Status, run.Reason, run.Commit, run.Subject),
	})
	if run.Status != core.Passed {
		e.Severity = core.Warning
	}
	if s.publish(ctx, p, e) == nil {
		return nil
	}
	if !slices.ContainsFunc(p.Notifiers, func(n core.Notifier) bool { return notify.Wants(n, e) }) {
		return nil
	}
	send := s.Send
	if send == nil {
		send = notify.Send
	}
	r := notify.Router{Notifiers: p.Notifiers, Send: send, GiveUp: time.Second} // one more attempt: the run waits for it
	return r.Handle(ctx, e)
}

// publish publishes an event in its environment.
func (s *Service) publish(ctx context.Context, p *core.Pipeline, e core.Event) error {
	env, err := s.get(p, e.Run, e.Environment)
	if err != nil {
		return err
	}
	b, err := env.Bus()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, relayWait)
	defer cancel()
	return b.Publish(ctx, e)
}

// Close closes all connections and releases the locks of the environments.
//
//nolint:contextcheck // as Environment.Close
func (s *Service) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var errs []error
	for _, e := range s.opened {
		errs = append(errs, e.Close())
	}
	for _, release := range s.releases {
		errs = append(errs, release())
	}
	s.open, s.opened, s.releases = nil, nil, nil
	return errors.Join(errs...)
}
