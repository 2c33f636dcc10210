// Package graph draws a pipeline: which stages wait for which. Its functions are pure; the troop program prints what
// they return. A stage that is needed only through others is left out of what a stage waits for, so that the drawing
// shows the order and nothing twice.
package graph

import (
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/seed-b96de936/troop/core"
)

// node is a stage with its place in the drawing.
type node struct {
	core.Stage
	after []core.StageID // direct needs only
	level int            // 0: needs nothing; else one more than the highest of what it needs
}

// nodes returns the stages level by level, in the order of the manifest within each. Stages in a circle, which the
// manifest refuses, are left out.
func nodes(p *core.Pipeline) []node {
	stages := map[core.StageID]core.Stage{}
	for _, s := range p.Stages {
		stages[s.ID()] = s
	}
	levels := map[core.StageID]int{}
	var out []node
	for again := true; again; {
		again = false
		for _, s := range p.Stages {
			if _, done := levels[s.ID()]; done {
				continue
			}
			level, ready := 0, true
			for _, n := range s.Needs {
				below, done := levels[n]
				ready = ready && done
				level = max(level, below+1)
			}
			if ready {
				levels[s.ID()] = level
				out = append(out, node{Stage: s, level: level, after: direct(stages, s)})
				again = true
			}
		}
	}
	slices.SortStableFunc(out, func(a, b node) int { return a.level - b.level })
	return out
}

// direct are the needs of s that no other need of it leads to.
func direct(stages map[core.StageID]core.Stage, s core.Stage) []core.StageID {
	behind := map[core.StageID]bool{}
	var follow func(id core.StageID)
	follow = func(id core.StageID) {
		for _, n := range stages[id].Needs {
			if !behind[n] {
				behind[n] = true
				follow(n)
			}
		}
	}
	for _, n := range s.Needs {
		follow(n)
	}
	var out []core.StageID
	for _, n := range s.Needs {
		if !behind[n] {
			out = append(out, n)
		}
	}
	return out
}

// conditions of a stage, in words; empty when it always runs.
func conditions(s core.Stage) string {
	var parts []string
	if len(s.When.Branches) > 0 {
		parts = append(parts, "branches "+strings.Join(s.When.Branches, ", "))
	}
	if len(s.When.Environments) > 0 {
		parts = append(parts, "environments "+strings.Join(s.When.Environments, ", "))
	}
	if len(s.When.Paths) > 0 {
		parts = append(parts, "changes in "+strings.Join(s.When.Paths, ", "))
	}
	if len(parts) == 0 {
		return ""
	}
	return "when " + strings.Join(parts, "; ")
}

// Text draws the stages in the order in which they can start; those of one number run at the same time.
func Text(p *core.Pipeline) string {
	all := nodes(p)
	width := 0
	for _, n := range all {
		width = max(width, utf8.RuneCountInString(string(n.ID())))
	}
	var b strings.Builder
	last := -1
	for _, n := range all {
		number := ""
		if n.level != last {
			number, last = fmt.Sprint(n.level+1), n.level
		}
		line := fmt.Sprintf("%3s  %-*s", number, width, n.ID())
		if len(n.after) > 0 {
			line += "  after " + join(n.after)
		}
		if c := conditions(n.Stage); c != "" {
			line += "  " + c
		}
		b.WriteString(strings.TrimRight(line, " ") + "\n")
	}
	return b.String()
}

func join(ids []core.StageID) string {
	names := make([]string, len(ids))
	for i, id := range ids {
		names[i] = string(id)
	}
	return strings.Join(names, ", ")
}

// DOT draws for Graphviz.
func DOT(p *core.Pipeline) string {
	var b strings.Builder
	fmt.Fprintf(&b, "digraph %q {\n  rankdir = LR\n  node [shape = box, fontname = \"sans-serif\"]\n", p.Name)
	for _, n := range nodes(p) {
		style := ""
		if c := conditions(n.Stage); c != "" {
			style = fmt.Sprintf(" [style = dashed, tooltip = %q]", c)
		}
		fmt.Fprintf(&b, "  %q%s\n", n.ID(), style)
		for _, from := range n.after {
			fmt.Fprintf(&b, "  %q -> %q\n", from, n.ID())
		}
	}
	b.WriteString("}\n")
	return b.String()
}

// StageNeeds is a stage and those that it waits for.
type StageNeeds struct {
	Stage core.StageID   `json:"stage"`
	Needs []core.StageID `json:"needs"`
}

// Needs is the graph as data.
func Needs(p *core.Pipeline) []StageNeeds {
	list := make([]StageNeeds, 0, len(p.Stages))
	for _, s := range p.Stages {
		list = append(list, StageNeeds{s.ID(), append([]core.StageID{}, s.Needs...)})
	}
	return list
}

// Drawings are the ways to draw the graph, by name.
var Drawings = map[string]func(*core.Pipeline) string{"text": Text, "dot": DOT, "svg": SVG}
