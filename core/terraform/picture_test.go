package terraform

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	tfjson "github.com/hashicorp/terraform-json"

	"github.com/seed-b96de936/troop/core"
)

// The picture has each host in its zone and each incoming rule; a new host and a rule that goes are marked.
func TestNetwork(t *testing.T) {
	raw, err := os.ReadFile("testdata/ec2-outside.json")
	if err != nil {
		t.Fatal(err)
	}
	var shown tfjson.Plan
	if err := json.Unmarshal(raw, &shown); err != nil {
		t.Fatal(err)
	}
	p, err := read(&shown, raw, nil, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, z := range p.Network.Zones {
		for _, h := range z.Hosts {
			got = append(got, strings.TrimSpace(fmt.Sprintf("%s: %s (%s) %s", z.Name, h.Name, h.Role, h.Action)))
		}
	}
	for _, l := range p.Network.Links {
		got = append(got, strings.TrimSpace(fmt.Sprintf("%s → %v %s %s", l.From, l.To, l.Ports, l.Action)))
	}
	want := []string{
		"eu-central-1a: canary-1 (canary)", "eu-central-1a: router-1 (router)", "eu-central-1a: storage-1 (storage)", "eu-central-1a: web-1 (production) create",
		"0.0.0.0/0 → [storage-1] 6379/tcp destroy",
		"0.0.0.0/0 → [router-1] 80/tcp",
		"203.0.113.7/32 → [canary-1 router-1 storage-1 web-1] 22/tcp",
		"router-1 → [canary-1 web-1] 3000-3001/tcp",
		"every host → [storage-1] 22/tcp",
		"every host → [router-1] 6379/tcp",
	}
	if slices.Sort(got); !slices.Equal(got, slices.Sorted(slices.Values(want))) {
		t.Errorf("got\n%s", strings.Join(got, "\n"))
	}

	d := p.Network.Drawing()
	if len(d.Hosts) != 4 || len(d.Lines) != 10 || len(d.Sources) != 4 {
		t.Errorf("%d hosts, %d lines, %d sources", len(d.Hosts), len(d.Lines), len(d.Sources))
	}
	for _, box := range slices.Concat(d.Hosts, d.Sources, d.Zones) {
		if box.X < 0 || box.Y < 0 || box.X+box.W > d.Width || box.Y+box.H > d.Height {
			t.Errorf("%s is outside of the picture: %+v", box.Text, box)
		}
	}
	r := reviewed(t, workspaceFor(t), p, core.Review{MaxDestroy: -1})
	page, err := r.HTML()
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(string(page), `class="destroy head"`); n != 1 {
		t.Errorf("the page marks %d rules that go", n)
	}
}

// An environment without security groups, such as the lab, has no picture.
func TestNoNetwork(t *testing.T) {
	if p := readShown(t, shown); p.Network != nil {
		t.Errorf("got %+v", p.Network)
	}
}
