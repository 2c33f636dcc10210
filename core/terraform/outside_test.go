package terraform

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"

	tfjson "github.com/hashicorp/terraform-json"
)

// A table gets its routes from resources of their own, which it learns late; any other route is somebody's.
func TestRoutesOfATable(t *testing.T) {
	const plan = `{
  "format_version": "1.2",
  "prior_state": {"format_version": "1.0", "values": {"root_module": {"resources": [
    {"address": "aws_route.internet", "mode": "managed", "type": "aws_route", "values": {"route_table_id": "rtb-1", "destination_cidr_block": "0.0.0.0/0"}}
  ]}}},
  "resource_drift": [
    {"address": "aws_route_table.this", "mode": "managed", "type": "aws_route_table", "change": {"actions": ["update"],
      "before": {"id": "rtb-1", "route": %s}, "after": {"id": "rtb-1", "route": %s}}}
  ]
}`
	const own, foreign = `{"cidr_block": "0.0.0.0/0", "gateway_id": "igw-1"}`, `{"cidr_block": "10.9.0.0/16", "gateway_id": "pcx-1"}`
	for name, x := range map[string]struct {
		before, after string
		somebody      bool
	}{
		"its own route":   {"[]", "[" + own + "]", false},
		"a foreign route": {"[]", "[" + own + "," + foreign + "]", true},
		"a route is gone": {"[" + foreign + "]", "[" + own + "]", true},
	} {
		text := fmt.Appendf(nil, plan, x.before, x.after)
		var shown tfjson.Plan
		if err := json.Unmarshal(text, &shown); err != nil {
			t.Fatal(err)
		}
		p, err := read(&shown, text, nil, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		if somebody := len(p.Drift) > 0; somebody != x.somebody || somebody == (len(p.Computed) > 0) {
			t.Errorf("%s: changed outside %v, computed %v", name, p.Drift, p.Computed)
		}
	}
}
