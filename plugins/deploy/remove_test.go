package main

import (
	"encoding/json"
	"errors"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/seed-b96de936/troop/plugins/deploy/state"
	"github.com/seed-b96de936/troop/plugins/sdk"
	"github.com/seed-b96de936/troop/plugins/sdk/sdktest"
)

// services starts and ends the agents of services beside the first one, as their playbooks do.
func (s *site) services() {
	var mu sync.Mutex
	end := map[string]func(){"shop": s.stopAgent}
	s.fake.OnInstall = func([]sdk.HostName) error {
		mu.Lock()
		defer mu.Unlock()
		for _, name := range []string{"shop", "api"} {
			if end[name] == nil {
				cancel, ended := s.watch(name)
				end[name] = sync.OnceFunc(func() { cancel(); <-ended })
				s.t.Cleanup(end[name])
				return nil
			}
		}
		return nil
	}
	s.removed = func(agent string) {
		mu.Lock()
		defer mu.Unlock()
		name := strings.TrimPrefix(agent, "deploy-")
		end[name]()
		delete(end, name)
		dir := stateDir
		if name != "shop" {
			dir += "-" + name
		}
		_ = os.RemoveAll(filepath.Join(s.dir, dir))
	}
}

// removal calls the action for a service, with the block of the stage shop.
func (s *site) removal(service string, args ...string) sdktest.Result {
	s.t.Helper()
	given := map[string]string{"service": service}
	for _, a := range args {
		given[a] = "true"
	}
	return sdktest.Call(s.t, stage(s.setting), s.manifest, "remove", given, sdktest.Options{
		Fake: s.fake, Info: sdk.RunInfo{Stage: "deploy.shop", Stages: []sdk.StageID{"deploy.shop"}},
	})
}

// left are the entries of the shared state that a service has.
func (s *site) left(prefix string) (keys []string) {
	for _, key := range []string{state.KeyDesired, state.KeyDriver, state.KeyOrder, state.KeyVerdict} {
		if e := s.fake.State(prefix + key); len(e.Value) > 0 {
			keys = append(keys, e.Key)
		}
	}
	for _, key := range []string{state.KeyActual, state.KeyTraffic} {
		if e := s.fake.State(sdk.HostKey("router-1", prefix+key)); len(e.Value) > 0 {
			keys = append(keys, e.Key)
		}
	}
	return keys
}

// TestRemove takes the second of two services out under the load of the first, after an attempt that is interrupted, and brings it
// back; then the first one goes.
func TestRemove(t *testing.T) {
	t.Parallel()
	s := newSite(t, twoProduction)
	s.services()
	s.mustDeploy(artifact1)
	api := func(commit string) {
		t.Helper()
		if r := s.deployOf(t.Context(), "api", commit, routed(s.body(commit), `path = "/api"`)); r.Err != nil {
			t.Fatalf("deploy api %s: %v\n%s", commit, r.Err, strings.Join(r.Logs, "\n"))
		}
	}
	api(artifact2)
	s.expectAt(t, "/api", artifact2, 1)
	shop := s.loadOn("/")
	var had state.Desired
	if err := json.Unmarshal(s.fake.State("api."+state.KeyDesired).Value, &had); err != nil {
		t.Fatal(err)
	}

	if r := s.removal("apo", "yes"); r.Err == nil || !strings.Contains(r.Err.Error(), `no service "apo"; it has: shop, api`) {
		t.Errorf("an unknown service: %v", r.Err)
	}
	played := len(s.fake.Playbooks())
	r := s.removal("api")
	if r.Err != nil || len(r.Tables) != 1 || len(s.fake.Playbooks()) != played || !slices.Contains(r.Logs, "nothing was changed yet") {
		t.Errorf("without --yes: %v, %v, %q", r.Err, r.Tables, r.Logs)
	}
	if got := r.Tables[0].Rows[3]; got[0] != "router-1" || !strings.HasPrefix(got[1], "requests for /api; ") || got[2] != "the other services: shop" {
		t.Errorf("shows %q", got)
	}
	s.fake.SetState("api."+state.KeyDriver, state.Encode(state.Driver{Run: "01RUN", Time: time.Now()}))
	if r := s.removal("api", "yes"); r.Err == nil || !strings.Contains(r.Err.Error(), "a deploy is running") {
		t.Errorf("while it is deployed: %v", r.Err)
	}
	s.fake.SetState("api."+state.KeyDriver, state.Encode(state.Driver{}))

	play := s.fake.OnPlaybook
	for _, at := range []string{"release.yml", "router.yml"} {
		s.fake.OnPlaybook = func(p sdk.PlaybookRun) ([]sdk.TaskResult, error) {
			if p.Name == at {
				return []sdk.TaskResult{{Host: "web-2", Task: "Take the service off", Status: "unreachable", Message: "no route"}}, errors.New("1 host unreachable")
			}
			return play(p)
		}
		if r := s.removal("api", "yes"); r.Err == nil || !strings.Contains(r.Err.Error(), "take api out: web-2: no route; what is left goes with the same command again") {
			t.Errorf("an attempt that fails at %s: %v", at, r.Err)
		}
	}
	s.fake.OnPlaybook = play
	r = s.removal("api", "yes", "data")
	if r.Err != nil || r.Outputs["removed"] != "api" {
		t.Fatalf("%v\n%s", r.Err, strings.Join(r.Logs, "\n"))
	}
	steps := s.fake.Playbooks()
	if vars := steps[len(steps)-2].Vars; vars["release_step"] != "remove" || vars["release_service"] != "api" || vars["release_data"] != true {
		t.Errorf("on the hosts: %v", vars)
	}
	if vars := steps[len(steps)-1].Vars["router_remove"].(map[string]any); vars["label"] != "api" || vars["agent"] != "deploy-api" {
		t.Errorf("on the router: %v", vars)
	}
	if left := s.left("api."); len(left) > 0 {
		t.Errorf("left in the shared state: %q", left)
	}
	if config, err := os.ReadFile(filepath.Join(s.dir, "haproxy.cfg")); err != nil || strings.Contains(string(config), "api") {
		t.Errorf("HAProxy's configuration: %v\n%s", err, config)
	}
	if a := shop(); len(a.failed) > 0 || len(a.release) != 1 || a.release[artifact1] == 0 {
		t.Errorf("the other service: %v, failed %q", a.release, a.failed)
	}
	s.expectAt(t, "/api", artifact1, 1) // the other one takes all requests
	if got := s.stopped(); !slices.Contains(got, had.Releases[had.Good].Artifact) || len(slices.Compact(got)) != 1 {
		t.Errorf("stopped releases: %q", got)
	}
	if events := s.fake.Published(); events[len(events)-1].Kind != "service.removed" {
		t.Errorf("events: %+v", events)
	}
	if r := s.removal("api", "yes"); r.Err == nil || !strings.Contains(r.Err.Error(), "it has: shop") {
		t.Errorf("once more: %v", r.Err)
	}

	api(artifact1)
	api(artifact2)
	s.expectAt(t, "/api", artifact2, 1)
	kept := s.loadOn("/api")
	if r := s.removal("shop", "yes"); r.Err != nil || len(r.Warnings) != 1 || !strings.Contains(r.Warnings[0], "still has the stage deploy.shop, so the next run brings shop back") {
		t.Errorf("the first one: %v, %q", r.Err, r.Warnings)
	}
	if a := kept(); len(a.failed) > 0 || a.release[artifact2] == 0 {
		t.Errorf("the second one: %v, failed %q", a.release, a.failed)
	}
	if _, _, err := s.getPath(http.DefaultClient, "/"); err == nil || !strings.Contains(err.Error(), "503") {
		t.Errorf("requests that nothing takes: %v", err)
	}
	var all []state.Route
	if err := json.Unmarshal(s.fake.State(state.KeyServices).Value, &all); err != nil || len(all) != 2 || all[0].Name != "" || all[1].Name != "api" {
		t.Errorf("services: %+v, %v", all, err)
	}
	if left := s.left(""); len(left) > 0 {
		t.Errorf("left in the shared state: %q", left)
	}
	s.mustDeploy(artifact2)
	s.expectAt(t, "/", artifact2, 1)
	s.expectAt(t, "/api", artifact2, 1)
}

// TestRemoveScript takes a service off a host: nothing of it is left, and all of others.
func TestRemoveScript(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	text, err := os.ReadFile("../../playbooks/roles/release/files/remove.sh")
	if err != nil {
		t.Fatal(err)
	}
	const paths = "opt=/opt units=/etc/systemd/system troop=/etc/troop lib=/var/lib log=/var/log"
	script := strings.Replace(string(text), paths, "opt=opt units=units troop=troop lib=lib log=log", 1)
	if script == string(text) {
		t.Fatalf("the script does not begin with %s", paths)
	}
	const mine, other = "# a program of shop\n", "# a program of shop-api\n"
	files := map[string]string{
		"units/shop@.service": "User=shop\n", "units/shop@a.service.d/release.conf": "x", "units/shop-worker@a.service": mine, "units/shop-report.timer": mine,
		"lib/systemd/timers/stamp-shop-report.timer": "", "opt/shop/releases/r1/start": "x", "log/shop/app.log": "x", "lib/shop/uploads/a": "x",
		"troop/installed/shop.sha256": "00  opt/shop/exec\n", "troop/installed/shop-a.sha256": "00  opt/shop/slot-a/start\n",
	}
	others := map[string]string{
		"units/shop-api@.service": "User=api\n", "units/shop-api-worker@a.service": other, "units/shop-api-report.timer": other, "opt/shop-api/exec": "x", "log/shop-api/a": "x",
		"lib/shop-api/a": "x", "troop/installed/shop-b.sha256": "00  opt/shop-b/exec\n", "units/nginx.service": "User=www-data\n",
	}
	write := func(files map[string]string) {
		for name, content := range files {
			file := filepath.Join(dir, name)
			if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o700), os.WriteFile(file, []byte(content), 0o600)); err != nil {
				t.Fatal(err)
			}
		}
	}
	write(files)
	write(others)
	for name, stub := range map[string]string{
		"systemctl": "exit 0", "pkill": "exit 0", "getent": "grep ^$2: users", "userdel": "sed -i /^$1:/d users && echo $1 >>deleted", "chown": "echo chown $* >>chowned",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("#!/bin/sh\n"+stub+"\n"), 0o700); err != nil { //nolint:gosec // a program
			t.Fatal(err)
		}
	}
	write(map[string]string{"users": "shop:x:998:998::/nonexistent:\napi:x:997:997::/nonexistent:\nwww-data:x:33:33::/var/www:\nannie:x:1000:1000::/home/annie:\n"})
	run := func(args ...string) string {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), "sh", append([]string{"-s", "--"}, args...)...)
		cmd.Dir, cmd.Env, cmd.Stdin = dir, append(os.Environ(), "PATH="+dir+":"+os.Getenv("PATH")), strings.NewReader(script)
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		return strings.Join(strings.Fields(string(out)), " ")
	}
	const all = "units opt/shop log/shop troop/installed/shop.sha256 troop/installed/shop-a.sha256 shop"
	if got := run("shop", "keep", "shop", "www-data", "annie", "api", "nobody-such"); got != all {
		t.Errorf("removed %q, want %q", got, all)
	}
	for name := range files {
		if _, err := os.Lstat(filepath.Join(dir, name)); err == nil && name != "lib/shop/uploads/a" {
			t.Errorf("%s is left", name)
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "lib/shop/uploads/a")); err != nil {
		t.Error("the data is gone")
	}
	if got, err := os.ReadFile(filepath.Join(dir, "deleted")); err != nil || string(got) != "shop\n" {
		t.Errorf("deleted users: %q, %v", got, err)
	}
	for name := range others {
		if _, err := os.Lstat(filepath.Join(dir, name)); err != nil {
			t.Error(err)
		}
	}
	if got := run("shop", "keep", "shop"); got != "" {
		t.Errorf("removed %q at the second time", got)
	}
	if got := run("shop", "data", "shop"); got != "lib/shop" {
		t.Errorf("with data: removed %q", got)
	}
}
