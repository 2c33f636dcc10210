package state

import (
	"strings"
	"testing"
)

func TestRoutes(t *testing.T) {
	t.Parallel()
	shop, api := Route{Name: "shop"}, Route{Name: "api", Path: "/api"}
	admin := Route{Name: "admin", Domains: []string{"admin.example.com", "ops.example.com"}}
	var many []Route
	for range MostServices {
		many = append(many, Route{Name: "other"})
	}
	for name, tt := range map[string]struct {
		route    Route
		others   []Route
		programs []Program
		want     string // in the error; empty: none
	}{
		"the first one":             {route: shop},
		"the first one again":       {route: shop, others: []Route{shop, api}},
		"one more":                  {route: admin, others: []Route{shop, api}},
		"neither domains nor path":  {route: Route{Name: "api"}, others: []Route{shop}, want: `path = "/api" in the service block`},
		"the path of another":       {route: Route{Name: "v2", Path: "/api"}, others: []Route{shop, api}, want: "the service api has the same domains and path"},
		"a domain of another":       {route: Route{Name: "ops", Domains: []string{"ops.example.com"}}, others: []Route{shop, admin}, want: "the service admin has the same"},
		"a path below a domain":     {route: Route{Name: "ops", Domains: []string{"ops.example.com"}, Path: "/jobs"}, others: []Route{shop, admin}},
		"as many as there may be":   {route: api, others: many, want: "has 10 services already"},
		"a program named like one":  {route: shop, others: []Route{shop, {Name: "shop-api", Path: "/api"}}, programs: []Program{{Name: "api"}}, want: "rename one"},
		"a program of another name": {route: shop, others: []Route{shop, {Name: "shop-api", Path: "/api"}}, programs: []Program{{Name: "worker"}}},
	} {
		err := tt.route.Check(tt.others, tt.programs)
		if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: got %v, want %q", name, err, tt.want)
		}
	}
	if first, second := Find([]Route{shop, api}, "shop"), Find([]Route{shop, api}, "api"); first.Key(KeyDesired) != "desired" || second.Key(KeyDesired) != "api.desired" || second.Number != 1 {
		t.Errorf("%+v %+v", first, second)
	}
}
