package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/seed-b96de936/troop/plugins/deploy/state"
	"github.com/seed-b96de936/troop/plugins/sdk"
	"github.com/seed-b96de936/troop/plugins/sdk/sdktest"
)

// routed says in a stage's body which requests are the service's.
func routed(body, route string) string {
	return strings.Replace(body, `service { command = ["node", "start.js"] }`, "service {\n command = [\"node\", \"start.js\"]\n "+route+"\n}", 1)
}

// loadOn asks for a path, one request after the other, until stopped.
func (s *site) loadOn(path string) (stop func() answers) {
	ctx, cancel := context.WithCancel(context.Background())
	a := answers{pool: map[string]int{}, release: map[string]int{}}
	var wg sync.WaitGroup
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	wg.Go(func() {
		for ctx.Err() == nil {
			a.add(s.getPath(client, path))
		}
	})
	return func() answers {
		cancel()
		wg.Wait()
		return a
	}
}

// expectAt asks for a path and expects one release, with a third of the answers from the canary: exactly, unless others ask, too.
func (s *site) expectAt(t *testing.T, path, release string, off int) {
	t.Helper()
	a := answers{pool: map[string]int{}, release: map[string]int{}}
	for range 300 {
		a.add(s.getPath(http.DefaultClient, path))
	}
	if a.release[release] != 300 || len(a.failed) > 0 || a.pool["canary"] < 100-off || a.pool["canary"] > 100+off || a.pool["production"]+a.pool["canary"] != 300 {
		t.Errorf("%s: %v %v, failed %q; want 2:1 of %s", path, a.pool, a.release, a.failed, release)
	}
}

// TestTwoServices has two services on the same hosts and behind the same router: they are deployed at once, and each is rolled back
// alone. The second one has a path, and on one host a domain, too.
func TestTwoServices(t *testing.T) {
	t.Parallel()
	for name, hosts := range map[string]map[string]string{"on three hosts": twoProduction, "on one": oneServer} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t, hosts)
			route, host := `path = "/api"`, ""
			if name == "on one" {
				route, host = route+"\ndomains = [\"api.example.com\"]", "api.example.com"
			}
			var agents sync.Once
			s.fake.OnInstall = func([]sdk.HostName) error {
				agents.Do(func() {
					cancel, ended := s.watch("api")
					t.Cleanup(func() { cancel(); <-ended })
				})
				return nil
			}
			s.mustDeploy(artifact1)
			if r := s.deployOf(t.Context(), "api", artifact2, s.body(artifact2)); r.Err == nil || !strings.Contains(r.Err.Error(), `path = "/api" in the service block`) {
				t.Errorf("a service that has no requests of its own: %v", r.Err)
			}
			shop, api := s.loadOn("/api-docs"), (func() answers)(nil)
			deployAPI := func(commit string) {
				t.Helper()
				if r := s.deployOf(t.Context(), "api", commit, routed(s.body(commit), route)); r.Err != nil {
					t.Fatalf("deploy api %s: %v\n%s", commit, r.Err, strings.Join(r.Logs, "\n"))
				}
			}
			deployAPI(artifact2)
			s.expectAt(t, "/", artifact1, 30)
			s.expectAt(t, host+"/api", artifact2, 1)
			s.expectAt(t, host+"/api/carts", artifact2, 1)

			api = s.loadOn(host + "/api/carts")
			var both sync.WaitGroup
			both.Go(func() { deployAPI(artifact1) })
			s.mustDeploy(artifact2)
			both.Wait()
			s.expectAt(t, "/", artifact2, 30)
			s.expectAt(t, host+"/api/carts", artifact1, 30)
			r := sdktest.Call(t, stage(s.setting), routed(s.manifest, route), "rollback", map[string]string{"yes": "true"}, sdktest.Options{Fake: s.fake, Info: sdk.RunInfo{Stage: "deploy.api"}})
			if r.Err != nil {
				t.Fatal(r.Err)
			}
			s.expectAt(t, "/", artifact2, 30)
			s.expectAt(t, host+"/api", artifact2, 30)
			if r := s.call("rollback", map[string]string{"yes": "true"}); r.Err != nil {
				t.Fatal(r.Err)
			}
			for path, stop := range map[string]func() answers{"shop": shop, "api": api} {
				if a := stop(); len(a.failed) > 0 || a.release[artifact1] == 0 || a.release[artifact2] == 0 {
					t.Errorf("%s: %v, failed %q", path, a.release, a.failed)
				}
			}
			s.expectAt(t, "/", artifact1, 1)
			s.expectAt(t, host+"/api", artifact2, 1)
			if r := s.call("weights", map[string]string{"weights": "1:0"}); r.Err != nil {
				t.Fatal(r.Err)
			}
			s.expectAt(t, host+"/api", artifact2, 1) // the weights of the other one
			if got := s.desired().Seats; len(got) == 0 || s.desired().Service != "shop" {
				t.Errorf("the record of the first service: %+v", s.desired())
			}
			if e := s.fake.State("api." + state.KeyDesired); len(e.Value) == 0 {
				t.Error("the second service has no record of its own")
			}
		})
	}
}

// TestNewServicesAtOnce has services registered at the same moment: each gets a number of its own.
func TestNewServicesAtOnce(t *testing.T) {
	t.Parallel()
	fake := &sdktest.Fake{Hosts: []sdk.Host{{Name: "router-1", Role: roleRouter}, {Name: "web-1", Role: state.PoolProduction}}}
	register := stage(onRouter())
	register.Run = func(ctx context.Context, c *config, job *sdk.Job) error {
		d, err := newDeployer(ctx, c, job)
		if err != nil {
			return err
		}
		return d.register(ctx)
	}
	names := []string{"shop", "api", "admin", "jobs"}
	var all sync.WaitGroup
	for _, name := range names {
		all.Go(func() {
			r := sdktest.Run(t, register, routed(body, fmt.Sprintf("path = %q", "/"+name)), sdktest.Options{Fake: fake, Info: sdk.RunInfo{Stage: sdk.StageID("deploy." + name)}})
			if r.Err != nil {
				t.Errorf("%s: %v", name, r.Err)
			}
		})
	}
	all.Wait()
	var got []state.Route
	if err := json.Unmarshal(fake.State(state.KeyServices).Value, &got); err != nil || len(got) != len(names) {
		t.Errorf("services: %v, %v", got, err)
	}
	for _, name := range names {
		if _, known := state.Find(got, name); !known {
			t.Errorf("%s is not one of %v", name, got)
		}
	}
}
