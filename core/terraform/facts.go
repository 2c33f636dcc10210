package terraform

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	tfjson "github.com/hashicorp/terraform-json"
)

// images are the machine images that a plan has looked up, by ID.
type images map[string]map[string]any

func imagesOf(shown *tfjson.Plan) images {
	all := images{}
	if shown.PriorState == nil || shown.PriorState.Values == nil {
		return all
	}
	var walk func(m *tfjson.StateModule)
	walk = func(m *tfjson.StateModule) {
		if m == nil {
			return
		}
		for _, r := range m.Resources {
			if id, ok := r.AttributeValues["id"].(string); ok && r.Mode == tfjson.DataResourceMode && r.Type == "aws_ami" {
				all[id] = r.AttributeValues
			}
		}
		for _, child := range m.ChildModules {
			walk(child)
		}
	}
	walk(shown.PriorState.Values.RootModule)
	return all
}

// decided are attributes that say what a new resource is, by the end of their names, in the order in which they are told.
var decided = []string{"instance_type", "type", "availability_zone", "cidr_block", "destination_cidr_block", "size", "disk", "memory", "cpus", "address", "bucket", "device_name", "role", "name", "name_prefix"}

// facts says in a line what a new resource is. now dates an image.
func facts(r *tfjson.ResourceChange, known images, now time.Time) string {
	after, hidden := object(r.Change.After), object(r.Change.AfterSensitive)
	if r.Change.AfterSensitive == true {
		return ""
	}
	say := func(name string) string {
		if marked(hidden[name]) || after[name] == nil {
			return ""
		}
		return strings.Trim(text(after[name]), `"`)
	}
	if r.Type != "aws_instance" {
		var all []string
		for _, name := range decided {
			switch s := say(name); {
			case s == "", s == "{}", s == "[]":
			case name == "size" && strings.HasPrefix(r.Type, "aws_"):
				all = append(all, s+" GiB")
			case name == "name_prefix" && say("name") != "":
			default:
				all = append(all, s)
			}
		}
		return strings.Join(all, ", ")
	}
	all := []string{strings.TrimSuffix(say("instance_type")+" in "+cmp.Or(say("availability_zone"), "a zone known after apply"), " in ")}
	image := say("ami")
	if data, ok := known[image]; ok {
		if name, ok := data["name"].(string); ok && name != "" {
			image = name
		}
		if created, ok := data["creation_date"].(string); ok {
			if t, err := time.Parse(time.RFC3339, created); err == nil {
				image += " (" + days(now.Sub(t)) + ")"
			}
		}
	}
	all = append(all, cmp.Or(image, "an image known after apply"))
	if disks := array(after["root_block_device"]); len(disks) > 0 && !marked(hidden["root_block_device"]) {
		all = append(all, disk(object(disks[0])))
	}
	return strings.Join(slices.DeleteFunc(all, func(s string) bool { return s == "" }), ", ")
}

// addressesOf says for each host after the plan which address it will have.
func addressesOf(shown *tfjson.Plan, roles map[string]string) map[string]string {
	all := map[string]string{}
	change := shown.OutputChanges[output]
	if change == nil || marked(change.AfterSensitive) {
		return all
	}
	for name, host := range object(change.After) {
		all[name] = cmp.Or(addressOf(object(host)), "an address known after apply")
	}
	for _, r := range shown.ResourceChanges {
		if host, _ := hostOf(r.Address, roles); r.Type == "aws_eip" && r.Change.Actions.Create() && host != "" {
			all[string(host)] = "a new elastic address"
		}
	}
	return all
}

func disk(d map[string]any) string {
	s := ""
	if size := figure(d, "volume_size"); size != "0" {
		s = size + " GiB "
	}
	if kind, ok := d["volume_type"].(string); ok {
		s += kind + " "
	}
	if d["encrypted"] == true {
		s += "encrypted "
	}
	return strings.TrimSpace(s)
}

func days(age time.Duration) string {
	switch n := int(age.Hours() / 24); {
	case n < 1:
		return "made today"
	case n == 1:
		return "1 day old"
	default:
		return fmt.Sprintf("%d days old", n)
	}
}

// HostChange is a change in the output "hosts".
type HostChange struct {
	Host   string `json:"host"`
	Action Action `json:"action"`
	Text   string `json:"text"`
}

// hostChanges compares the output "hosts" before and after.
func hostChanges(c *tfjson.Change) []HostChange {
	if c == nil || c.Actions.NoOp() || marked(c.BeforeSensitive) || marked(c.AfterSensitive) {
		return nil
	}
	before, after := object(c.Before), object(c.After)
	names := map[string]bool{}
	for _, m := range []map[string]any{before, after} {
		for name := range m {
			names[name] = true
		}
	}
	var all []HostChange
	for name := range names {
		was, will := object(before[name]), object(after[name])
		role := cmp.Or(roleOf(will), roleOf(was))
		switch {
		case was == nil:
			all = append(all, HostChange{name, Create, strings.TrimSpace(fmt.Sprintf("(%s) %s", role, addressOf(will)))})
		case will == nil:
			all = append(all, HostChange{name, Destroy, strings.TrimSpace(fmt.Sprintf("(%s) %s", role, addressOf(was)))})
		default:
			for _, key := range []string{"role", "roles", "address", "private_address", "user", "port", "host_key", "jump", "ssm"} {
				b, a := text(was[key]), text(will[key])
				if marked(object(object(c.AfterUnknown)[name])[key]) {
					a = unknown
				}
				if b != a {
					all = append(all, HostChange{name, Update, fmt.Sprintf("%s: %s → %s", key, cmp.Or(b, "none"), cmp.Or(a, "none"))})
				}
			}
		}
	}
	slices.SortFunc(all, func(a, b HostChange) int { return cmp.Or(cmp.Compare(a.Host, b.Host), cmp.Compare(a.Text, b.Text)) })
	return all
}

// roleOf is the role, or are the roles, of a host in the output.
func roleOf(host map[string]any) string {
	role, _ := host["role"].(string)
	for _, r := range array(host["roles"]) {
		if s, ok := r.(string); ok && s != role {
			role = strings.TrimPrefix(role+", "+s, ", ")
		}
	}
	return role
}

func addressOf(host map[string]any) string {
	if s, ok := host["address"].(string); ok {
		return "at " + s
	}
	return ""
}
