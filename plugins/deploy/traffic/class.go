package traffic

import (
	"maps"
	"strings"
)

// Pools is what both pools did.
type Pools struct {
	Production Sample `json:"production"`
	Canary     Sample `json:"canary"`
}

// Plus is both together.
func (p Pools) Plus(o Pools) Pools {
	return Pools{p.Production.Plus(o.Production), p.Canary.Plus(o.Canary)}
}

// Untimed is the same without times.
func (p Pools) Untimed() Pools {
	for _, s := range []*Sample{&p.Production, &p.Canary} {
		s.First, s.Last = Histogram{}, Histogram{}
	}
	return p
}

func (p Pools) minus(o Pools) Pools {
	return Pools{p.Production.minus(o.Production), p.Canary.minus(o.Canary)}
}

// Count is what both pools did, and by class of requests. How often a server was down is of no class.
type Count struct {
	Pools
	Classes map[string]Pools `json:"classes,omitempty"`
}

func (c Count) minus(o Count) Count {
	d := Count{Pools: c.Pools.minus(o.Pools)}
	for name, p := range c.Classes {
		if p = p.minus(o.Classes[name]); p != (Pools{}) {
			if d.Classes == nil {
				d.Classes = map[string]Pools{}
			}
			d.Classes[name] = p
		}
	}
	return d
}

func (c Count) clone() Count {
	c.Classes = maps.Clone(c.Classes)
	return c
}

const (
	mostClasses = 16 // that are told apart, the first ones that are seen
	otherClass  = "others"
	mostParts   = 4  // of a path
	mostLetters = 24 // of a part of a path
)

// classOf is the class of a request: what the service calls it, or the template of its path. A part with a digit, and a long
// one, names one of many things.
func classOf(text string) string {
	parts := strings.Split(text, "/")
	if len(parts) > mostParts+1 {
		parts = append(parts[:mostParts+1], "…")
	}
	for i, p := range parts {
		if strings.ContainsAny(p, "0123456789%") || len(p) > mostLetters {
			parts[i] = "*"
		}
	}
	return strings.Join(parts, "/")
}
