package terraform

import (
	"encoding/json"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	tfjson "github.com/hashicorp/terraform-json"

	"github.com/seed-b96de936/troop/core"
)

// planned is a plan whose state has a VPC and its route table, and that makes two subnets, a route and a key.
const planned = `{
  "format_version": "1.2",
  "prior_state": {"format_version": "1.0", "values": {"root_module": {"resources": [
    {"address": "aws_vpc.this", "mode": "managed", "type": "aws_vpc", "values": {"id": "vpc-1"}},
    {"address": "aws_route_table.this", "mode": "managed", "type": "aws_route_table", "values": {"id": "rtb-1"}},
    {"address": "data.aws_subnet.given", "mode": "data", "type": "aws_subnet", "values": {"id": "subnet-9"}}
  ]}}},
  "resource_changes": [
    {"address": "aws_subnet.this[\"a\"]", "mode": "managed", "type": "aws_subnet",
     "change": {"actions": ["create"], "after": {"tags_all": {"Name": "troop-lab-a", "troop:environment": "lab"}}}},
    {"address": "aws_subnet.this[\"b\"]", "mode": "managed", "type": "aws_subnet",
     "change": {"actions": ["create"], "after": {"tags_all": {"Name": "troop-lab-b", "troop:environment": "lab"}}}},
    {"address": "aws_route.internet", "mode": "managed", "type": "aws_route",
     "change": {"actions": ["create"], "after": {"route_table_id": "rtb-1", "destination_cidr_block": "0.0.0.0/0"}}},
    {"address": "aws_key_pair.this", "mode": "managed", "type": "aws_key_pair",
     "change": {"actions": ["create"], "importing": {"id": "troop-lab-1"}, "after": {"tags_all": {"troop:environment": "lab"}}}}
  ]
}`

func lab(kind, id, name string) core.Tagged {
	return core.Tagged{
		Type: kind, ID: id, Import: id, Values: map[string]string{"id": id},
		Tags: map[string]string{"Name": name, "troop:environment": "lab"},
	}
}

func TestOrphans(t *testing.T) {
	var shown tfjson.Plan
	if err := json.Unmarshal([]byte(planned), &shown); err != nil {
		t.Fatal(err)
	}
	route := func(table, to string) core.Tagged {
		return core.Tagged{Type: "aws_route", Import: table + "_" + to, Values: map[string]string{"route_table_id": table, "destination_cidr_block": to}}
	}
	key := lab("aws_key_pair", "key-1", "")
	key.Import, key.Values = "troop-lab-1", map[string]string{"key_pair_id": "key-1"}
	found := []core.Tagged{
		lab("aws_vpc", "vpc-1", "troop-lab"),          // in the state
		lab("aws_vpc", "vpc-2", "troop-lab"),          // of an earlier attempt: no new resource is like it
		lab("aws_subnet", "subnet-a", "troop-lab-a"),  // like a new one
		lab("aws_subnet", "subnet-b1", "troop-lab-b"), // two are like one new one
		lab("aws_subnet", "subnet-b2", "troop-lab-b"),
		lab("aws_subnet", "subnet-9", "troop-lab-9"), // read by a data source, which does not own it
		lab("aws_route_table", "rtb-1", "troop-lab"),
		lab("aws_route_table", "rtb-2", "troop-lab"),
		route("rtb-1", "0.0.0.0/0"),   // in the way of a new one
		route("rtb-1", "10.9.0.0/16"), // somebody's
		route("rtb-2", "0.0.0.0/0"),   // goes along with its table
		{Type: "network-interface", ID: "eni-1", Tags: map[string]string{"troop:environment": "lab"}},
		key, // imported by the plan
	}
	var names []string
	for _, o := range orphans(found, &shown) {
		names = append(names, o.String())
	}
	want := []string{
		"aws_vpc vpc-2 troop-lab", "aws_subnet subnet-a troop-lab-a", "aws_subnet subnet-b1 troop-lab-b", "aws_subnet subnet-b2 troop-lab-b",
		"aws_subnet subnet-9 troop-lab-9", "aws_route_table rtb-2 troop-lab", "aws_route rtb-1_0.0.0.0/0", "network-interface eni-1",
	}
	if !slices.Equal(names, want) {
		t.Errorf("orphans:\n%s\nwant:\n%s", strings.Join(names, "\n"), strings.Join(want, "\n"))
	}

	pairs := map[string]string{}
	for address, f := range adoptable(found, &shown) {
		pairs[address] = f.Import
	}
	if want := map[string]string{`aws_subnet.this["a"]`: "subnet-a", "aws_route.internet": "rtb-1_0.0.0.0/0"}; !maps.Equal(pairs, want) {
		t.Errorf("to adopt: %v, want %v", pairs, want)
	}
}

func TestOrphanLines(t *testing.T) {
	p := &Plan{Orphans: []core.Tagged{lab("aws_vpc", "vpc-2", "troop-lab")}}
	r := &Review{Environment: "lab", Plan: p, arguments: " shop.hcl --env lab"}
	text := strings.Join(r.Lines(), "\n")
	for _, want := range []string{
		"! 1 resource has the tags of the environment and is in no state", "!   aws_vpc vpc-2 troop-lab",
		"! take them in: troop state adopt shop.hcl --env lab; or remove them: troop state orphans --remove shop.hcl --env lab",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("%s\nwant: %s", text, want)
		}
	}
	html, err := r.HTML()
	if err != nil || !strings.Contains(string(html), "<li><code>aws_vpc vpc-2 troop-lab</code></li>") {
		t.Errorf("page: %v\n%s", err, html)
	}
}

func TestWriteImports(t *testing.T) {
	w := workspaceFor(t)
	if err := w.writeImports(map[string]core.Tagged{`aws_route.this["${a}"]`: {Import: `rtb-1_${0}"`}}); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(w.importsFile())
	if err != nil {
		t.Fatal(err)
	}
	if want := "import {\n  to = aws_route.this[\"${a}\"]\n  id = \"rtb-1_$${0}\\\"\"\n}\n"; string(text) != want {
		t.Errorf("imports:\n%s\nwant:\n%s", text, want)
	}
	for range 2 {
		if err := w.writeImports(nil); err != nil {
			t.Error(err)
		}
	}
}
