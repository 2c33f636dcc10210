package manifest

import (
	"maps"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2/hclsyntax"
)

// local is one value of a locals block. It is computed when it is asked for, since it may refer to what only a run
// knows.
type local struct {
	name string
	attr *hclsyntax.Attribute
	refs []reference
	good bool // neither its references nor those of the locals that it uses are wrong
}

func (l *loader) declareLocals(blocks []*hclsyntax.Block) {
	for _, b := range blocks {
		l.labels(b)
		for _, inner := range b.Body.Blocks {
			l.errorf(inner.TypeRange, "Block in locals", "Local values are arguments: %s = { … }.", inner.Type)
		}
		for _, a := range attributes(b.Body) {
			if first := l.locals[a.Name]; first != nil {
				l.errorf(a.NameRange, "Duplicate local value", "%q is set already, at %s.", a.Name, place(first.attr.NameRange))
				continue
			}
			l.locals[a.Name] = &local{name: a.Name, attr: a}
		}
	}
}

// checkLocals runs when all names are known.
func (l *loader) checkLocals() {
	names := slices.Sorted(maps.Keys(l.locals))
	for _, name := range names {
		x := l.locals[name]
		x.refs, x.good = l.check(x.attr.Expr, site{run: true})
	}
	done := map[string]bool{}
	for _, name := range names {
		l.checkLocalCycle(name, nil, done)
	}
	for again := true; again; {
		again = false
		for _, name := range names {
			x := l.locals[name]
			for _, r := range x.refs {
				if x.good && r.root == rootLocal && !l.locals[r.name].good {
					x.good, again = false, true
				}
			}
		}
	}
	m := l.moment(site{run: true})
	for _, name := range names {
		if x := l.locals[name]; x.good {
			value, diags := m.local(x)
			l.add(diags)
			x.good = !diags.HasErrors()
			l.secrets.addMarked(value)
		}
	}
}

func (l *loader) checkLocalCycle(name string, path []string, done map[string]bool) {
	if i := slices.Index(path, name); i >= 0 {
		circle := append(slices.Clone(path[i:]), name)
		for _, n := range circle {
			l.locals[n].good = false
		}
		l.errorf(l.locals[name].attr.Expr.Range(), "Local values in a circle",
			"Each of these needs the next one to be computed: local.%s.", strings.Join(circle, " → local."))
		return
	}
	if done[name] {
		return
	}
	for _, r := range l.locals[name].refs {
		if r.root == rootLocal {
			l.checkLocalCycle(r.name, append(path, name), done)
		}
	}
	done[name] = true
}

// late returns the first thing that x needs and that only a run knows, or nil. A stage comes before the environment.
func (x *local) late(l *loader, seen map[string]bool) *reference {
	if seen[x.name] {
		return nil
	}
	seen[x.name] = true
	var environment *reference
	for _, r := range x.refs {
		found := &r
		if r.root == rootLocal {
			found = l.locals[r.name].late(l, seen)
		} else if r.root != rootStage && r.root != rootEnvironment {
			found = nil
		}
		if found != nil && found.root == rootStage {
			return found
		}
		if found != nil {
			environment = found
		}
	}
	return environment
}
