package terraform

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	tfjson "github.com/hashicorp/terraform-json"

	"github.com/seed-b96de936/troop/core/price"
)

// Cost is what the EC2 resources of an environment cost in a month, in US dollars at list prices.
type Cost struct {
	Before  Range      `json:"before"`
	After   Range      `json:"after"`
	Parts   []CostPart `json:"parts"`             // of After, and what goes
	Unknown []string   `json:"unknown,omitempty"` // what has no price, after the plan
	New     []string   `json:"new,omitempty"`     // of Unknown: what was not there before
	Oldest  string     `json:"oldest,omitempty"`  // date of the oldest price
	Newest  string     `json:"newest,omitempty"`
}

// Range is from what runs whatever the use, to what also use costs.
type Range struct {
	Low  float64 `json:"low"`
	High float64 `json:"high"`
}

// CostPart is the cost of one kind of thing.
type CostPart struct {
	What   string `json:"what"`
	Before Range  `json:"before"`
	After  Range  `json:"after"`
}

const (
	hoursOfMonth = 730
	freeData     = 100   // GB to the internet that a month has free
	muchData     = 1_000 // GB to the internet that High counts with
)

func (r Range) String() string {
	low, high := fmt.Sprintf("%.2f", r.Low), fmt.Sprintf("%.2f", r.High)
	if low == high {
		return low
	}
	return low + " to " + high
}

// String is the cost after the plan with the difference and what has no price.
func (c *Cost) String() string {
	if len(c.Unknown) > 0 {
		return c.figures() + "; price not known: " + list(c.Unknown)
	}
	return c.figures()
}

func (c *Cost) figures() string {
	s := c.After.String() + " USD a month"
	if d := (Range{c.After.Low - c.Before.Low, c.After.High - c.Before.High}); d != (Range{}) {
		low, high := fmt.Sprintf("%+.2f", d.Low), fmt.Sprintf("%+.2f", d.High)
		if low != high {
			low += " to " + high
		}
		s += " (" + low + ")"
	}
	return s
}

// over says why the plan's cost exceeds a limit; empty: it does not, or the plan makes nothing dearer.
func (c *Cost) over(limit int) string {
	switch {
	case c == nil || limit == 0:
		return ""
	case c.After.Low > float64(limit) && c.After.Low > c.Before.Low:
		return fmt.Sprintf("it costs %s, and max_monthly is %d", c.figures(), limit)
	case len(c.New) > 0:
		return fmt.Sprintf("max_monthly is %d, and the price of %s is not known", limit, list(c.New))
	}
	return ""
}

// Details are the cost's parts, and where the prices are from.
func (c *Cost) Details() []string {
	var lines, parts []string
	for _, p := range c.Parts {
		if p.Before == p.After || p.Before == (Range{}) {
			parts = append(parts, p.What+" "+p.After.String())
		} else {
			parts = append(parts, fmt.Sprintf("%s %s → %s", p.What, p.Before, p.After))
		}
	}
	if len(parts) > 0 {
		lines = append(lines, strings.Join(parts, ", "))
	}
	if c.Oldest != "" {
		dates := c.Oldest
		if c.Newest != c.Oldest {
			dates += " to " + c.Newest
		}
		lines = append(lines, "AWS' list prices of "+dates+", without tax")
	}
	return lines
}

// thing is what has a price: so much of one kind in a region.
type thing struct{ region, kind, name string }

// amounts are quantities in the price's unit.
type amounts map[thing]Range

func (a amounts) add(t thing, low, high float64) {
	r := a[t]
	a[t] = Range{r.Low + low, r.High + high}
}

// costOf returns the cost of a plan; nil: it has nothing that the table of prices knows a kind of.
func costOf(shown *tfjson.Plan, roles map[string]string, prices *price.Table) *Cost {
	before, after := bill{amounts: amounts{}}, bill{amounts: amounts{}}
	for _, b := range []struct {
		*bill
		values func(*tfjson.Change) (map[string]any, map[string]any)
	}{
		{&before, func(c *tfjson.Change) (map[string]any, map[string]any) { return object(c.Before), nil }},
		{&after, func(c *tfjson.Change) (map[string]any, map[string]any) {
			return object(c.After), object(c.AfterUnknown)
		}},
	} {
		b.region = regionOf(shown)
		b.of(shown.ResourceChanges, roles, b.values)
	}
	things := slices.SortedFunc(maps.Keys(merged(before.amounts, after.amounts)), func(a, b thing) int {
		order := []string{price.Instances, price.Disks, price.Addresses, price.Data}
		return cmp.Or(cmp.Compare(slices.Index(order, a.kind), slices.Index(order, b.kind)), cmp.Compare(a.name, b.name), cmp.Compare(a.region, b.region))
	})
	if len(things) == 0 {
		return nil
	}
	c := &Cost{}
	for _, t := range things {
		c.add(t, before.amounts[t], after.amounts[t], prices)
	}
	return c
}

func merged(a, b amounts) amounts {
	all := maps.Clone(a)
	maps.Copy(all, b)
	return all
}

// add adds a thing with its quantities before and after.
func (c *Cost) add(t thing, before, after Range, prices *price.Table) {
	usd, date, ok := prices.Of(t.region, t.kind, t.name)
	if !ok {
		if after.High > 0 {
			c.Unknown = append(c.Unknown, t.named())
			if before.High == 0 && t.kind != price.Data {
				c.New = append(c.New, t.named())
			}
		}
		return
	}
	part := CostPart{t.counted(max(before.High, after.High)), before.times(usd), after.times(usd)}
	c.Parts = append(c.Parts, part)
	c.Before, c.After = c.Before.plus(part.Before), c.After.plus(part.After)
	if c.Oldest == "" || date < c.Oldest {
		c.Oldest = date
	}
	c.Newest = max(c.Newest, date)
}

func (r Range) times(x float64) Range  { return Range{r.Low * x, r.High * x} }
func (r Range) plus(other Range) Range { return Range{r.Low + other.Low, r.High + other.High} }

// named is a thing without a price.
func (t thing) named() string {
	switch t.kind {
	case price.Disks:
		return t.name + " disks"
	case price.Addresses:
		return "public addresses"
	case price.Data:
		return "data to the internet"
	}
	return t.name
}

// counted is a thing with its quantity.
func (t thing) counted(n float64) string {
	switch t.kind {
	case price.Disks:
		return fmt.Sprintf("%g GiB %s", n, t.name)
	case price.Addresses:
		return fmt.Sprintf("%g public addresses", n/hoursOfMonth)
	case price.Data:
		return fmt.Sprintf("up to %d GB to the internet", muchData)
	}
	return fmt.Sprintf("%g × %s", n/hoursOfMonth, t.name)
}

// bill counts what the resources of a plan are, on one side of it.
type bill struct {
	region  string // where a resource does not tell
	amounts amounts
}

// of counts resources. values returns a resource's values and marks of those not known yet.
func (b *bill) of(resources []*tfjson.ResourceChange, roles map[string]string, values func(*tfjson.Change) (map[string]any, map[string]any)) {
	volumes, mapped, elastic, taken := false, false, map[string]bool{}, map[any]bool{}
	for _, r := range resources {
		v, _ := values(r.Change)
		volumes = volumes || r.Type == "aws_ebs_volume"
		mapped = mapped || r.Type == "aws_subnet" && v["map_public_ip_on_launch"] == true
		if host, _ := hostOf(r.Address, roles); r.Type == "aws_eip" && v != nil {
			elastic[string(host)] = true
			taken[v["public_ip"]] = true
		}
	}
	for _, r := range resources {
		v, unknown := values(r.Change)
		if v == nil || r.Mode != tfjson.ManagedResourceMode {
			continue
		}
		switch r.Type {
		case "aws_ebs_volume":
			b.disk(b.at(v), v["type"], v["size"])
		case "aws_eip":
			b.amounts.add(thing{b.at(v), price.Addresses, "public"}, hoursOfMonth, hoursOfMonth)
		case "aws_instance":
			region := b.at(v)
			b.amounts.add(thing{region, price.Instances, instance(v)}, hoursOfMonth, hoursOfMonth)
			disks := array(v["root_block_device"])
			if !volumes { // else these are the volumes that are attached
				disks = slices.Concat(disks, array(v["ebs_block_device"]))
			}
			for _, d := range disks {
				b.disk(region, object(d)["volume_type"], object(d)["volume_size"])
			}
			host, _ := hostOf(r.Address, roles)
			public := v["associate_public_ip_address"] == true || v["public_ip"] != nil && v["public_ip"] != ""
			switch {
			case host != "" && elastic[string(host)] || taken[v["public_ip"]] && v["public_ip"] != nil: // counted with the elastic address
			case public || marked(unknown["associate_public_ip_address"]) && mapped:
				b.amounts.add(thing{region, price.Addresses, "public"}, hoursOfMonth, hoursOfMonth)
			case marked(unknown["associate_public_ip_address"]):
				b.amounts.add(thing{region, price.Addresses, "public"}, 0, hoursOfMonth)
			}
		}
	}
	for t := range maps.Clone(b.amounts) {
		if t.kind == price.Addresses {
			b.amounts[thing{t.region, price.Data, "out"}] = Range{0, muchData - freeData}
		}
	}
}

// instance is an instance's type, with what gives it another price.
func instance(v map[string]any) string {
	name, _ := v["instance_type"].(string)
	name = cmp.Or(name, "an instance of a type known after apply")
	if tenancy, _ := v["tenancy"].(string); tenancy != "" && tenancy != "default" {
		name += " (" + tenancy + ")"
	}
	if len(array(v["instance_market_options"])) > 0 {
		name += " (spot)"
	}
	return name
}

func (b *bill) disk(region string, kind, size any) {
	name, _ := kind.(string)
	gib, ok := size.(float64)
	if !ok || gib == 0 {
		gib, name = 1, cmp.Or(name, "root")+" (size known after apply)"
	}
	b.amounts.add(thing{region, price.Disks, cmp.Or(name, "gp2")}, gib, gib)
}

// regionOf is the variable region, or what a provider block of the root module says.
func regionOf(shown *tfjson.Plan) (region string) {
	if v := shown.Variables["region"]; v != nil {
		region, _ = v.Value.(string)
		return region
	}
	if shown.Config == nil || shown.Config.ProviderConfigs["aws"] == nil {
		return ""
	}
	if e := shown.Config.ProviderConfigs["aws"].Expressions["region"]; e != nil && e.ExpressionData != nil {
		region, _ = e.ConstantValue.(string)
	}
	return region
}

// at is the region of a resource: its attribute since version 6 of the provider, or its zone's, or the variable's.
func (b *bill) at(v map[string]any) string {
	region, _ := v["region"].(string)
	zone, _ := v["availability_zone"].(string)
	if at := cmp.Or(region, strings.TrimRight(zone, "abcdefghijklmnopqrstuvwxyz")); at != "" {
		b.region = at
	}
	return b.region
}
