package engine

import (
	"fmt"
	"slices"
	"strings"

	"github.com/seed-b96de936/troop/core"
)

// graph holds the stages of a pipeline and their needs, by index in the manifest's order.
type graph struct {
	stages   []core.Stage
	index    map[core.StageID]int
	needs    [][]int
	neededBy [][]int
}

// newGraph reports duplicate stages, needs that name no stage, and cycles.
func newGraph(stages []core.Stage) (*graph, error) {
	g := &graph{
		stages: stages, index: make(map[core.StageID]int, len(stages)),
		needs: make([][]int, len(stages)), neededBy: make([][]int, len(stages)),
	}
	for i, s := range stages {
		if _, twice := g.index[s.ID()]; twice {
			return nil, fmt.Errorf("stage %s is there twice", s.ID())
		}
		g.index[s.ID()] = i
	}
	for i, s := range stages {
		for _, id := range s.Needs {
			n, ok := g.index[id]
			if !ok {
				return nil, fmt.Errorf("stage %s needs %s: %w", s.ID(), id, &core.NotFoundError{What: "stage", Name: string(id)})
			}
			g.needs[i] = append(g.needs[i], n)
			g.neededBy[n] = append(g.neededBy[n], i)
		}
	}
	if c := g.cycle(); c != nil {
		return nil, fmt.Errorf("stages need each other: %s", strings.Join(c, " needs "))
	}
	return g, nil
}

// cycle returns the names along one cycle, its first again at its end.
func (g *graph) cycle() []string {
	const (
		unseen = iota
		open
		done
	)
	state := make([]int, len(g.stages))
	var path []int
	var visit func(i int) []string
	visit = func(i int) []string {
		switch state[i] {
		case done:
			return nil
		case open:
			var names []string
			for _, n := range append(path[slices.Index(path, i):], i) {
				names = append(names, string(g.stages[n].ID()))
			}
			return names
		}
		state[i] = open
		path = append(path, i)
		for _, n := range g.needs[i] {
			if c := visit(n); c != nil {
				return c
			}
		}
		path = path[:len(path)-1]
		state[i] = done
		return nil
	}
	for i := range g.stages {
		if c := visit(i); c != nil {
			return c
		}
	}
	return nil
}

// upTo marks a stage, or all stages of a type, with everything that they need, directly or not. Without a stage it marks all.
func (g *graph) upTo(until core.StageID) ([]bool, error) {
	wanted := make([]bool, len(g.stages))
	if until == "" {
		for i := range wanted {
			wanted[i] = true
		}
		return wanted, nil
	}
	var mark func(i int)
	mark = func(i int) {
		if wanted[i] {
			return
		}
		wanted[i] = true
		for _, n := range g.needs[i] {
			mark(n)
		}
	}
	found := false
	for i, s := range g.stages {
		if is(s, until) {
			mark(i)
			found = true
		}
	}
	if !found {
		return nil, &core.NotFoundError{What: "stage", Name: string(until), Remedy: g.suggest(string(until))}
	}
	return wanted, nil
}

// is reports whether a name is that of a stage, or of its type.
func is(s core.Stage, name core.StageID) bool { return s.ID() == name || s.Type == string(name) }

func (g *graph) suggest(name string) string {
	var names []string
	for _, s := range g.stages {
		names = append(names, string(s.ID()))
	}
	return core.Suggest(name, names)
}

// order lists the stages so that each comes after those that it needs.
func (g *graph) order() []int {
	var order []int
	done := make([]bool, len(g.stages))
	var visit func(i int)
	visit = func(i int) {
		if done[i] {
			return
		}
		done[i] = true
		for _, n := range g.needs[i] {
			visit(n)
		}
		order = append(order, i)
	}
	for i := range g.stages {
		visit(i)
	}
	return order
}
