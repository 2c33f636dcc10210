package environment

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/seed-b96de936/troop/core"
	"github.com/seed-b96de936/troop/core/remote/remotetest"
)

// project is a pipeline with the environment lab, in a new folder.
type project struct {
	*testing.T
	dir      string
	pipeline *core.Pipeline
	locks    *locks
	log      []string
}

func newProject(t *testing.T) *project {
	t.Helper()
	dir := t.TempDir()
	return &project{T: t, dir: dir, locks: &locks{held: map[string]core.Holder{}, fences: map[string]int64{}}, pipeline: &core.Pipeline{
		Name: "shop", File: filepath.Join(dir, "shop.hcl"), Dir: dir, Environments: []core.Environment{{Name: "lab"}},
	}}
}

// lab returns the environment's configuration, to change before opening it.
func (p *project) lab() *core.Environment { return &p.pipeline.Environments[0] }

func (p *project) options() Options {
	return Options{
		Pipeline: p.pipeline, Dir: filepath.Join(p.dir, ".troop"), What: "troop test", By: "ann", Argument: "shop.hcl",
		Locks: p.locks, Programs: filepath.Join(p.dir, "bin"), Log: func(line string) { p.log = append(p.log, line) },
	}
}

func (p *project) open(o Options) *Environment {
	p.Helper()
	e, err := Open(o)
	if err != nil {
		p.Fatal(err)
	}
	p.Cleanup(func() {
		if err := e.Close(); err != nil {
			p.Error(err)
		}
	})
	return e
}

func (p *project) write(name, text string) string {
	p.Helper()
	file := filepath.Join(p.dir, name)
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		p.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(text), 0o755); err != nil {
		p.Fatal(err)
	}
	return file
}

// hosts records hosts like an apply.
func (p *project) hosts(hosts ...core.Host) {
	p.Helper()
	data, err := json.Marshal(hosts)
	if err != nil {
		p.Fatal(err)
	}
	p.write(".troop/lab/hosts.json", string(data))
}

// serve starts a host on this machine and returns the folder that is its /etc.
func (p *project) serve(e *Environment, name core.HostName, role string) (server *remotetest.Server, h core.Host, etc string) {
	p.Helper()
	client, err := e.SSH()
	if err != nil {
		p.Fatal(err)
	}
	server, etc = remotetest.Listen(p.T, "127.0.0.1:0", client.PublicKey()), p.TempDir()
	server.Command = func(command string) string { return strings.ReplaceAll(command, "/etc/", etc+"/") }
	h = server.Host(name)
	h.Role, h.PrivateAddress, h.HostKey = role, "10.0.0.1", server.HostKey
	return server, h, etc
}

// exists lists the files in the environment's folder.
func (p *project) exists() []string {
	entries, err := os.ReadDir(filepath.Join(p.dir, ".troop/lab"))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		p.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

// locks are locks in memory.
type locks struct {
	mu     sync.Mutex
	held   map[string]core.Holder
	fences map[string]int64
}

func (l *locks) Fence(_ context.Context, env string) (int64, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.fences[env], nil
}

func (l *locks) Lock(ctx context.Context, env string, h core.Holder, wait func(core.Holder)) (core.Lease, error) {
	for waited := false; ; waited = true {
		l.mu.Lock()
		other, taken := l.held[env]
		if !taken {
			l.held[env] = h
			l.fences[env]++
			fence := l.fences[env]
			l.mu.Unlock()
			return core.Lease{Fence: fence, Release: func() error {
				l.mu.Lock()
				defer l.mu.Unlock()
				delete(l.held, env)
				return nil
			}}, nil
		}
		l.mu.Unlock()
		if wait == nil {
			return core.Lease{}, &core.LockedError{Environment: env, Holder: other}
		}
		if !waited {
			wait(other)
		}
		select {
		case <-ctx.Done():
			return core.Lease{}, context.Cause(ctx)
		case <-time.After(time.Millisecond):
		}
	}
}

func TestOpen(t *testing.T) {
	t.Parallel()
	p := newProject(t)
	o := p.options()
	if e := p.open(o); e.Name() != "lab" || e.Arguments() != " shop.hcl --env lab" {
		t.Errorf("the only one: %s, %q", e.Name(), e.Arguments())
	}
	p.pipeline.Environments = append(p.pipeline.Environments, core.Environment{Name: "production"})
	if _, err := Open(o); err == nil || !strings.Contains(err.Error(), "choose one with --env: lab, production") {
		t.Errorf("one of two: %v", err)
	}
	o.Name = "lba"
	if _, err := Open(o); !errors.As(err, new(*core.NotFoundError)) || !strings.Contains(err.Error(), "did you mean lab?") {
		t.Errorf("a name that is not there: %v", err)
	}
	o.Name = "production"
	if e := p.open(o); e.Name() != "production" {
		t.Errorf("by name: %s", e.Name())
	}
	if _, err := os.Stat(filepath.Join(p.dir, ".troop")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("opening an environment has made something: %v", err)
	}
}

func TestHosts(t *testing.T) {
	t.Parallel()
	p := newProject(t)
	e := p.open(p.options())
	_, err := e.Hosts()
	if !errors.As(err, new(*core.NotFoundError)) || !strings.Contains(err.Error(), "make them: troop apply shop.hcl --env lab") {
		t.Errorf("before an apply: %v", err)
	}
	if _, err := e.Host("web-1"); !errors.As(err, new(*core.NotFoundError)) {
		t.Errorf("a host before an apply: %v", err)
	}
	p.hosts(core.Host{Name: "web-1", Role: "production"}, core.Host{Name: "router-1", Role: "router"})
	if h, err := e.Host("router-1"); err != nil || h.Role != "router" {
		t.Errorf("%+v, %v", h, err)
	}
	if _, err := e.Host("web-2"); err == nil || !strings.Contains(err.Error(), "there are web-1, router-1") {
		t.Errorf("a host that is not there: %v", err)
	}
	if got := p.exists(); !slices.Equal(got, []string{"hosts.json"}) {
		t.Errorf("looking has made %v", got)
	}
	p.write(".troop/lab/hosts.json", "[{")
	if _, err := e.Hosts(); err == nil || !strings.Contains(err.Error(), "hosts.json") {
		t.Errorf("a damaged list: %v", err)
	}
}

func TestSecrets(t *testing.T) {
	t.Parallel()
	p := newProject(t)
	var wg sync.WaitGroup
	all := make([]secrets, 8)
	for i := range all {
		e := p.open(p.options())
		wg.Go(func() {
			var err error
			if all[i], err = e.secrets(); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	for _, s := range all {
		if s != all[0] || len(s.RedisPassword) < 20 || len(s.Seed) < 50 {
			t.Errorf("got %+v, want %+v", s, all[0])
		}
	}
	info, err := os.Stat(filepath.Join(p.dir, ".troop/lab/secrets.json"))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
	if got := p.exists(); !slices.Equal(got, []string{"secrets.json"}) {
		t.Errorf("what is left: %v", got)
	}
}

// What is derived is the same each time, another one for each host and each environment, and what OpenSSH reads.
func TestDerivedSecrets(t *testing.T) {
	t.Parallel()
	one, two := secrets{generation: generation{Seed: "a"}}, secrets{generation: generation{Seed: "b"}}
	seen := map[string]bool{}
	for _, s := range []secrets{one, two} {
		for _, h := range []core.HostName{"web-1", "web-2"} {
			private, public := s.storageKey(h)
			if again, samePublic := s.storageKey(h); again != private || samePublic != public {
				t.Error("not the same again")
			}
			for _, v := range []string{private, public, s.hostPassword(h)} {
				if seen[v] || len(v) < 50 {
					t.Errorf("%s is not a secret of its own", v)
				}
				seen[v] = true
			}
		}
	}
	if one.trust().Equal(two.trust()) {
		t.Error("two environments obey one key")
	}
	if got := one.values([]core.Host{{Name: "web-1"}}, nil); !slices.Contains(got, one.hostPassword("web-1")) || !slices.Contains(got, "a") {
		t.Errorf("masked: %v", got)
	}
}

// While secrets are rotated, hosts admit what agents have before and after each step, and agents trust what Redis shows; what
// lasts stays the same. In the end, agents have all that is new and nothing else.
func TestRotationOfSecrets(t *testing.T) {
	t.Parallel()
	const host = core.HostName("web-1")
	has := func(s secrets) []string { // an agent that a run installs
		key, _ := s.storageKey(host)
		return []string{s.hostPassword(host), key, s.trusted()}
	}
	first, next := secrets{generation: newGeneration()}, newGeneration()
	agent := has(first)
	admitted := func(s secrets) bool {
		return slices.ContainsFunc(s.admitted(), func(g generation) bool {
			key, _ := g.storageKey(host)
			return g.hostPassword(host) == agent[0] && key == agent[1]
		})
	}
	s, steps := first, 0
	s.Next = &next
	for more := true; more; s, more = s.after() {
		steps++
		if shown, _ := s.shown().redisCertificate(); !admitted(s) || !strings.Contains(agent[2], shown) {
			t.Errorf("step %d: the agent of the step before is refused, or does not trust Redis", steps)
		}
		for range 2 { // also after an interruption
			for _, r := range s.renewals(host) {
				for i := range agent {
					if agent[i] == r.From {
						agent[i] = r.To
					}
				}
			}
		}
		if shown, _ := s.shown().redisCertificate(); !admitted(s) || !strings.Contains(agent[2], shown) {
			t.Errorf("step %d: the renewed agent is refused, or does not trust Redis", steps)
		}
		if s.appPassword() != first.appPassword() || !s.trust().Equal(first.trust()) {
			t.Errorf("step %d: what lasts is another", steps)
		}
	}
	if steps != 4 || !slices.Equal(s.admitted(), []generation{next}) || !slices.Equal(agent, has(s)) {
		t.Errorf("%d steps; at the end %+v, and the agent has %q", steps, s, agent)
	}
}

// The secrets of an earlier version were on every host.
func TestOldSecretsAreReplaced(t *testing.T) {
	t.Parallel()
	p := newProject(t)
	p.write(".troop/lab/secrets.json", `{"redis_password": "known to all", "storage_private_key": "too"}`)
	e := p.open(p.options())
	s, err := e.secrets()
	if err != nil || s.RedisPassword == "known to all" || s.Seed == "" {
		t.Fatalf("%+v, %v", s, err)
	}
	if again, err := e.secrets(); err != nil || again != s {
		t.Errorf("%+v, %v", again, err)
	}
}

// Each holder has a higher number than the one before; who holds nothing has the last holder's.
func TestFence(t *testing.T) {
	t.Parallel()
	p := newProject(t)
	first, second, other := p.open(p.options()), p.open(p.options()), p.open(p.options())
	fence := func(e *Environment, want int64) {
		t.Helper()
		if got, err := e.Fence(); err != nil || got != want {
			t.Errorf("fence %d, %v; want %d", got, err, want)
		}
	}
	fence(other, 0)
	release, err := first.Lock(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	fence(first, 1)
	fence(other, 1)
	if err := release(); err != nil {
		t.Fatal(err)
	}
	release, err = second.TryLock(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = release() }()
	fence(second, 2)
	fence(first, 2)
}

func TestLock(t *testing.T) {
	t.Parallel()
	p := newProject(t)
	o := p.options()
	o.Run = "01R"
	first, second := p.open(o), p.open(p.options())
	release, err := first.Lock(t.Context())
	if err != nil || p.locks.held["lab"].What != "troop test" || p.locks.held["lab"].Run != "01R" {
		t.Fatalf("%+v, %v", p.locks.held, err)
	}
	if _, err := second.TryLock(t.Context()); !errors.As(err, new(*core.LockedError)) {
		t.Errorf("a second one: %v", err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	second.o.Log = func(line string) { cancel(errors.New(line)) }
	if _, err := second.Lock(ctx); err == nil || !strings.Contains(err.Error(), "environment lab: waiting for") {
		t.Errorf("waiting: %v", err)
	}
	if err := release(); err != nil {
		t.Fatal(err)
	}
	release, err = second.TryLock(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := release(); err != nil {
		t.Fatal(err)
	}
}
