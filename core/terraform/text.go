package terraform

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/seed-b96de936/troop/core"
	"github.com/seed-b96de936/troop/core/plain"
)

// Mark is the symbol of an action in front of a resource.
func (a Action) Mark() string {
	switch a {
	case Create:
		return "+"
	case Update:
		return "~"
	case Replace:
		return "±"
	case Destroy:
		return "-"
	case Import, Move:
		return ">"
	}
	return "∅"
}

// Group holds the changes of one host, or of resources that belong to no host.
type Group struct {
	Host    core.HostName
	Role    string
	Changes []Change
}

// Groups are the plan's changes by role and host.
func (p *Plan) Groups() []Group {
	var all []Group
	for _, c := range p.Changes {
		if n := len(all); n == 0 || all[n-1].Host != c.Host || all[n-1].Role != c.Role {
			all = append(all, Group{Host: c.Host, Role: c.Role})
		}
		g := &all[len(all)-1]
		g.Changes = append(g.Changes, c)
	}
	return all
}

// Title is a group's heading.
func (g Group) Title() string {
	switch {
	case g.Host == "":
		return "of no host"
	case g.Role == "":
		return string(g.Host)
	}
	return fmt.Sprintf("%s (%s)", g.Host, g.Role)
}

// Lines is the review as text for people: a new resource is a line, and rules of security groups are sentences.
func (r *Review) Lines() []string { return r.lines(false) }

// Verbose is Lines with every attribute, also those known only after apply.
func (r *Review) Verbose() []string { return r.lines(true) }

func (r *Review) lines(verbose bool) []string {
	var lines []string
	say := func(format string, args ...any) { lines = append(lines, fmt.Sprintf(format, args...)) }
	if r.Lock != nil {
		say("! the state is locked by %s; apply frees the lock", r.Lock)
	}
	lines = append(lines, r.orphanLines(r.arguments)...)
	for _, d := range r.Drift {
		for _, x := range d.Differences() {
			say("! changed outside of Terraform: %s", x)
		}
	}
	if verbose {
		for _, d := range r.Computed {
			for _, x := range d.Differences() {
				say("computed anew: %s", x)
			}
		}
	}
	for _, w := range r.Warnings {
		say("warning: %s", plain.Line(w))
	}
	switch n := len(r.Given); n {
	case 0:
	case 1:
		say("1 host is given: %s", r.Given[0])
	default:
		say("%d hosts are given", n)
		for _, host := range r.Given {
			say("  %s", host)
		}
	}
	if r.Empty() {
		say("environment %s: %s", r.Environment, r.Summary())
		return lines
	}
	for _, g := range r.Groups() {
		say("%s", g.Title())
		for _, c := range g.Changes {
			lines = append(lines, c.lines(verbose)...)
		}
	}
	for i, line := range r.HostLines() {
		if i == 0 {
			say("hosts for troop (output \"hosts\")")
		}
		say("  %s", line)
	}
	if len(r.Capacity) > 0 {
		say("capacity")
	}
	for _, c := range r.Capacity {
		say("  %s: %s", c.Name, strings.Join(c.Figures(), ", "))
	}
	if r.Since != nil {
		say("before: %s", r.Since)
	}
	if r.Cost != nil {
		say("cost: %s", r.Cost)
		for _, line := range r.Cost.Details() {
			say("  %s", line)
		}
	}
	say("environment %s: %s (plan %s)", r.Environment, r.Summary(), r.Name())
	if r.Costly != "" {
		say("waits for approval: %s", r.Costly)
	}
	for _, f := range r.Findings {
		if f.Severity != "error" {
			say("warning: %s: %s", place(f), f.Message)
		}
	}
	for _, reason := range r.Refused {
		say("refused: %s", reason)
	}
	if r.Approval != nil {
		say("approved by %s", r.Approval)
	}
	return lines
}

// HostLines are the changes of the output "hosts" that no resource of the host explains.
func (p *Plan) HostLines() []string {
	var lines []string
	for _, h := range p.Hosts {
		if slices.ContainsFunc(p.Changes, func(c Change) bool { return string(c.Host) == h.Host && c.Action != Move }) {
			continue
		}
		lines = append(lines, fmt.Sprintf("%s %s %s", h.Action.Mark(), h.Host, h.Text))
	}
	return lines
}

// Origin says where a resource is moved from, or as what it is imported; empty: it is neither.
func (c Change) Origin() string {
	switch {
	case c.From == "":
		return ""
	case c.Action == Move:
		return "from " + c.From
	case c.Action == Import:
		return "as " + c.From
	}
	return "(imported as " + c.From + ")"
}

func (c Change) lines(verbose bool) []string {
	head := strings.TrimRight(fmt.Sprintf("  %s %s %s %s", c.Action.Mark(), c.Action, c.Address, c.Origin()), " ")
	if c.Facts != "" {
		head += ": " + c.Facts
	}
	if c.Reason != "" {
		head += "  # " + c.Reason
	}
	lines := []string{head}
	for _, r := range c.Rules {
		lines = append(lines, "      "+r.Action.Mark()+" "+r.Text)
	}
	if verbose || c.Action == Update || c.Action == Replace {
		lines = append(lines, c.attributeLines(verbose)...)
	}
	if len(c.Unknown) > 0 && verbose {
		lines = append(lines, "      known after apply: "+strings.Join(c.Unknown, ", "))
	}
	return lines
}

func (c Change) attributeLines(verbose bool) []string {
	var lines []string
	for _, a := range c.Attributes {
		said := len(c.Rules) > 0 && (a.Name == "ingress" || a.Name == "egress")
		if (a.After == unknown && !a.Forces) || (said || a.Name == "tags_all") && !verbose {
			continue
		}
		line := fmt.Sprintf("      %s: %s → %s", a.Name, cmp.Or(a.Before, "none"), cmp.Or(a.After, "none"))
		if c.Action == Create || c.Action == Destroy {
			line = fmt.Sprintf("      %s: %s", a.Name, cmp.Or(a.After, a.Before, "none"))
		}
		if a.Forces {
			line += "  # forces replacement"
		}
		lines = append(lines, line)
	}
	return lines
}

// Figures lists the capacity's figures by name, with the old value if it changes. Nested objects, such as hosts by zone,
// count as figures.
func (c Capacity) Figures() []string {
	before, after := flat(c.Before), flat(c.After)
	names := slices.Concat(slices.Collect(maps.Keys(before)), slices.Collect(maps.Keys(after)))
	slices.Sort(names)
	var all []string
	for _, name := range slices.Compact(names) {
		was, will := figure(before, name), figure(after, name)
		if was == will {
			all = append(all, name+" "+will)
		} else {
			all = append(all, name+" "+was+" → "+will)
		}
	}
	return all
}

func flat(m map[string]any) map[string]any {
	out := map[string]any{}
	for name, v := range m {
		if inner, ok := v.(map[string]any); ok {
			for key, v := range inner {
				out[name+" "+key] = v
			}
			continue
		}
		out[name] = v
	}
	return out
}

func figure(m map[string]any, name string) string {
	switch v := m[name].(type) {
	case nil:
		return "0"
	case string:
		return v
	default:
		b, err := json.Marshal(v)
		if err != nil {
			return err.Error()
		}
		return string(b)
	}
}
