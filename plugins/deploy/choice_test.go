package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/twmb/murmur3"

	"github.com/seed-b96de936/troop/plugins/deploy/state"
	"github.com/seed-b96de936/troop/plugins/deploy/traffic"
	"github.com/seed-b96de936/troop/plugins/sdk"
)

// with sends one request with a header and returns the pool that answered, and the cookie that the router set.
func (s *site) with(name, value string) (pool, cookie string) {
	s.t.Helper()
	req, err := http.NewRequestWithContext(s.t.Context(), http.MethodGet, s.url, http.NoBody)
	if err != nil {
		s.t.Fatal(err)
	}
	if name != "" {
		req.Header.Set(name, value)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		s.t.Fatal(err)
	}
	_ = resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		s.t.Errorf("%s %s: %s", name, value, resp.Status)
	}
	cookie, _, _ = strings.Cut(resp.Header.Get("Set-Cookie"), ";")
	return resp.Header.Get("X-Troop-Pool"), cookie
}

// TestClientsStay divides clients by the hash that divides them for flags, whatever the length of what names them.
func TestClientsStay(t *testing.T) {
	t.Parallel()
	s := newSite(t, twoProduction)
	s.vars["router_sticky"], s.vars["router_client"] = true, "cookie:user"
	s.configure()
	s.mustDeploy(artifact1)
	third := map[string]bool{} // those in the canary's third
	for i := range 300 {
		id := strings.Repeat("x", i%7) + fmt.Sprint(i)
		third[id] = uint64(murmur3.StringSum32(id))*3>>32 < 1
		pool, cookie := s.with("Cookie", "user="+id)
		if (pool == state.PoolCanary) != third[id] || cookie != "" {
			t.Errorf("client %s: pool %s, cookie %q; want the canary: %v", id, pool, cookie, third[id])
		}
	}
	n := 0
	for _, in := range third {
		if in {
			n++
		}
	}
	if n < 70 || n > 130 {
		t.Errorf("%d of 300 clients are in a third", n)
	}
	s.expectSplit(30, 20, 10) // requests that name no client are dealt by turns

	if r := s.call("weights", map[string]string{"weights": "1:1"}); r.Err != nil {
		t.Fatal(r.Err)
	}
	for id, in := range third {
		if pool, _ := s.with("Cookie", "user="+id); in && pool != state.PoolCanary {
			t.Errorf("client %s left the canary when it got more weight", id)
		}
	}
}

func TestRouterNamesClients(t *testing.T) {
	t.Parallel()
	s := newSite(t, oneEach)
	s.vars["router_sticky"] = true
	s.configure()
	s.mustDeploy(artifact1)
	pools := map[string]int{}
	for range 40 {
		pool, cookie := s.with("", "")
		name, id, _ := strings.Cut(cookie, "=")
		if name != "troop_client" || len(id) != 36 {
			t.Fatalf("cookie %q, want troop_client=UUID", cookie)
		}
		pools[pool]++
		again, other := s.with("Cookie", cookie)
		if again != pool || other != "" {
			t.Errorf("client %s: pool %s, then %s and the cookie %q", id, pool, again, other)
		}
	}
	if pools[state.PoolCanary] == 0 || pools[state.PoolProduction] == 0 {
		t.Errorf("40 new clients: %v", pools)
	}
}

// TestTesters has clients that choose their pool. They use up no turn, and the verdict does not count them.
func TestTesters(t *testing.T) {
	t.Parallel()
	s := newSite(t, oneEach)
	s.vars["router_tester_header"], s.vars["router_tester_cookie"] = "X-Try", "try"
	s.configure()
	s.mustDeploy(artifact1)
	counted := func() int64 {
		var r traffic.Reading
		if v := s.fake.State(sdk.HostKey("router-1", state.KeyTraffic)).Value; v != nil { // the agent has reported
			if err := json.Unmarshal(v, &r); err != nil {
				t.Fatal(err)
			}
		}
		return r.Production.Requests + r.Canary.Requests
	}
	before := counted() + s.align(3)
	s.eventually("the first requests are counted", func() bool { return counted() == before })
	for range 10 {
		for _, pool := range []string{state.PoolCanary, state.PoolProduction} {
			if got, _ := s.with("X-Try", pool); got != pool {
				t.Errorf("header %s: %s", pool, got)
			}
			if got, _ := s.with("Cookie", "try="+pool); got != pool {
				t.Errorf("cookie %s: %s", pool, got)
			}
		}
	}
	a := s.ask(30)
	if a.pool[state.PoolProduction] != 20 || a.pool[state.PoolCanary] != 10 {
		t.Errorf("beside the testers: %v", a.pool)
	}
	s.eventually("the requests are counted", func() bool { return counted() >= before+30 })
	if n := counted() - before; n != 30 {
		t.Errorf("%d requests count, want 30", n)
	}
}

// TestClassesOfRequests counts requests by what the service calls them, and else by the template of their path.
func TestClassesOfRequests(t *testing.T) {
	t.Parallel()
	s := newSite(t, oneEach)
	s.vars["router_class_header"] = "X-Route"
	s.configure()
	s.mustDeploy(artifact1)
	for _, path := range []string{"/items/1", "/items/2", "/users/1?a=b", "/users/2", "/users/3"} {
		resp, err := http.Get(strings.TrimSuffix(s.url, "/") + path)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
	}
	s.eventually("the requests are counted", func() bool {
		var r traffic.Reading
		if v := s.fake.State(sdk.HostKey("router-1", state.KeyTraffic)).Value; v == nil || json.Unmarshal(v, &r) != nil {
			return false
		}
		count := func(class string) int64 {
			return r.Classes[class].Production.Requests + r.Classes[class].Canary.Requests
		}
		return count("item of the shop") == 2 && count("/users/*") == 3
	})
}
