package terraform

import (
	"errors"
	"maps"
	"strings"
	"testing"

	tfjson "github.com/hashicorp/terraform-json"

	"github.com/seed-b96de936/troop/core"
	"github.com/seed-b96de936/troop/core/price"
)

// prices is a table of round numbers.
var prices = &price.Table{
	Sources: map[string]price.Source{"a": {Date: "2026-01-01"}, "b": {Date: "2026-02-01"}},
	Regions: map[string]map[string]price.List{"eu-test-1": {
		price.Instances: {Source: "a", Prices: map[string]float64{"t3.small": 0.1, "t3.large": 0.2}},
		price.Disks:     {Source: "b", Prices: map[string]float64{"gp3": 0.1}},
		price.Addresses: {Source: "a", Prices: map[string]float64{"public": 0.01}},
		price.Data:      {Source: "a", Prices: map[string]float64{"out": 0.1}},
	}},
}

// costing is a plan of one instance that changes, with what the plan does not know yet.
func costing(before, after, unknown map[string]any, more ...*tfjson.ResourceChange) *tfjson.Plan {
	change := &tfjson.Change{AfterUnknown: unknown}
	if before != nil {
		change.Before = before
	}
	if after != nil {
		change.After = after
	}
	r := &tfjson.ResourceChange{Address: `aws_instance.host["web-1"]`, Type: "aws_instance", Mode: tfjson.ManagedResourceMode, Change: change}
	return &tfjson.Plan{ResourceChanges: append(more, r)}
}

func machine(kind string, more map[string]any) map[string]any {
	m := map[string]any{"instance_type": kind, "availability_zone": "eu-test-1a", "root_block_device": []any{map[string]any{"volume_type": "gp3", "volume_size": 20.0}}}
	maps.Copy(m, more)
	return m
}

func resource(kind, address string, after map[string]any) *tfjson.ResourceChange {
	return &tfjson.ResourceChange{Address: address, Type: kind, Mode: tfjson.ManagedResourceMode, Change: &tfjson.Change{After: after}}
}

func TestCost(t *testing.T) {
	roles := map[string]string{"web-1": "production"}
	isUnknown := map[string]any{"associate_public_ip_address": true}
	small := machine("t3.small", nil)
	for name, tt := range map[string]struct {
		plan *tfjson.Plan
		want string
	}{
		"new, private":             {costing(nil, machine("t3.small", map[string]any{"associate_public_ip_address": false}), nil), "75.00 USD a month (+75.00)"},
		"unchanged":                {costing(small, small, nil), "75.00 USD a month"},
		"larger":                   {costing(small, machine("t3.large", nil), nil), "148.00 USD a month (+73.00)"},
		"gone":                     {costing(small, nil, nil), "0.00 USD a month (-75.00)"},
		"public":                   {costing(nil, machine("t3.small", map[string]any{"public_ip": "203.0.113.7"}), nil), "82.30 to 172.30 USD a month (+82.30 to +172.30)"},
		"perhaps public":           {costing(nil, small, isUnknown), "75.00 to 172.30 USD a month (+75.00 to +172.30)"},
		"in a public subnet":       {costing(nil, small, isUnknown, resource("aws_subnet", "aws_subnet.a", map[string]any{"map_public_ip_on_launch": true})), "82.30 to 172.30 USD a month (+82.30 to +172.30)"},
		"its own elastic address":  {costing(nil, small, isUnknown, resource("aws_eip", `aws_eip.router["web-1"]`, map[string]any{"region": "eu-test-1"})), "82.30 to 172.30 USD a month (+82.30 to +172.30)"},
		"an elastic address, read": {costing(nil, machine("t3.small", map[string]any{"public_ip": "203.0.113.7"}), nil, resource("aws_eip", "aws_eip.x", map[string]any{"region": "eu-test-1", "public_ip": "203.0.113.7"})), "82.30 to 172.30 USD a month (+82.30 to +172.30)"},
		"another disk":             {costing(nil, small, nil, resource("aws_ebs_volume", "aws_ebs_volume.x", map[string]any{"availability_zone": "eu-test-1b", "type": "gp3", "size": 50.0})), "80.00 USD a month (+80.00)"},
		"no such type":             {costing(nil, machine("x9.huge", nil), nil), "2.00 USD a month (+2.00); price not known: x9.huge"},
		"spot":                     {costing(nil, machine("t3.small", map[string]any{"instance_market_options": []any{map[string]any{"market_type": "spot"}}}), nil), "2.00 USD a month (+2.00); price not known: t3.small (spot)"},
		"no such region":           {costing(nil, machine("t3.small", map[string]any{"availability_zone": "xx-none-1a"}), nil), "0.00 USD a month; price not known: t3.small and gp3 disks"},
	} {
		t.Run(name, func(t *testing.T) {
			if got := costOf(tt.plan, roles, prices).String(); got != tt.want {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
		})
	}
	if c := costOf(&tfjson.Plan{ResourceChanges: []*tfjson.ResourceChange{resource("lab_host", "lab_host.x", map[string]any{})}}, roles, prices); c != nil {
		t.Errorf("the lab costs %s", c)
	}
	details := strings.Join(costOf(costing(small, machine("t3.large", nil), nil), roles, prices).Details(), "\n")
	if want := "1 × t3.large 146.00, 1 × t3.small 73.00 → 0.00, 20 GiB gp3 2.00\nAWS' list prices of 2026-01-01 to 2026-02-01, without tax"; details != want {
		t.Errorf("got %s\nwant %s", details, want)
	}
}

// A plan that makes the environment dearer than max_monthly waits, with the figures, and its approval keeps them.
func TestMaxMonthly(t *testing.T) {
	small, dear := machine("t3.small", nil), machine("t3.large", nil)
	for name, tt := range map[string]struct {
		plan  *tfjson.Plan
		limit int
		waits string
	}{
		"no limit":            {costing(nil, dear, nil), 0, ""},
		"below":               {costing(nil, dear, nil), 148, ""},
		"above":               {costing(nil, dear, nil), 147, "it costs 148.00 USD a month (+148.00), and max_monthly is 147"},
		"above, but cheaper":  {costing(dear, small, nil), 10, ""},
		"above, and the same": {costing(dear, dear, nil), 10, ""},
		"not known":           {costing(nil, machine("x9.huge", nil), nil), 1000, "max_monthly is 1000, and the price of x9.huge is not known"},
		"not known, but old":  {costing(machine("x9.huge", nil), machine("x9.huge", nil), nil), 1000, ""},
	} {
		t.Run(name, func(t *testing.T) {
			w, p := workspaceFor(t), planA()
			p.Cost = costOf(tt.plan, nil, prices)
			r := reviewed(t, w, p, core.Review{MaxDestroy: -1, MaxMonthly: tt.limit})
			err := r.Err()
			if tt.waits == "" {
				if err != nil {
					t.Fatal(err)
				}
				return
			}
			if !errors.As(err, new(*WaitsError)) || !strings.HasSuffix(err.Error(), tt.waits) {
				t.Fatalf("got %v, want a wait that ends with %q", err, tt.waits)
			}
			if err := w.Decide(r, Decision{By: "alice", From: "here"}); err != nil || r.Err() != nil || r.Approval.Cost != p.Cost.String() {
				t.Errorf("approved: %v, %v, with cost %q", err, r.Err(), r.Approval.Cost)
			}
			again := reviewed(t, w, p, core.Review{MaxDestroy: -1, MaxMonthly: tt.limit})
			if again.Err() != nil || again.Approval.Cost != p.Cost.String() {
				t.Errorf("read again: %v, %+v", again.Err(), again.Approval)
			}
		})
	}
}
