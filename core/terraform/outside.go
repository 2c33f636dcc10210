package terraform

import (
	"cmp"
	"reflect"
	"regexp"
	"slices"
	"strings"

	tfjson "github.com/hashicorp/terraform-json"

	"github.com/seed-b96de936/troop/core"
)

// What Terraform calls resource drift holds every attribute that reads otherwise than when the state was written, also
// those that only the provider decides: a route table's routes, an instance's address after its elastic one was attached.
// Somebody changed something only if it is configured, or if it is one of these.
var watched = map[string]map[string]core.Concern{
	"aws_security_group": {"ingress": core.ConcernAccess, "egress": core.ConcernAccess},
	"aws_route_table":    {"route": core.ConcernAccess},
	"aws_instance": {
		"instance_state": core.ConcernGone, "ebs_block_device": core.ConcernDisk, "public_ip": "", "private_ip": "",
		"vpc_security_group_ids": core.ConcernAccess,
	},
}

// ruleTypes are resources that are one rule of a security group each.
var ruleTypes = []string{"aws_security_group_rule", "aws_vpc_security_group_ingress_rule", "aws_vpc_security_group_egress_rule"}

// outside divides changes since the last apply into what somebody changed, the heaviest first, and what the provider
// computed.
func outside(shown *tfjson.Plan, all []Change) (matter, computed []Change) {
	written := configurationOf(shown.Config)
	raw := map[string]*tfjson.Change{}
	for _, r := range shown.ResourceDrift {
		raw[r.Address] = r.Change
	}
	matter = []Change{}
	for _, c := range all {
		if c.Action == Destroy {
			c.Concern = core.ConcernGone
			if slices.Contains(ruleTypes, c.Type) {
				c.Concern = core.ConcernAccess
			}
			matter = append(matter, c)
			continue
		}
		heavy, light := c, c
		heavy.Attributes, light.Attributes = nil, nil
		first := true
		for _, a := range c.Attributes {
			concern, ok := c.concern(a.Name, raw[c.Address], written[plainAddress(c.Address)])
			if !ok {
				light.Attributes = append(light.Attributes, a)
				continue
			}
			heavy.Attributes = append(heavy.Attributes, a)
			if first || concern.Compare(heavy.Concern) < 0 {
				heavy.Concern, first = concern, false
			}
		}
		if len(heavy.Attributes) > 0 {
			matter = append(matter, heavy)
		}
		if len(light.Attributes) > 0 {
			light.Rules = nil
			computed = append(computed, light)
		}
	}
	slices.SortStableFunc(matter, func(a, b Change) int { return a.Concern.Compare(b.Concern) })
	return matter, computed
}

// concern returns what a changed attribute is about, and whether anybody changed it.
func (c Change) concern(name string, raw *tfjson.Change, written map[string]*tfjson.Expression) (core.Concern, bool) {
	if concern, ok := watched[c.Type][name]; ok {
		return concern, name != "ingress" && name != "egress" || len(c.Rules) > 0
	}
	changed := func(name string) bool {
		return !reflect.DeepEqual(given(object(raw.Before)[name]), given(object(raw.After)[name]))
	}
	switch {
	case !changed(name):
		return "", false // none, and an empty one
	case name == "tags_all":
		return core.ConcernTags, !changed("tags")
	}
	expression, ok := written[name]
	if !ok || same(expression, object(raw.Before)[name], object(raw.After)[name]) {
		return "", false
	}
	switch {
	case slices.Contains(ruleTypes, c.Type):
		return core.ConcernAccess, true
	case name == "tags":
		return core.ConcernTags, true
	case strings.HasSuffix(name, "block_device"), strings.HasPrefix(c.Type, "aws_ebs_"), c.Type == "aws_volume_attachment":
		return core.ConcernDisk, true
	}
	return "", true
}

// given is a value, or nil if it is empty.
func given(v any) any {
	switch x := v.(type) {
	case string:
		if x == "" {
			return nil
		}
	case []any:
		if len(x) == 0 {
			return nil
		}
	case map[string]any:
		if len(x) == 0 {
			return nil
		}
	}
	return v
}

// same reports whether two values of a nested block agree in all that the configuration gives. Other expressions give the
// whole value.
func same(e *tfjson.Expression, before, after any) bool {
	if e == nil || e.ExpressionData == nil || len(e.NestedBlocks) == 0 {
		return false
	}
	b, okBefore := before.([]any)
	a, okAfter := after.([]any)
	if !okBefore || !okAfter || len(a) != len(b) {
		return false
	}
	for i := range a {
		one, other := object(b[i]), object(a[i])
		for _, block := range e.NestedBlocks {
			for name, inner := range block {
				if !reflect.DeepEqual(given(one[name]), given(other[name])) && !same(inner, one[name], other[name]) {
					return false
				}
			}
		}
	}
	return true
}

// foreignRules are the rules that a plan would take away from security groups, or add to them, as drift, apart from those
// that the plan's drift has already.
func foreignRules(p *Plan) []Change {
	var all []Change
	for _, c := range p.Changes {
		known := slices.ContainsFunc(p.Drift, func(d Change) bool { return d.Address == c.Address })
		if c.Type != "aws_security_group" || c.Action != Update || len(c.Rules) == 0 || known {
			continue
		}
		d := Change{Address: c.Address, Type: c.Type, Host: c.Host, Role: c.Role, Action: Update, Concern: core.ConcernAccess}
		for _, r := range c.Rules {
			if r.Action == Create {
				d.Rules = append(d.Rules, Rule{Destroy, r.Text})
			} else {
				d.Rules = append(d.Rules, Rule{Create, r.Text})
			}
		}
		all = append(all, d)
	}
	return all
}

// configuration holds the expressions of every resource of a module and its child modules by address without indexes.
type configuration map[string]map[string]*tfjson.Expression

func configurationOf(c *tfjson.Config) configuration {
	all := configuration{}
	if c != nil {
		all.add("", c.RootModule)
	}
	return all
}

func (all configuration) add(prefix string, m *tfjson.ConfigModule) {
	if m == nil {
		return
	}
	for _, r := range m.Resources {
		all[prefix+r.Address] = r.Expressions
	}
	for name, call := range m.ModuleCalls {
		all.add(prefix+"module."+name+".", call.Module)
	}
}

var index = regexp.MustCompile(`\[(?:\d+|"(?:[^"\\]|\\.)*")\]`)

// plainAddress is an address without its indexes.
func plainAddress(address string) string { return index.ReplaceAllString(address, "") }

// hostOf returns the host that a resource belongs to: the one whose name is an index in its address, of the resource
// itself or of a module around it.
func hostOf(address string, roles map[string]string) (host core.HostName, role string) {
	for _, key := range index.FindAllString(address, -1) {
		name := strings.Trim(key, `[]"`)
		if role, ok := roles[name]; ok {
			return core.HostName(name), role
		}
	}
	return "", ""
}

// Differences are what a changed resource says to people: who may reach whom, else the attributes.
func (c Change) Differences() []core.Difference {
	about := func(what, detail string) core.Difference {
		return core.Difference{Layer: "terraform", What: what, Detail: detail, Concern: c.Concern}
	}
	if c.Action == Destroy {
		what := c.Address
		if c.Host != "" && c.Concern == core.ConcernGone {
			what = string(c.Host) + ": " + c.Address
		}
		return []core.Difference{about(what, "it no longer exists")}
	}
	all := []core.Difference{}
	for _, r := range c.Rules {
		s := "opened by somebody, the module does not say so"
		if r.Action == Destroy {
			s = "closed by somebody, the module says so"
		}
		all = append(all, about(r.Text, s+" ("+c.Address+")"))
	}
	for _, a := range c.Attributes {
		if len(c.Rules) > 0 && (a.Name == "ingress" || a.Name == "egress") {
			continue
		}
		all = append(all, about(c.Address, a.Name+": "+cmp.Or(a.Before, "none")+" → "+cmp.Or(a.After, "none")))
	}
	return all
}
