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
	first, _ := Find([]Route{shop, api}, "shop")
	if second, known := Find([]Route{shop, api}, "api"); !known || first.Key(KeyDesired) != "desired" || second.Key(KeyDesired) != "api.desired" || second.Number != 1 {
		t.Errorf("%+v %+v", first, second)
	}
}

// TestWithout takes services out: the others keep their numbers, and a new one gets the first that is free.
func TestWithout(t *testing.T) {
	t.Parallel()
	all := []Route{{Name: "shop"}, {Name: "api", Path: "/api"}, {Name: "admin", Path: "/admin"}}
	rest := Without(all, "api")
	admin, known := Find(rest, "admin")
	if again, _ := Find(rest, "api"); !known || admin.Number != 2 || again.Number != 1 || all[1].Name != "api" {
		t.Errorf("%+v, %+v of %+v", admin, again, rest)
	}
	if err := (Route{Name: "blog", Path: "/blog"}).Check(rest, nil); err != nil {
		t.Errorf("a new service beside a free number: %v", err)
	}
	rest = Without(rest, "shop")
	if err := (Route{Name: "blog"}).Check(rest, nil); err != nil {
		t.Errorf("a new service that takes all requests: %v", err)
	}
	if blog, _ := Find(rest, "blog"); blog.Number != 0 || blog.Label() != "" {
		t.Errorf("%+v", blog)
	}
	if rest = Without(rest, "admin"); len(rest) != 0 {
		t.Errorf("left: %+v", rest)
	}
}
