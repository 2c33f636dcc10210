package environment

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/seed-b96de936/troop/core"
	"github.com/seed-b96de936/troop/core/agent"
	"github.com/seed-b96de936/troop/core/bus"
	"github.com/seed-b96de936/troop/core/bus/redistest"
	"github.com/seed-b96de936/troop/core/flags"
	"github.com/seed-b96de936/troop/core/notify"
	"github.com/seed-b96de936/troop/plugins/sdk/sdktest"
)

// fakes are the dependencies of a service.
type fakes struct{ described core.Description }

func (f fakes) PutArtifact(_ context.Context, path string) (core.Artifact, error) {
	return core.Artifact{Path: path}, nil
}

func (f fakes) Artifact(_ context.Context, d core.Digest) (core.Artifact, error) {
	return core.Artifact{Digest: d}, nil
}

func (f fakes) Path(typ string) (string, error) { return "/plugins/troop-plugin-" + typ, nil }

func (f fakes) Describe(context.Context, string) (core.Description, core.Digest, error) {
	return f.described, "sha256:1", nil
}

func (p *project) service() *Service {
	p.Helper()
	s := &Service{Options: p.options(), Artifacts: fakes{}, Plugins: fakes{}}
	p.Cleanup(func() {
		if err := s.Close(); err != nil {
			p.Error(err)
		}
	})
	return s
}

// routed adds a router with a Redis to the environment, and returns a direct connection to that Redis.
func (p *project) routed() *bus.Bus {
	p.Helper()
	redis := redistest.StartWithRules(p.T, []string{"router-1"}, []string{"storage-1"})
	redis.Secure(generation{Seed: "seed"}.derive("certificate of redis"))
	p.write(".troop/lab/secrets.json", `{"redis_password": "`+redistest.PasswordOf("operator")+`", "seed": "seed"}`)
	server, h, _ := p.serve(p.open(p.options()), "router-1", "router")
	server.Forward = func(addr string) string {
		if addr != "10.0.0.1:6379" {
			p.Errorf("connecting to %s", addr)
		}
		return redis.Addr
	}
	p.hosts(h, core.Host{Name: "storage-1", Role: "storage", Address: "127.0.0.1", Port: 1, PrivateAddress: "10.0.0.2"})
	b := bus.Open(bus.Options{
		Address: redis.Addr, Certificates: redis.Certificates, User: bus.Operator, Password: redistest.PasswordOf("operator"), Environment: "lab", Trust: secrets{generation: generation{Seed: "seed"}}.trust(),
	})
	p.Cleanup(func() { _ = b.Close() })
	return b
}

func job(env string) core.Job {
	scope := core.Scope{Secrets: map[string]string{"token": sdktest.Token}}
	return core.Job{Config: core.Config{Name: "app", Scope: scope}, Info: core.RunInfo{Stage: "deploy.app", Run: "01R", Environment: env}}
}

// TestCapabilities calls all capabilities that use the connection to the router.
func TestCapabilities(t *testing.T) {
	t.Parallel()
	p := newProject(t)
	b := p.routed()
	ctx := t.Context()
	c := p.service().Capabilities(p.pipeline, job("lab"))

	hosts, err := c.Hosts(ctx)
	if err != nil || len(hosts) != 2 || hosts[0].Name != "router-1" {
		t.Errorf("Hosts = %+v, %v", hosts, err)
	}
	if a, err := c.PutArtifact(ctx, "x"); err != nil || a.Path != "x" {
		t.Errorf("PutArtifact = %+v, %v", a, err)
	}
	if a, err := c.Artifact(ctx, "sha256:2"); err != nil || a.Digest != "sha256:2" {
		t.Errorf("Artifact = %+v, %v", a, err)
	}
	if v, err := c.Flag(ctx, "new"); err != nil || v != nil {
		t.Errorf("a flag that is not set: %v, %v", v, err)
	}
	if err := c.SetFlag(ctx, "new", true); err != nil {
		t.Error(err)
	}
	if v, err := c.Flag(ctx, "new"); err != nil || v != true {
		t.Errorf("Flag = %v, %v", v, err)
	}
	if f, _, err := flags.Open(b).Get(ctx, "new"); err != nil || f.By != "deploy.app in run 01R" {
		t.Errorf("the audit trail names %q, %v", f.By, err)
	}
	if _, err := c.SetState(ctx, "weights", []byte("2:1")); err != nil {
		t.Error(err)
	}
	if x, err := b.State("deploy").Get(ctx, "weights"); err != nil || string(x.Value) != "2:1" {
		t.Errorf("state: %+v, %v", x, err)
	}
	if x, err := c.State(ctx, "weights"); err != nil || string(x.Value) != "2:1" {
		t.Errorf("State = %+v, %v", x, err)
	}
	done := errors.New("seen")
	if err := c.WatchState(ctx, "weights", func(core.Entry) error { return done }); !errors.Is(err, done) {
		t.Errorf("WatchState: %v", err)
	}
	begin := time.Now().Add(-time.Minute)
	if err := c.Publish(ctx, core.Event{Kind: "release.promoted", Environment: "other", Run: "forged"}); err != nil {
		t.Error(err)
	}
	var seen core.Event
	err = c.Subscribe(ctx, core.EventFilter{Since: begin}, func(e core.Event) error { seen = e; return done })
	if !errors.Is(err, done) || seen.Environment != "lab" || seen.Run != "01R" || seen.Source != "deploy.app" || seen.ID == "" || seen.Severity != core.Info {
		t.Errorf("%+v, %v", seen, err)
	}
	if err := c.Notify(ctx, core.Event{Kind: "x", Severity: core.Alert}); err != nil {
		t.Error(err)
	}
	if all, err := b.Events(ctx, core.EventFilter{}, 0); err != nil || len(all) != 2 {
		t.Errorf("events: %+v, %v", all, err)
	}
	sdktest.Secrets(t.Context(), t, c)
	if key, err := c.StorageKey(ctx); err == nil || key.PrivateKey != "" {
		t.Errorf("the manifest does not grant the key of the storage host: %v, %v", key, err)
	}
	p.pipeline.Stages = []core.Stage{{Type: "deploy", Name: "app", Grants: []core.Capability{core.Storage}}}
	if key, err := c.StorageKey(ctx); err == nil || key.PrivateKey != "" || !strings.Contains(err.Error(), "only an agent on a host") {
		t.Errorf("StorageKey = %v, %v", key, err)
	}
	if err := c.InstallAgent(ctx, nil, nil); err == nil || !strings.Contains(err.Error(), "has no agent") {
		t.Errorf("InstallAgent: %v", err)
	}
}

func TestCapabilitiesWithoutHosts(t *testing.T) {
	t.Parallel()
	p := newProject(t)
	ctx := t.Context()
	for name, tt := range map[string]struct {
		env, want string
		hosts     []core.Host
	}{
		"no environment": {"", "this run has no environment: use --env, or a trigger in the manifest; the pipeline has ", nil},
		"no hosts":       {"lab", "make them: troop apply shop.hcl --env lab", nil},
		"no router":      {"lab", "environment lab has no host with the role router", []core.Host{{Name: "web-1"}}},
	} {
		if tt.hosts != nil {
			p.hosts(tt.hosts...)
		}
		if name == "no hosts" {
			_ = os.Remove(filepath.Join(p.dir, ".troop/lab/hosts.json"))
		}
		c := p.service().Capabilities(p.pipeline, job(tt.env))
		for what, call := range map[string]func() error{
			"flag":    func() error { _, err := c.Flag(ctx, "a"); return err },
			"set":     func() error { return c.SetFlag(ctx, "a", 1) },
			"state":   func() error { _, err := c.State(ctx, "a"); return err },
			"publish": func() error { return c.Publish(ctx, core.Event{}) },
		} {
			if err := call(); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%s, %s: %v", name, what, err)
			}
		}
	}
	if _, err := p.service().Secrets(p.pipeline, ""); !errors.Is(err, errNone) {
		t.Errorf("secrets of no environment: %v", err)
	}
}

// TestAgentRun checks what is installed with an agent, and what causes a reinstall.
func TestAgentRun(t *testing.T) {
	t.Parallel()
	p := newProject(t)
	p.routed()
	e := p.open(p.options())
	s, err := e.open()
	if err != nil {
		t.Fatal(err)
	}
	s.hosts[1].Vars = map[string]any{"ansible_password": "x"}
	c := agent.Config{Type: "doctor", Name: "hosts"}
	if _, err := e.agentRun(s, c, "", false, core.Agent{}, nil); err == nil || !strings.Contains(err.Error(), "read program of agent") {
		t.Errorf("without the program: %v", err)
	}
	p.write("bin/troop-agent", "one")
	p.write("bin/troop-relay", "three")
	binary := p.write("plugins/troop-plugin-doctor", "two")
	run, err := e.agentRun(s, c, binary, true, core.Agent{User: "doctor", LinuxCapabilities: []string{"CAP_KILL"}}, []core.HostName{"router-1"})
	if err != nil {
		t.Fatal(err)
	}
	if want := []core.Digest{core.DigestOf([]byte("one")), core.DigestOf([]byte("two"))}; !slices.Equal(run.Inputs, want) {
		t.Errorf("inputs: %v", run.Inputs)
	}
	if run.Name != "agent-doctor-hosts" || run.Playbook != "agent.yml" || run.Vars["agent_user"] != "doctor" ||
		!strings.HasSuffix(run.Healthy, "-- troop-agent@doctor-hosts.service.sha256 troop.slice.sha256 troop-agent.sha256 troop-plugin-doctor.sha256") {
		t.Errorf("%+v", run)
	}
	got := run.Vars["agent_config"].(agent.Config)
	certificate, _ := s.secrets.redisCertificate()
	if got.Plugin != "/usr/local/lib/troop/plugins/troop-plugin-doctor" || got.Environment != "lab" || got.Pipeline != "shop" ||
		got.Redis != (agent.Redis{Address: "10.0.0.1:6379", Certificates: certificate}) || len(got.Hosts) != 2 || !bytes.Equal(got.Trust, s.secrets.trust()) {
		t.Errorf("%+v", got)
	}
	// A host gets what is its own, and nothing of another host's.
	own := run.Vars["agent_own"].(map[core.HostName]agent.Own)
	key, _ := s.secrets.storageKey("router-1")
	if len(own) != 1 || own["router-1"].Redis.Password != s.secrets.hostPassword("router-1") || own["router-1"].Storage.PrivateKey != key {
		t.Errorf("own: %+v", own)
	}
	e.conf.BucketKeys = map[core.HostName]core.BucketKey{"router-1": {ID: "AK1", Secret: "one"}}
	if run, err = e.agentRun(s, c, binary, true, core.Agent{}, []core.HostName{"router-1"}); err != nil {
		t.Fatal(err)
	}
	own = run.Vars["agent_own"].(map[core.HostName]agent.Own)
	if len(own) != 1 || own["router-1"].Storage.AccessKeyID != "AK1" || own["router-1"].Storage.SecretAccessKey != "one" {
		t.Errorf("own with a bucket: %+v", own)
	}
	if run, err = e.agentRun(s, c, binary, false, core.Agent{}, nil); err != nil || run.Vars["agent_own"].(map[core.HostName]agent.Own)["router-1"].Storage != nil {
		t.Errorf("a key that was not granted: %v", err)
	}
	if _, err := e.agentRun(s, c, binary, true, core.Agent{}, nil); err == nil || !strings.Contains(err.Error(), "has no storage_key, as others of environment lab have") {
		t.Errorf("a host without a key for the bucket: %v", err)
	}
	if got.Hosts[1].Vars != nil || s.hosts[1].Vars == nil {
		t.Error("the variables of a host are in the configuration of an agent, or are gone")
	}
	p.pipeline.Notifiers = []core.Notifier{{Name: "ops"}}
	relay, err := e.relay(s, s.hosts[0])
	if err != nil || relay.Name != "agent-troop-relay" || !slices.Equal(relay.Hosts, []core.HostName{"router-1"}) ||
		len(relay.Vars["agent_config"].(agent.Config).Notifiers) != 1 || relay.Vars["agent_plugin"] != "" ||
		!slices.Equal(relay.Inputs, []core.Digest{core.DigestOf([]byte("three"))}) || !strings.HasSuffix(relay.Healthy, " troop-relay.sha256") {
		t.Errorf("relay: %+v, %v", relay, err)
	}
	if _, ok, err := e.flagServer(s); ok || err != nil {
		t.Errorf("flags are served where there is no application: %v", err)
	}
	s.hosts = append(s.hosts, core.Host{Name: "web-1", Role: "production"}, core.Host{Name: "web-2", Role: "canary"})
	server, ok, err := e.flagServer(s)
	if err != nil || !ok || server.Name != "agent-troop-flags" || !slices.Equal(server.Hosts, []core.HostName{"web-1", "web-2"}) ||
		server.Vars["agent_config"].(agent.Config).Name != "flags" || server.Vars["agent_plugin"] != "" {
		t.Errorf("flag server: %+v, %v, %v", server, ok, err)
	}
}

func TestAnnounce(t *testing.T) {
	t.Parallel()
	p := newProject(t)
	b := p.routed()
	p.pipeline.Notifiers = []core.Notifier{{Type: "webhook", Name: "ops", On: []string{"run.failed"}}}
	var sent []notify.Message
	s := p.service()
	s.Send = func(_ context.Context, _ core.Notifier, m notify.Message) error {
		sent = append(sent, m)
		return nil
	}
	run := core.Run{ID: "01R", Pipeline: "shop", Status: core.Failed, Reason: "test.unit: no", Environment: "lab", Commit: "abc"}
	if err := s.Announce(t.Context(), p.pipeline, run); err != nil {
		t.Fatal(err)
	}
	events, err := b.Events(t.Context(), core.EventFilter{}, 0)
	if err != nil || len(events) != 1 || len(sent) > 0 {
		t.Fatalf("events %+v, sent %+v, %v", events, sent, err)
	}
	if e := events[0]; e.Kind != "run.failed" || e.Severity != core.Warning || e.Run != "01R" || e.Environment != "lab" || !strings.HasPrefix(e.Summary, "shop failed: test.unit: no") {
		t.Errorf("%+v", e)
	}

	// A run without an environment is not announced in the pipeline's only environment.
	run.Environment = ""
	if err := s.Announce(t.Context(), p.pipeline, run); err != nil || len(sent) != 1 {
		t.Errorf("a run without an environment: sent %+v, %v", sent, err)
	}
	if events, err := b.Events(t.Context(), core.EventFilter{}, 0); err != nil || len(events) != 1 {
		t.Errorf("a run without an environment: events %+v, %v", events, err)
	}

	broken := errors.New("no such host")
	s.Send = func(context.Context, core.Notifier, notify.Message) error { return broken }
	if err := s.Announce(t.Context(), p.pipeline, run); !errors.Is(err, broken) {
		t.Errorf("a message that is lost: %v", err)
	}
	run.Status = core.Passed
	if err := s.Announce(t.Context(), p.pipeline, run); err != nil {
		t.Errorf("nobody wants to know: %v", err)
	}
}

// TestPrepare prepares an environment like a run: drift, plan, apply, configuration.
func TestPrepare(t *testing.T) {
	t.Parallel()
	p := newProject(t)
	_, h, etc := p.serve(p.open(p.options()), "web-1", "production")
	conf := p.terraform(map[string]any{"web-1": h.Port})
	conf.Variables["key"] = h.HostKey
	conf.Review.Drift = core.StopAtDrift
	p.write("site.yml", "- hosts: all\n  gather_facts: false\n  vars: { ansible_connection: local }\n  tasks:\n    - name: say hello\n      ansible.builtin.debug: { msg: hello }\n")
	p.lab().Ansible = &core.AnsibleConfig{Playbook: filepath.Join(p.dir, "site.yml")}

	prepare := func(s *Service) (events []string, err error) {
		t.Helper()
		err = s.Prepare(t.Context(), p.pipeline, "01R", "lab", func(e core.Event) {
			if e.Source != "environment.lab" && e.Source != "" || e.Kind == core.KindProgress {
				return
			}
			events = append(events, strings.TrimSpace(e.Kind+" "+e.Summary))
		})
		return events, err
	}
	has := func(events []string, prefix string) bool {
		return slices.ContainsFunc(events, func(e string) bool { return strings.HasPrefix(e, prefix) })
	}
	s := p.service()
	if _, err := s.Secrets(p.pipeline, "lab"); err != nil {
		t.Fatal(err)
	}
	events, err := prepare(s)
	if err != nil {
		t.Fatalf("%v\n%s", err, strings.Join(events, "\n"))
	}
	for _, want := range []string{
		"log drift: not checked, there are no hosts yet", "plan 1 to create (plan ", `task create terraform_data.host["web-1"]`,
		"task say hello", "log " + filepath.Join(p.dir, "site.yml") + ": 1 hosts, 0 changed, in ",
	} {
		if !has(events, want) {
			t.Errorf("no %q in\n%s", want, strings.Join(events, "\n"))
		}
	}
	if _, err := os.Stat(filepath.Join(etc, "troop/fingerprints/site")); err != nil {
		t.Error(err)
	}
	if held := p.locks.held["lab"]; held.Run != "01R" {
		t.Errorf("held by %+v", held)
	}
	hosts, err := s.Capabilities(p.pipeline, job("lab")).Hosts(t.Context())
	if err != nil || len(hosts) != 1 {
		t.Errorf("%+v, %v", hosts, err)
	}
	if err := s.Close(); err != nil || len(p.locks.held) > 0 {
		t.Errorf("after Close: %v, held %v", err, p.locks.held)
	}

	events, err = prepare(p.service())
	if err != nil || !has(events, "log environment lab: no drift on 1 hosts") || !has(events, "plan nothing to change") ||
		!has(events, "log "+filepath.Join(p.dir, "site.yml")+": skipped, ") {
		t.Errorf("the second time: %v\n%s", err, strings.Join(events, "\n"))
	}
	p.locks.held = map[string]core.Holder{}

	// A change of a file that a stage installed is drift.
	p.write("noted", "{}")
	if err := os.MkdirAll(filepath.Join(etc, "troop/installed"), 0o755); err != nil {
		t.Fatal(err)
	}
	note := core.DigestOf([]byte("something else")).Hex() + "  " + filepath.Join(p.dir, "noted") + "\n"
	if err := os.WriteFile(filepath.Join(etc, "troop/installed/one.sha256"), []byte(note), 0o600); err != nil {
		t.Fatal(err)
	}
	events, err = prepare(p.service())
	if err == nil || !strings.Contains(err.Error(), "web-1 is drifted; see troop drift shop.hcl --env lab; to revert it: troop run shop.hcl --env lab --force") ||
		!has(events, "log drift: "+filepath.Join(p.dir, "noted")+" is not what was installed") {
		t.Errorf("with drift: %v\n%s", err, strings.Join(events, "\n"))
	}
	p.locks.held = map[string]core.Holder{}
	forced := p.service()
	forced.Force = true
	if events, err = prepare(forced); err != nil || !has(events, "task say hello") {
		t.Errorf("forced: %v\n%s", err, strings.Join(events, "\n"))
	}
}

func TestPrepareWaitsForApproval(t *testing.T) {
	t.Parallel()
	p := newProject(t)
	p.terraform(map[string]any{"web-1": 2201}).Review.Approve = true
	err := p.service().Prepare(t.Context(), p.pipeline, "01R", "lab", func(core.Event) {})
	if err == nil || !strings.Contains(err.Error(), "waits for approval; read it: troop plan --saved shop.hcl --env lab") {
		t.Errorf("got %v", err)
	}
	if slices.Contains(p.exists(), "hosts.json") {
		t.Error("hosts were made")
	}
	err = p.service().Prepare(t.Context(), p.pipeline, "01R", "labb", func(core.Event) {})
	if !errors.As(err, new(*core.NotFoundError)) {
		t.Errorf("an environment that is not there: %v", err)
	}
}

// TestHold has an action keep an environment alone, unless another command works there.
func TestHold(t *testing.T) {
	t.Parallel()
	p := newProject(t)
	s := p.service()
	release, err := p.open(p.options()).Lock(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Hold(t.Context(), p.pipeline, "lab"); !errors.As(err, new(*core.LockedError)) {
		t.Errorf("while another command works there: %v", err)
	}
	if err := release(); err != nil {
		t.Fatal(err)
	}
	if err := s.Hold(t.Context(), p.pipeline, "lab"); err != nil {
		t.Fatal(err)
	}
	if len(p.locks.held) != 1 {
		t.Errorf("held: %v", p.locks.held)
	}
	if err := s.Close(); err != nil || len(p.locks.held) != 0 {
		t.Errorf("held after its end: %v, %v", p.locks.held, err)
	}
}
