package agent_test

import (
	"context"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/seed-b96de936/troop/core"
	"github.com/seed-b96de936/troop/core/agent"
	"github.com/seed-b96de936/troop/core/bus"
	"github.com/seed-b96de936/troop/core/bus/redistest"
	"github.com/seed-b96de936/troop/core/flags"
	"github.com/seed-b96de936/troop/core/flags/ofrep"
	"github.com/seed-b96de936/troop/core/notify"
	"github.com/seed-b96de936/troop/core/relay"
	"github.com/seed-b96de936/troop/plugins/sdk"
	"github.com/seed-b96de936/troop/plugins/sdk/sdktest"
)

// plugin is an agent that works once it was started a second time.
type plugin struct {
	core.Plugin
	watch func(ctx context.Context, j core.Job) error
}

func (p plugin) Watch(ctx context.Context, j core.Job, emit func(core.Message)) error {
	emit(core.Message{Log: &core.Log{Line: "watching"}})
	return p.watch(ctx, j)
}
func (plugin) Description() core.Description { return core.Description{Name: "doctor"} }
func (plugin) Close() error                  { return nil }

// start runs an agent until the test ends and waits for it then.
func start(t *testing.T, a *agent.Agent) {
	t.Helper()
	a.StateDir = t.TempDir()
	a.Log = slog.New(slog.NewTextHandler(t.Output(), nil))
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- a.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("agent ended with %v", err)
		}
	})
}

func setup(t *testing.T) (agent.Config, *bus.Bus) {
	t.Helper()
	r := redistest.StartWithRules(t, []string{"router-1"}, []string{"web-1"})
	hosts := []core.Host{{Name: "router-1", Role: "router"}, {Name: "web-1", Role: "production"}}
	b := bus.Open(bus.Options{
		Address: r.Addr, Certificates: r.Certificates, User: bus.Operator, Password: redistest.PasswordOf("operator"), Environment: "lab", Hosts: hosts,
		Sign: &redistest.Signer, Trust: redistest.Trust,
	})
	t.Cleanup(func() { _ = b.Close() })
	return agent.Config{
		Type: "doctor", Name: "hosts", Plugin: "/plugin", Environment: "lab", Host: "web-1", Role: "production", Hosts: hosts, Trust: redistest.Trust,
		Redis: agent.Redis{Address: r.Addr, Certificates: r.Certificates, Password: redistest.PasswordOf("web-1")}, Scope: core.Scope{Secrets: map[string]string{"token": sdktest.Token}},
	}, b
}

// onRouter is the same for an agent on the router.
func onRouter(t *testing.T) (agent.Config, *bus.Bus) {
	t.Helper()
	c, b := setup(t)
	c.Host, c.Role, c.Redis.Password = "router-1", "router", redistest.PasswordOf("router-1")
	return c, b
}

func TestAgentServesItsPluginAndStartsItAgain(t *testing.T) {
	c, b := setup(t)
	starts := 0
	watch := func(ctx context.Context, j core.Job) error {
		if starts++; starts == 1 {
			return errors.New("broken pipe")
		}
		caps := j.Capabilities
		sdktest.Secrets(ctx, t, caps)
		if _, err := caps.StorageKey(ctx); err == nil || !strings.Contains(err.Error(), `grants = ["storage"]`) {
			t.Errorf("the key of the storage host: %v", err)
		}
		if err := caps.Playbook(ctx, core.PlaybookRun{}, nil); err == nil {
			t.Error("a playbook ran from a host")
		}
		if _, err := caps.SetState(ctx, core.HostKey("web-1", "k"), []byte("v")); err != nil {
			t.Error(err)
		}
		if _, err := caps.SetState(ctx, "k", []byte("v")); !errors.Is(err, sdk.ErrRefused) {
			t.Errorf("an entry of the stages: %v", err)
		}
		if err := caps.SetFlag(ctx, "new-feature", true); !errors.Is(err, sdk.ErrRefused) {
			t.Errorf("a flag: %v", err)
		}
		if err := caps.Publish(ctx, core.Event{Kind: "host.cpu", Severity: core.Alert, Host: "forged", Summary: "busy with " + sdktest.Token}); err != nil {
			t.Error(err)
		}
		<-ctx.Done()
		return nil
	}
	start(t, &agent.Agent{Config: c, Open: func(context.Context, string, core.Digest) (core.Plugin, error) {
		return plugin{watch: watch}, nil
	}})
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	var failed, alert bool
	_ = b.Follow(ctx, core.EventFilter{Since: time.Now().Add(-time.Minute)}, func(e core.Event) error {
		failed = failed || e.Kind == "agent.failed" && strings.Contains(e.Summary, "broken pipe")
		alert = e.Kind == "host.cpu"
		if alert && (e.Host != "web-1" || e.Role != "production" || e.Environment != "lab" || e.Source != "doctor.hosts" || e.Summary != "busy with ***") {
			t.Errorf("event says it is from %+v", e)
		}
		if alert {
			return errors.New("seen")
		}
		return nil
	})
	if !failed || !alert {
		t.Errorf("failure reported: %v; event after the restart: %v", failed, alert)
	}
}

func TestRelayTellsPeople(t *testing.T) {
	c, b := onRouter(t)
	told := make(chan string, 10)
	hook := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		told <- string(body)
	}))
	t.Cleanup(hook.Close)
	c.Plugin = ""
	c.Notifiers = []core.Notifier{{Type: "webhook", Name: "ops", URL: hook.URL, On: []string{"alert"}, Limit: 600}}
	start(t, relay.New(c, "", slog.New(slog.NewTextHandler(t.Output(), nil))))
	for i := 0; ; i++ { // until the relay listens
		now := time.Now()
		if err := b.Publish(t.Context(), core.Event{ID: core.NewID(now), Time: now, Kind: "host.cpu", Severity: core.Alert, Key: "cpu", Summary: "busy"}); err != nil {
			t.Fatal(err)
		}
		select {
		case body := <-told:
			if !strings.Contains(body, "busy") {
				t.Fatalf("told %s", body)
			}
		case <-time.After(50 * time.Millisecond):
			if i < 200 {
				continue
			}
			t.Fatal("nobody was told")
		}
		break
	}
	got := waitFor(t, b, "notify.sent")
	if got.Data["notifier"] != "webhook.ops" {
		t.Errorf("report %+v", got)
	}
	s := b.Relay()
	entries, err := s.Entries(t.Context(), "")
	if o := notify.Read(entries); err != nil || len(o.Open) != 1 || o.Open[0].Key != "cpu" {
		t.Errorf("kept for the next relay: %+v, %v", o, err)
	}

	// A silence that somebody puts is heard of.
	if err := (notify.Silence{Match: "host.disk", Until: time.Now().Add(time.Hour)}).Put(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	for i := 0; ; i++ { // until the relay has heard of it, each alert is told
		now := time.Now()
		id := core.NewID(now)
		if err := b.Publish(t.Context(), core.Event{ID: id, Time: now, Kind: "host.disk", Severity: core.Alert, Key: "disk" + id, Summary: "full"}); err != nil {
			t.Fatal(err)
		}
		select {
		case <-told:
		case <-time.After(2 * time.Second):
			return
		}
		if i > 10 {
			t.Fatal("the silence is not heard of")
		}
	}
}

// A relay that may not read says so where people look.
func TestRelayThatMayNotRead(t *testing.T) {
	c, b := setup(t)
	c.Plugin, c.Type, c.Name = "", "troop", "relay"
	start(t, relay.New(c, "", slog.New(slog.NewTextHandler(t.Output(), nil))))
	if got := waitFor(t, b, "agent.failed"); !strings.Contains(got.Summary, "agent troop.relay: read events: NOPERM") {
		t.Errorf("got %+v", got)
	}
}

// An order that nobody signed is not obeyed, and people hear of it.
func TestForgedOrderIsRefused(t *testing.T) {
	c, b := setup(t)
	seen := make(chan string, 10)
	watch := func(ctx context.Context, j core.Job) error {
		return j.Capabilities.WatchState(ctx, "", func(e core.Entry) error { seen <- string(e.Value); return nil })
	}
	start(t, &agent.Agent{Config: c, Open: func(context.Context, string, core.Digest) (core.Plugin, error) {
		return plugin{watch: watch}, nil
	}})
	if _, err := b.State("doctor").Set(t.Context(), "k", []byte("genuine")); err != nil {
		t.Fatal(err)
	}
	if got := <-seen; got != "genuine" {
		t.Fatal(got)
	}
	forge := func() error {
		if err := b.Client().HSet(t.Context(), "troop:order:doctor:k", "value", "forged").Err(); err != nil {
			return err
		}
		return b.Client().Publish(t.Context(), "troop:order:doctor", "k").Err()
	}
	if err := forge(); err != nil {
		t.Fatal(err)
	}
	got := waitFor(t, b, "agent.refused")
	if got.Severity != core.Alert || got.Host != "web-1" || !strings.Contains(got.Summary, "signature") {
		t.Errorf("got %+v", got)
	}
	if len(seen) > 0 {
		t.Errorf("obeyed %s", <-seen)
	}
	if err := forge(); err != nil { // the same again is not told again
		t.Fatal(err)
	}
	if _, err := b.State("doctor").Set(t.Context(), "k", []byte("genuine again")); err != nil {
		t.Fatal(err)
	}
	if got := <-seen; got != "genuine again" {
		t.Errorf("obeyed %s", got)
	}
	if all, err := b.Events(t.Context(), core.EventFilter{Kinds: []string{"agent.refused"}}, 0); err != nil || len(all) != 1 {
		t.Errorf("told of %v, %v", all, err)
	}
}

// A flag that the operator's side did not sign, an older one and one of another environment are not served, and people hear
// of them. Whoever writes them has the password of the operator's user in Redis.
func TestForgedFlagIsRefused(t *testing.T) {
	c, b := setup(t)
	c.Type, c.Name, c.Plugin = "", ofrep.Agent, ""
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	_ = l.Close()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		done <- agent.ServeFlags(ctx, c, t.TempDir(), address, slog.New(slog.NewTextHandler(t.Output(), nil)))
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	value := func() string {
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+address+"/ofrep/v1/evaluate/flags/new-feature", strings.NewReader("{}"))
		if err != nil {
			t.Fatal(err)
		}
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			return ""
		}
		defer res.Body.Close()
		var answer struct{ Value any }
		_ = json.NewDecoder(res.Body).Decode(&answer)
		return fmt.Sprint(answer.Value)
	}
	serves := func(want string) {
		t.Helper()
		for end := time.Now().Add(time.Minute); value() != want; time.Sleep(5 * time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("it is %s, want %s", value(), want)
			}
		}
	}
	const at = "troop:flag:new-feature"
	set := func(b *bus.Bus, v string) (sealed string) {
		t.Helper()
		if _, err := flags.Open(b).Set(ctx, "new-feature", v, "ops"); err != nil {
			t.Fatal(err)
		}
		sealed, err := b.Client().Get(ctx, at).Result()
		if err != nil {
			t.Fatal(err)
		}
		return sealed
	}
	older := set(b, "first")
	serves("first")
	newest := set(b, "second")
	serves("second")
	login := bus.Options{
		Address: c.Redis.Address, Certificates: c.Redis.Certificates, User: bus.Operator, Password: redistest.PasswordOf("operator"), Environment: "lab",
		Sign: &bus.Signer{Key: ed25519.NewKeyFromSeed([]byte(strings.Repeat("x", ed25519.SeedSize))), Fence: func() (int64, error) { return 100, nil }},
	}
	thief := bus.Open(login)
	defer thief.Close()
	login.Environment, login.Sign = "staging", &redistest.Signer
	staging := bus.Open(login)
	defer staging.Close()
	set(thief, "stolen")
	set(staging, "of another environment")
	told := func() int {
		all, err := b.Events(ctx, core.EventFilter{Kinds: []string{"agent.refused"}}, 0)
		if err != nil {
			t.Fatal(err)
		}
		return len(all)
	}
	for _, forged := range []string{"{}", `{"name":"new-feature","value":"unsigned","version":99}`, older} {
		if err := b.Client().Set(ctx, at, forged, 0).Err(); err != nil {
			t.Fatal(err)
		}
		if err := b.Client().Publish(ctx, "troop:flags", forged).Err(); err != nil {
			t.Fatal(err)
		}
	}
	for end := time.Now().Add(time.Minute); told() == 0; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("nobody heard of it")
		}
	}
	serves("second")
	// What Redis lost is not unset.
	if err := b.Client().Del(ctx, at, "troop:flagversion:new-feature").Err(); err != nil {
		t.Fatal(err)
	}
	set(b, "third") // whose version starts anew
	serves("third")
	if err := b.Client().Publish(ctx, "troop:flags", newest).Err(); err != nil {
		t.Fatal(err)
	}
	set(b, "fourth")
	serves("fourth")
	if _, err := flags.Open(b).Set(ctx, "new-feature", nil, "ops"); err != nil {
		t.Fatal(err)
	}
	serves("<nil>")
}

// A release that the router stops takes its flags along; a host of the application stops none.
func TestRouterStopsARelease(t *testing.T) {
	for host, stops := range map[core.HostName]bool{"router-1": true, "web-1": false} {
		t.Run(string(host), func(t *testing.T) {
			c, b := onRouter(t)
			if host != "router-1" {
				c.Host, c.Role, c.Redis.Password = host, "production", redistest.PasswordOf(string(host))
			}
			known := flags.Open(b)
			_, err := known.Update(t.Context(), "new-feature", flags.Change{By: "ops"}, func(f *flags.Flag) (err error) {
				*f, err = f.Give(true, nil)
				f.Metadata = map[string]any{flags.Release: "sha256:1"}
				return err
			})
			if err != nil {
				t.Fatal(err)
			}
			start(t, &agent.Agent{Config: c, Open: func(context.Context, string, core.Digest) (core.Plugin, error) {
				return plugin{watch: func(ctx context.Context, j core.Job) error {
					err := j.Capabilities.Publish(ctx, core.Event{
						Kind: "canary.closed", Severity: core.Alert, Data: map[string]any{core.StoppedRelease: "sha256:1", core.Delays: map[string]any{"canary": 1.5}},
					})
					<-ctx.Done()
					return err
				}}, nil
			}})
			e := waitFor(t, b, "canary.closed")
			s, err := known.Stops(t.Context())
			if f, _, _ := known.Get(t.Context(), "new-feature"); err != nil || s.Off(f) != stops {
				t.Errorf("stopped %v, %v", s, err)
			}
			delays, _ := e.Data[core.Delays].(map[string]any)
			if ms, ok := delays["flags"].(float64); ok != stops || ms < 0 || ms > 10_000 || delays["canary"] != 1.5 {
				t.Errorf("delays %v", delays)
			}
		})
	}
}

func waitFor(t *testing.T, b *bus.Bus, kind string) (found core.Event) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	_ = b.Follow(ctx, core.EventFilter{Kinds: []string{kind}, Since: time.Now().Add(-time.Minute)}, func(e core.Event) error {
		found = e
		return errors.New("seen")
	})
	return found
}
