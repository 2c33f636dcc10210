package terraform

import (
	"cmp"
	"maps"
	"slices"

	tfjson "github.com/hashicorp/terraform-json"

	"github.com/seed-b96de936/troop/core"
)

// Network is where the hosts are and who may reach them, after a plan and with what the plan takes away.
type Network struct {
	Zones []Zone `json:"zones"`
	Links []Link `json:"links"`
}

// Zone holds the hosts of one availability zone.
type Zone struct {
	Name  string   `json:"name"`
	Hosts []Placed `json:"hosts"`
}

// Placed is a host in a zone.
type Placed struct {
	Name   core.HostName `json:"name"`
	Role   string        `json:"role"`
	Action Action        `json:"action,omitempty"` // empty: it stays
}

// Link is an incoming rule: who may reach which hosts.
type Link struct {
	From   string          `json:"from"`
	Ports  string          `json:"ports"`
	To     []core.HostName `json:"to"`
	Action Action          `json:"action,omitempty"` // create, destroy, or empty: it stays
}

// networkPlan returns the network of a plan; nil: it has no security groups.
func networkPlan(shown *tfjson.Plan, n network, roles map[string]string) *Network {
	zones, links := map[string][]Placed{}, map[reach]Action{}
	groups := false
	for _, r := range shown.ResourceChanges {
		if r.Mode != tfjson.ManagedResourceMode {
			continue
		}
		groups = groups || r.Type == "aws_security_group"
		before, after := n.reaches(r, r.Change.Before), n.reaches(r, r.Change.After)
		for _, x := range slices.Concat(before, after) {
			if x.out {
				continue
			}
			switch was, will := slices.Contains(before, x), slices.Contains(after, x); {
			case was && will:
				links[x] = ""
			case will:
				links[x] = Create
			default:
				links[x] = Destroy
			}
		}
		if host, role := hostOf(r.Address, roles); host != "" && r.Type == "aws_instance" {
			zone, _ := cmp.Or[any](object(r.Change.After)["availability_zone"], object(r.Change.Before)["availability_zone"], "zone known after apply").(string)
			action, _ := effectOf(r)
			zones[zone] = append(zones[zone], Placed{host, role, action})
		}
	}
	if !groups || len(zones) == 0 {
		return nil
	}
	all := &Network{}
	for _, name := range slices.Sorted(maps.Keys(zones)) {
		all.Zones = append(all.Zones, Zone{name, zones[name]})
	}
	for x, action := range links {
		link := Link{From: x.from, Ports: x.ports, Action: action}
		for _, host := range n.members[x.to] {
			if host != x.from {
				link.To = append(link.To, core.HostName(host))
			}
		}
		if len(link.To) > 0 {
			all.Links = append(all.Links, link)
		}
	}
	slices.SortFunc(all.Links, func(a, b Link) int {
		return cmp.Or(cmp.Compare(len(n.members[a.From]), len(n.members[b.From])), cmp.Compare(a.From, b.From), cmp.Compare(a.Ports, b.Ports), cmp.Compare(a.Action, b.Action))
	})
	return all
}

// Drawing is a network as boxes and lines, in the pixels of an SVG picture: who reaches on the left, hosts on the right.
type Drawing struct {
	Width, Height int
	Sources       []Box
	Zones         []Box
	Hosts         []Box
	Lines         []Line
}

// Box is a rectangle with a text and a smaller one.
type Box struct {
	X, Y, W, H  int
	Text, Small string
	Action      Action
}

// Line is a rule: from the edge of a box to that of another, with its ports.
type Line struct {
	X1, Y1, X2, Y2 int
	Bend, Flat     int // x of the curve's control points, and of where it goes on straight
	Ports          string
	Action         Action
}

// The measures of a drawing.
const (
	sourceWidth, hostWidth, gap = 190, 200, 250
	boxHeight, rowHeight        = 40, 56
	zoneHead, zonePad           = 30, 12
	labelWidth                  = 90
)

// Drawing lays the network out.
func (n *Network) Drawing() Drawing {
	left := sourceWidth + gap
	d := Drawing{Width: left + hostWidth + 2*zonePad}
	at, incoming := map[core.HostName]Box{}, map[core.HostName]int{}
	y := 0
	for _, zone := range n.Zones {
		box := Box{X: left, Y: y, W: hostWidth + 2*zonePad, H: zoneHead + len(zone.Hosts)*rowHeight, Text: zone.Name}
		for i, h := range zone.Hosts {
			host := Box{X: left + zonePad, Y: y + zoneHead + i*rowHeight, W: hostWidth, H: boxHeight, Text: string(h.Name), Small: h.Role, Action: h.Action}
			at[h.Name] = host
			d.Hosts = append(d.Hosts, host)
		}
		d.Zones = append(d.Zones, box)
		y += box.H + zonePad
	}
	d.Height = y
	sources := map[string]Box{}
	for _, link := range n.Links {
		if _, ok := sources[link.From]; ok {
			continue
		}
		box := Box{Y: len(sources)*rowHeight + zoneHead, W: sourceWidth, H: boxHeight, Text: link.From}
		if link.From == "0.0.0.0/0" || link.From == "::/0" {
			box.Small = "everybody"
		}
		sources[link.From] = box
		d.Sources = append(d.Sources, box)
		d.Height = max(d.Height, box.Y+rowHeight)
	}
	for _, link := range n.Links {
		for _, name := range link.To {
			from, to := sources[link.From], at[name]
			if to.W == 0 {
				continue // a host that the plan removed from its zone
			}
			incoming[name]++
			y := to.Y + 8 + (incoming[name]-1)*12%(boxHeight-8)
			d.Lines = append(d.Lines, Line{
				X1: from.W, Y1: from.Y + from.H/2, X2: to.X - 6, Y2: y,
				Bend: from.W + (gap-labelWidth)/2, Flat: from.W + gap - labelWidth, Ports: link.Ports, Action: link.Action,
			})
		}
	}
	return d
}
