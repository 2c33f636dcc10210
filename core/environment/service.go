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

// Artifacts keeps what stages hand on. The store does.
type Artifacts interface {
	PutArtifact(ctx context.Context, path string) (core.Artifact, error)
	Artifact(ctx context.Context, d core.Digest) (core.Artifact, error)
}

// Plugins tells what is installed on hosts as the agent of a plugin. The loader does.
type Plugins interface {
	Path(typ string) (string, error)
	Describe(ctx context.Context, typ string) (core.Description, core.Digest, error)
}

// Service serves the environments of one run, or of one action of an operator, to the engine. The zero values of its
// optional fields are good; fields are set before its first use.
type Service struct {
	// Options are those of all environments; Name and Run are filled in.
	Options   Options
	Artifacts Artifacts
	Plugins   Plugins
	Force     bool          // go on in spite of drift; configure hosts also when nothing has changed
	Send      notify.Sender // tells people how a run ended, when no host can; nil: notify.Send

	mu       sync.Mutex
	open     map[string]*Environment // the one to use, by name
	opened   []*Environment          // all
	releases []func() error
}

var _ core.Environments = (*Service)(nil)

// errNone is the answer to a job that asks for hosts and has no environment.
var errNone = errors.New("this run has no environment: use --env, or a trigger in the manifest")

// Prepare makes and configures the hosts of an environment. From then on it holds the environment's lock, until
// Close, so that no other run deploys there.
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

// Secrets returns the passwords and keys of an environment, and makes them the first time.
func (s *Service) Secrets(p *core.Pipeline, name string) ([]string, error) {
	e, err := s.get(p, "", name)
	if err != nil {
		return nil, err
	}
	secrets, err := e.secrets()
	return secrets.values(), err
}

// Capabilities serves one job. Its environment is opened when a call needs it.
func (s *Service) Capabilities(p *core.Pipeline, job core.Job) core.Capabilities {
	typ, _, _ := strings.Cut(string(job.Info.Stage), ".")
	return &capabilities{job: job, typ: typ, artifacts: s.Artifacts, plugins: s.Plugins, env: func() (*Environment, error) {
		return s.get(p, job.Info.Run, job.Info.Environment)
	}}
}

// get returns the environment of a job, opened when it is not.
func (s *Service) get(p *core.Pipeline, run core.RunID, name string) (*Environment, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if e := s.open[name]; e != nil {
		return e, nil
	}
	return s.add(p, run, name, s.Options)
}

// add opens an environment, which is the one to use from then on. The caller holds mu.
func (s *Service) add(p *core.Pipeline, run core.RunID, name string, o Options) (*Environment, error) {
	if name == "" {
		return nil, errNone
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

// How long people are told how a run ended, and how much of that is spent on the relay.
const (
	announceWait = 30 * time.Second
	relayWait    = 5 * time.Second
)

// Announce tells people how a run ended: through the relay of its environment when that can be reached, so that pauses
// between messages hold across runs, else from here. The error says that somebody could not be told.
func (s *Service) Announce(ctx context.Context, p *core.Pipeline, run core.Run) error {
	ctx, cancel := context.WithTimeout(ctx, announceWait)
	defer cancel()
	e := core.Complete(core.Event{
		Environment: run.Environment, Run: run.ID, Source: "run", Kind: "run." + string(run.Status),
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
	r := notify.Router{Notifiers: p.Notifiers, Send: send, Retries: []time.Duration{time.Second}}
	return r.Handle(ctx, e)
}

// publish hands an event to the environment that it is about.
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

// Close ends all connections and frees the locks of the environments.
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
