package preflight_test

import (
	"context"
	"net"
	"testing"

	"github.com/seed-b96de936/troop/core"
	"github.com/seed-b96de936/troop/core/preflight"
)

func TestDomains(t *testing.T) {
	d := preflight.Domains{
		Names: []string{"right.example.com", "wrong.example.com", "none.example.com"}, Router: "router.example.com",
		Lookup: func(_ context.Context, name string) ([]string, error) {
			switch name {
			case "right.example.com":
				return []string{"203.0.113.1", "2001:db8::1"}, nil
			case "wrong.example.com":
				return []string{"203.0.113.9"}, nil
			case "router.example.com":
				return []string{"203.0.113.1"}, nil
			}
			return nil, &net.DNSError{Name: name, IsNotFound: true}
		},
	}
	want := []core.Check{
		{Name: "dns right.example.com", Status: core.Passed, Detail: "leads to 203.0.113.1, 2001:db8::1"},
		{Name: "dns wrong.example.com", Status: core.Failed, Detail: "leads to 203.0.113.9, and the router is 203.0.113.1", Remedy: "set its A or AAAA record to 203.0.113.1"},
		{Name: "dns none.example.com", Status: core.Failed, Detail: "there is no such name", Remedy: "set its A or AAAA record to 203.0.113.1"},
	}
	var got []core.Check
	if err := preflight.Run(t.Context(), d.Steps(), func(string) {}, func(c core.Check) { got = append(got, c) }); err != nil {
		t.Fatal(err)
	}
	for i := range want {
		if len(got) != len(want) || got[i] != want[i] {
			t.Errorf("got %+v\nwant %+v", got, want)
			break
		}
	}
	d.Router = ""
	if err := preflight.Run(t.Context(), d.Steps(), func(string) {}, func(c core.Check) {
		if c.Status != core.Skipped {
			t.Errorf("before there is a router: %+v", c)
		}
	}); err != nil {
		t.Fatal(err)
	}
}
