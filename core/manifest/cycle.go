package manifest

import (
	"fmt"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"

	"github.com/seed-b96de936/troop/core"
)

// checkCycles reports each circle of stages once, as a path with the place of every reference in it.
func (l *loader) checkCycles() {
	reported := map[core.StageID]bool{}
	for _, s := range l.pipeline.Stages {
		if reported[s.ID()] {
			continue
		}
		circle := l.shortestCircle(s.ID())
		if circle == nil || slices.ContainsFunc(circle, func(id core.StageID) bool { return reported[id] }) {
			continue
		}
		var text strings.Builder
		for i, id := range circle {
			reported[id] = true
			next := circle[(i+1)%len(circle)]
			fmt.Fprintf(&text, "  stage.%s needs stage.%s (%s)\n", id, next, place(l.edges[edge{id, next}]))
		}
		at := l.edges[edge{circle[0], circle[1%len(circle)]}]
		if len(circle) == 1 {
			l.errorf(at, "Stage needs itself", "stage.%s cannot wait for itself. Remove this reference.", circle[0])
			continue
		}
		path := append(slices.Clone(circle), circle[0])
		names := make([]string, len(path))
		for i, id := range path {
			names[i] = string(id)
		}
		l.errorf(at, "Stages in a circle", "%s\n%sEach waits for the next one, so that none can start. Remove one of these references.",
			strings.Join(names, " → "), text.String())
	}
}

// edge is a dependency of one stage on another.
type edge struct{ from, to core.StageID }

// shortestCircle through a stage, starting with it; nil when there is none.
func (l *loader) shortestCircle(start core.StageID) []core.StageID {
	needs := map[core.StageID][]core.StageID{}
	for _, s := range l.pipeline.Stages {
		needs[s.ID()] = s.Needs
	}
	before := map[core.StageID]core.StageID{}
	queue := []core.StageID{start}
	for len(queue) > 0 {
		id := queue[0]
		queue = queue[1:]
		for _, next := range needs[id] {
			if next == start {
				circle := []core.StageID{id}
				for id != start {
					id = before[id]
					circle = append(circle, id)
				}
				slices.Reverse(circle)
				return circle
			}
			if _, seen := before[next]; !seen {
				before[next] = id
				queue = append(queue, next)
			}
		}
	}
	return nil
}

// depend notes the place of a dependency.
func (l *loader) depend(from, to core.StageID, at hcl.Range) {
	if _, ok := l.edges[edge{from, to}]; !ok {
		l.edges[edge{from, to}] = at
	}
}
