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
	needs := l.circular()
	for _, s := range l.pipeline.Stages {
		if _, circular := needs[s.ID()]; !circular || reported[s.ID()] {
			continue
		}
		circle := shortestCircle(needs, s.ID())
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

// circular returns the needs of the stages that cannot be brought into an order: those in a circle, and those that
// need one of them. Its cost grows with the number of needs alone.
func (l *loader) circular() map[core.StageID][]core.StageID {
	left := map[core.StageID][]core.StageID{}
	waits := map[core.StageID]int{}
	neededBy := map[core.StageID][]core.StageID{}
	for _, s := range l.pipeline.Stages {
		left[s.ID()], waits[s.ID()] = s.Needs, len(s.Needs)
		for _, n := range s.Needs {
			neededBy[n] = append(neededBy[n], s.ID())
		}
	}
	var ready []core.StageID
	for id, n := range waits {
		if n == 0 {
			ready = append(ready, id)
		}
	}
	for len(ready) > 0 {
		id := ready[len(ready)-1]
		ready = ready[:len(ready)-1]
		delete(left, id)
		for _, next := range neededBy[id] {
			if waits[next]--; waits[next] == 0 {
				ready = append(ready, next)
			}
		}
	}
	return left
}

// shortestCircle through a stage, starting with it; nil when there is none.
func shortestCircle(needs map[core.StageID][]core.StageID, start core.StageID) []core.StageID {
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
