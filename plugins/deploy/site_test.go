package main

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/seed-b96de936/troop/plugins/deploy/haproxy"
	"github.com/seed-b96de936/troop/plugins/deploy/router"
	"github.com/seed-b96de936/troop/plugins/deploy/state"
	"github.com/seed-b96de936/troop/plugins/sdk"
	"github.com/seed-b96de936/troop/plugins/sdk/sdktest"
)

// TestMain runs several tests in parallel: they wait most of the time. More at once would start so many programs that a
// busy machine is late for all of them.
func TestMain(m *testing.M) {
	flag.Parse()
	if err := flag.Set("test.parallel", "8"); err != nil {
		panic(err)
	}
	m.Run()
}

// site is an environment on the loopback interface: the real HAProxy with the role's own configuration, the real
// agent and stage; only Ansible and the application are simulated.
type site struct {
	t        testing.TB
	dir      string
	setting  setting
	fake     *sdktest.Fake
	manifest string // the stage's body
	url      string
	haproxy  *exec.Cmd
	ip       map[string]string
	port     int
	vars     map[string]any // of the router's configuration
	hostvars map[string]any

	playing sync.Mutex // one playbook at a time, as in the core
	mu      sync.Mutex
	slots   map[string]*app // HOST-SLOT, with the prefix of the service
	agents  context.CancelFunc
	hanging chan struct{} // closed when requests to /hang may be answered
	ended   chan struct{}
	aged    atomic.Bool
	built   string // with which runtimes the artifacts were built
	runtime string // that the hosts have
	removed func(agent string)
}

var siteNumber atomic.Int32

// seat is that of a host with one pool, which its name says.
func seat(host string) state.Seat {
	if strings.HasPrefix(host, "canary-") {
		return state.Seat{Host: host, Pool: state.PoolCanary}
	}
	return state.Seat{Host: host, Pool: state.PoolProduction}
}

// newSite makes a site of hosts with their roles, which spaces separate.
func newSite(t testing.TB, roles map[string]string) *site {
	t.Helper()
	dir, err := os.MkdirTemp("", "site") //nolint:usetesting // t.TempDir is too long for the path of a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	s := &site{
		t: t, dir: dir, manifest: body, setting: setting{paths: router.Paths{Dir: dir, Socket: filepath.Join(dir, "admin.sock")}, silence: state.Silence, retry: time.Second},
		ip: map[string]string{}, slots: map[string]*app{}, hanging: make(chan struct{}),
	}
	s.fake = &sdktest.Fake{OnPlaybook: s.playbook}
	// Every site of every test process has its own loopback addresses.
	net24 := fmt.Sprintf("127.%d.%d", 1+os.Getpid()%200, siteNumber.Add(1))
	s.port = 21000
	groups := map[string][]string{}
	s.hostvars = map[string]any{}
	for name, role := range roles {
		s.ip[name] = fmt.Sprintf("%s.%d", net24, 10+len(s.ip))
		h := sdk.Host{Name: sdk.HostName(name), Role: role, Address: s.ip[name], PrivateAddress: s.ip[name]}
		if several := strings.Fields(role); len(several) > 1 {
			h.Role, h.Roles = several[0], several
		}
		s.fake.Hosts = append(s.fake.Hosts, h)
		for role := range strings.FieldsSeq(role) {
			groups[role] = append(groups[role], name)
		}
		s.hostvars[name] = map[string]string{"troop_private_address": s.ip[name]}
	}
	bind := net24 + ".2:21080"
	s.url = "http://" + bind
	bucket, err := filepath.Abs("../../playbooks/roles/router/files/bucket.lua")
	if err != nil {
		t.Fatal(err)
	}
	s.vars = map[string]any{
		"groups": groups, "hostvars": s.hostvars, "router_bind": bind, "router_app_port": s.port,
		"__router_settings": state.DefaultSettings(), "__router_others": []any{}, "router_proxies": []string{},
		"router_bind_tls": net24 + ".2:21443", "router_certificate_file": filepath.Join(dir, "tls.pem"), "router_sticky": false, "router_client": "",
		"router_tester_header": "", "router_tester_cookie": "", "router_class_header": "", "router_bucket": bucket, "router_group": "root",
		"router_state_dir": dir, "router_run_dir": dir,
	}
	s.render()
	s.write("weights.map", "canary 0\ntotal 1\n")
	s.write("servers.state", "1\n")
	s.write("health.map", "")
	s.startRouter()
	s.fake.SetState(state.KeyServices, state.Encode([]state.Route{{Name: "shop"}}))
	s.startAgent()
	return s
}

func (s *site) write(name, content string) {
	s.t.Helper()
	if err := os.WriteFile(filepath.Join(s.dir, name), []byte(content), 0o600); err != nil {
		s.t.Fatal(err)
	}
}

// render makes the configuration from the role's template, as Ansible does.
func (s *site) render() {
	s.t.Helper()
	const program = `import sys, json, jinja2
env = jinja2.Environment(trim_blocks=True, keep_trailing_newline=True, undefined=jinja2.StrictUndefined)
sys.stdout.write(env.from_string(open(sys.argv[1]).read()).render(**json.load(sys.stdin)))`
	in, err := json.Marshal(s.vars)
	if err != nil {
		s.t.Fatal(err)
	}
	cmd := exec.CommandContext(s.t.Context(), "python3", "-c", program, "../../playbooks/roles/router/templates/haproxy.cfg.j2")
	cmd.Stdin = strings.NewReader(string(in))
	out, err := cmd.Output()
	if err != nil {
		s.t.Fatalf("render: %v", err)
	}
	s.write("haproxy.cfg", string(out))
}

func (s *site) startRouter() {
	s.t.Helper()
	s.carryState()
	cmd := exec.Command("haproxy", "-W", "-f", filepath.Join(s.dir, "haproxy.cfg"))
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	out, err := os.Create(filepath.Join(s.dir, "haproxy.out"))
	if err != nil {
		s.t.Fatal(err)
	}
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	_ = out.Close()
	s.haproxy = cmd
	s.t.Cleanup(func() {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		_ = cmd.Wait()
	})
	s.eventually("the router listens", func() bool {
		c, err := net.Dial("tcp", strings.TrimPrefix(s.url, "http://"))
		if err == nil {
			_ = c.Close()
		}
		return err == nil
	})
}

func (s *site) stopRouter() {
	_ = syscall.Kill(-s.haproxy.Process.Pid, syscall.SIGKILL)
	_ = s.haproxy.Wait()
}

// configure renders the configuration anew and loads it, as the role does.
func (s *site) configure() {
	s.t.Helper()
	s.render()
	s.reload()
}

// carryState does what HAProxy's unit does before a start or a reload.
func (s *site) carryState() {
	s.t.Helper()
	in := func(name string) string { return filepath.Join(s.dir, name) }
	script := exec.CommandContext(s.t.Context(), "sh", "../../playbooks/roles/router/files/carry-state.sh", in("haproxy.cfg"), in("servers.state"), in("servers.loaded"))
	if out, err := script.CombinedOutput(); err != nil {
		s.t.Fatalf("%v: %s", err, out)
	}
}

// reload starts a new worker and waits until it alone answers.
func (s *site) reload() {
	s.t.Helper()
	pid := func() string {
		out, _ := haproxy.New(s.setting.paths.Socket, "").Ask(s.t.Context(), "show info")
		for l := range strings.Lines(out) {
			if strings.HasPrefix(l, "Pid:") {
				return l
			}
		}
		return ""
	}
	old := pid()
	s.carryState()
	if err := s.haproxy.Process.Signal(syscall.SIGUSR2); err != nil {
		s.t.Fatal(err)
	}
	s.eventually("a new worker answers", func() bool { now := pid(); return now != "" && now != old })
}

const stateDir = "agent"

func (s *site) startAgent() {
	s.t.Helper()
	s.agents, s.ended = s.watch("shop")
	traffic := sdk.HostKey("router-1", state.KeyTraffic)
	before := s.fake.State(traffic).Version
	s.eventually("the agent reports", func() bool { return s.fake.State(traffic).Version > before })
	s.t.Cleanup(s.stopAgent)
}

// watch runs the agent of a service.
func (s *site) watch(service string) (cancel context.CancelFunc, ended chan struct{}) {
	s.t.Helper()
	dir := filepath.Join(s.dir, stateDir)
	if service != "shop" {
		dir += "-" + service
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		s.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended = make(chan struct{})
	go func() {
		defer close(ended)
		r := sdktest.Watch(ctx, s.t, stage(s.setting), s.manifest, sdktest.Options{
			Fake: s.fake, Info: sdk.RunInfo{Stage: sdk.StageID("deploy." + service), Host: "router-1", Role: roleRouter, StateDir: dir},
		})
		if r.Err != nil && !errors.Is(r.Err, context.Canceled) && ctx.Err() == nil {
			s.t.Errorf("agent: %v", r.Err)
		}
	}()
	return cancel, ended
}

func (s *site) stopAgent() {
	s.agents()
	<-s.ended
}

// keep writes a certificate as the role does: one by ACME only at first.
func (s *site) keep(pem string, settings any) {
	if !bytes.Contains(state.Encode(settings), []byte(`"acme"`)) {
		s.write("tls.pem", pem)
	} else if _, err := os.Stat(filepath.Join(s.dir, "acme.pem")); err != nil {
		s.write("acme.pem", pem)
	}
}

// settle keeps what a service needs of the configuration.
func (s *site) settle(settings map[string]any) {
	name, _ := settings["service"].(string)
	s.write(filepath.Join(name, "settings.json"), string(state.Encode(settings)))
	if name == "" {
		s.vars["__router_settings"] = settings
		return
	}
	for file, content := range map[string]string{"weights.map": "canary 0\ntotal 1\n", "health.map": ""} {
		if _, err := os.Stat(filepath.Join(s.dir, name, file)); err != nil {
			s.write(filepath.Join(name, file), content)
		}
	}
	others := slices.DeleteFunc(s.vars["__router_others"].([]any), func(v any) bool { return v.(map[string]any)["service"] == name })
	s.vars["__router_others"] = append(others, settings)
}

// takeOff removes what the router has of a service.
func (s *site) takeOff(label string) {
	if label == "" {
		_ = os.Remove(filepath.Join(s.dir, "settings.json"))
		s.vars["__router_settings"] = state.DefaultSettings()
		s.write("weights.map", "canary 0\ntotal 1\n")
		s.write("health.map", "")
		return
	}
	_ = os.RemoveAll(filepath.Join(s.dir, label))
	s.vars["__router_others"] = slices.DeleteFunc(s.vars["__router_others"].([]any), func(v any) bool { return v.(map[string]any)["service"] == label })
}

// playbook simulates router.yml and release.yml.
func (s *site) playbook(p sdk.PlaybookRun) ([]sdk.TaskResult, error) {
	s.playing.Lock()
	defer s.playing.Unlock()
	if gone, ok := p.Vars["router_remove"].(map[string]any); ok {
		s.removed(gone["agent"].(string))
		s.takeOff(gone["label"].(string))
		s.configure()
		return nil, nil
	}
	if p.Name == "router.yml" {
		if pem, ok := p.Vars["router_certificate"].(string); ok {
			s.keep(pem, p.Vars["router_settings"])
		}
		s.settle(p.Vars["router_settings"].(map[string]any))
		s.configure()
		return nil, nil
	}
	of := ""
	if service := p.Vars["release_service"].(string); service != "shop" {
		of = service + "."
	}
	slots := map[string]string{}
	given, _ := p.Vars["release_slots"].(map[string]any)
	for h, v := range given {
		slots[h], _ = v.(string)
	}
	if p.Vars["release_step"] == "runtime" {
		var results []sdk.TaskResult
		for _, h := range p.Hosts {
			results = append(results, sdk.TaskResult{Host: h, Facts: map[string]any{"stdout": s.runtime}})
		}
		return results, nil
	}
	if p.Vars["release_step"] == "restarts" {
		var results []sdk.TaskResult
		for _, h := range p.Hosts {
			results = append(results, sdk.TaskResult{Host: h, Facts: map[string]any{"stdout": s.restarts(of + string(h) + "-" + slots[string(h)])}})
		}
		return results, nil
	}
	for _, h := range p.Hosts {
		if step := p.Vars["release_step"]; step == "settle" || step == "remove" {
			serving, _ := p.Vars["release_serving"].(map[string]any)
			all, _ := serving[string(h)].([]any)
			for _, slot := range []string{"a", "b", "c", "d"} {
				if !slices.Contains(all, any(slot)) {
					s.end(of + string(h) + "-" + slot)
				}
			}
			continue
		}
		number, _ := p.Vars["release_number"].(float64)
		if err := s.startAt(of, int(number), string(h), slots[string(h)], p.Vars["release_commit"].(string)); err != nil {
			return []sdk.TaskResult{{Host: h, Task: "Wait until the release is healthy", Status: "failed", Message: err.Error()}}, errors.New("1 task failed")
		}
	}
	return nil, nil
}

// failedTask is what release.yml returns when a task fails.
func (s *site) failedTask() ([]sdk.TaskResult, error) {
	return []sdk.TaskResult{{
		Host: "canary-1", Task: "Give up the release", Status: "failed",
		Message: "the task shop-migrate failed; it ended with status 1/FAILURE; its log ends with: no such table\nno such table",
	}}, errors.New("1 task failed")
}

// stopped are the artifacts of the releases that events said were stopped.
func (s *site) stopped() (all []string) {
	for _, e := range s.fake.Published() {
		if artifact, ok := e.Data[sdk.StoppedRelease].(string); ok {
			all = append(all, artifact)
		}
	}
	return all
}

func (s *site) desired() state.Desired {
	s.t.Helper()
	var d state.Desired
	if err := json.Unmarshal(s.fake.State(state.KeyDesired).Value, &d); err != nil {
		s.t.Fatal(err)
	}
	return d
}

func (s *site) actual() state.Actual {
	s.t.Helper()
	var a state.Actual
	if v := s.fake.State(sdk.HostKey("router-1", state.KeyActual)).Value; v != nil {
		if err := json.Unmarshal(v, &a); err != nil {
			s.t.Fatal(err)
		}
	}
	return a
}

const body = `
artifact = "sha256:0000000000000000000000000000000000000000000000000000000000000000"
service { command = ["node", "start.js"] }
canary {
  watch        = "500ms"
  min_requests = 1
  no_traffic   = "promote"
  # On a busy machine answers are late, whatever the release. Only the test of a slow release judges latency.
  latency_slack = "1m"
}
`

// body stores an artifact for a commit, and returns the stage's body that deploys it.
func (s *site) body(commit string) string {
	s.t.Helper()
	file := filepath.Join(s.dir, commit+".tar.zst")
	s.write(commit+".tar.zst", s.archive(commit))
	var digest string
	put := sdk.Stage[struct{}]{
		Name: "put", Version: "1.0.0", Capabilities: []sdk.Capability{sdk.Artifacts},
		Run: func(ctx context.Context, _ *struct{}, job *sdk.Job) error {
			a, err := job.PutArtifact(ctx, file)
			digest = string(a.Digest)
			return err
		},
	}
	if r := sdktest.Run(s.t, put, "", sdktest.Options{Fake: s.fake}); r.Err != nil {
		s.t.Fatal(r.Err)
	}
	return strings.Replace(s.manifest, "sha256:"+strings.Repeat("0", 64), digest, 1)
}

// archive is one with a file that says the commit.
func (s *site) archive(commit string) string {
	s.t.Helper()
	var out bytes.Buffer
	z, err := zstd.NewWriter(&out)
	if err != nil {
		s.t.Fatal(err)
	}
	w := tar.NewWriter(z)
	if s.built != "" {
		err = w.WriteHeader(&tar.Header{Typeflag: tar.TypeXGlobalHeader, PAXRecords: map[string]string{"comment": s.built}})
	}
	if err == nil {
		err = w.WriteHeader(&tar.Header{Name: commit, Mode: 0o644})
	}
	if err := errors.Join(err, w.Close(), z.Close()); err != nil {
		s.t.Fatal(err)
	}
	return out.String()
}

// longWatch is a body with a long watch: a failure is found as soon as there are enough requests, however slow the
// machine is.
func (s *site) longWatch(commit string) string {
	s.t.Helper()
	return strings.Replace(s.body(commit), `watch        = "500ms"`, `watch = "5m"`, 1)
}

// watching waits until the second deploy of a site has opened its canary.
func (s *site) watching() {
	s.t.Helper()
	s.eventually("the canary is open", func() bool {
		return s.desired().Phase == state.PhaseCanary && s.desired().Generation == 3 && s.actual().Settled && s.actual().Weights.Canary > 0
	})
}

func (s *site) deploy(commit string) sdktest.Result {
	s.t.Helper()
	return s.deployBody(s.t.Context(), commit, s.body(commit))
}

func (s *site) deployBody(ctx context.Context, commit, body string) sdktest.Result {
	s.t.Helper()
	return s.deployOf(ctx, "shop", commit, body)
}

func (s *site) deployOf(ctx context.Context, service, commit, body string) sdktest.Result {
	s.t.Helper()
	return sdktest.RunContext(ctx, s.t, stage(s.setting), body, sdktest.Options{
		Fake: s.fake, Info: sdk.RunInfo{Stage: sdk.StageID("deploy." + service), Commit: commit, Run: sdk.RunID("run-" + commit)},
	})
}

func (s *site) call(action string, args map[string]string) sdktest.Result {
	s.t.Helper()
	return sdktest.Call(s.t, stage(s.setting), s.manifest, action, args, sdktest.Options{Fake: s.fake, Info: sdk.RunInfo{Stage: "deploy.shop"}})
}

// order calls an action that tells the running deploy what to do.
func (s *site) order(t *testing.T, action string) {
	t.Helper()
	if r := s.call(action, nil); r.Err != nil {
		t.Errorf("%s: %v", action, r.Err)
	}
}

// mustDeploy deploys a good release.
func (s *site) mustDeploy(commit string) {
	s.t.Helper()
	if r := s.deploy(commit); r.Err != nil {
		s.t.Fatalf("deploy %s: %v\n%s", commit, r.Err, strings.Join(r.Logs, "\n"))
	}
}

// eventually waits for a state. The limit is far above what a slow machine needs.
func (s *site) eventually(what string, f func() bool) {
	s.t.Helper()
	for began := time.Now(); time.Since(began) < time.Minute; time.Sleep(10 * time.Millisecond) {
		if f() {
			return
		}
	}
	s.t.Fatalf("timed out waiting: %s\nactual: %+v\nhaproxy: %s", what, s.actual(), s.routerLog())
}

// routerLog is what HAProxy logged about its servers.
func (s *site) routerLog() []byte {
	out, _ := os.ReadFile(filepath.Join(s.dir, "haproxy.out"))
	return out
}
