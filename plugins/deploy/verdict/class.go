package verdict

import (
	"cmp"
	"maps"
	"slices"

	"github.com/seed-b96de936/troop/plugins/deploy/traffic"
)

// class is what a judge knows of one class of requests. The pools may have them in different shares: a page that only the
// canary was asked for says nothing of the canary.
type class struct {
	all     traffic.Pools
	pending traffic.Pools // not compared yet
	waited  int           // for how many batches
}

// A class of few requests waits until a batch has enough of them to compare, but not for long.
const (
	enough  = 6 // requests
	longest = 5 // batches
)

type classes map[string]*class

// take adds a batch, and returns the classes that are due, each with its pending requests. All are at the end.
func (cs classes) take(c traffic.Count, end bool) []*class {
	batch := c.Classes
	if len(batch) == 0 {
		batch = map[string]traffic.Pools{"": c.Pools}
	}
	for name, p := range batch {
		if cs[name] == nil {
			cs[name] = &class{}
		}
		cs[name].all, cs[name].pending = cs[name].all.Plus(p), cs[name].pending.Plus(p)
	}
	var due []*class
	for _, name := range slices.Sorted(maps.Keys(cs)) {
		x := cs[name]
		turns := x.pending.Production.Turns() + x.pending.Canary.Turns()
		if x.waited++; turns > 0 && (end || len(cs) == 1 || turns >= enough || x.waited >= longest) {
			due = append(due, x)
			x.waited = 0
		}
	}
	return due
}

// shared reports whether both pools have had the class.
func (x *class) shared() bool { return x.all.Production.Turns() > 0 && x.all.Canary.Turns() > 0 }

// failures are the strata of a batch for the test of a share. A class that only one pool has had is counted with the one
// that has most requests: a release that answers new paths badly is a bad one.
func failures(due []*class, of func(traffic.Sample) int64) (batch []stratum) {
	var alone traffic.Pools
	var shared []traffic.Pools
	for _, x := range due {
		if x.shared() {
			shared = append(shared, x.pending)
		} else {
			alone = alone.Plus(x.pending)
		}
	}
	turns := func(p traffic.Pools) int64 { return p.Production.Turns() + p.Canary.Turns() }
	slices.SortStableFunc(shared, func(a, b traffic.Pools) int { return cmp.Compare(turns(b), turns(a)) })
	if len(shared) == 0 {
		shared = []traffic.Pools{alone}
	} else {
		shared[0] = shared[0].Plus(alone)
	}
	for _, p := range shared {
		batch = append(batch, shares(of(p.Production), p.Production.Turns(), of(p.Canary), p.Canary.Turns()))
	}
	return batch
}

// times are the strata of a batch for the test of a time.
func times(due []*class, of func(traffic.Sample) traffic.Histogram) (batch []stratum) {
	for _, x := range due {
		seen := of(x.all.Production.Plus(x.all.Canary))
		batch = append(batch, timed(of(x.pending.Production), of(x.pending.Canary), seen))
	}
	return batch
}

func firsts(s traffic.Sample) traffic.Histogram { return s.First }
func lasts(s traffic.Sample) traffic.Histogram  { return s.Last }

// expected is production's share of failures if it had had the canary's requests, and the class in which the canary's is
// furthest above; empty when there is one only.
func (cs classes) expected(production traffic.Sample) (rate float64, worst string) {
	if len(cs) <= 1 {
		return production.FailureRate(), ""
	}
	var failed, turns, most float64
	for _, name := range slices.Sorted(maps.Keys(cs)) {
		x := cs[name]
		own := production.FailureRate()
		if x.shared() {
			own = x.all.Production.FailureRate()
		}
		n := float64(x.all.Canary.Turns())
		failed, turns = failed+own*n, turns+n
		if more := float64(x.all.Canary.Failed()) - own*n; more > most {
			most, worst = more, name
		}
	}
	if turns == 0 {
		return production.FailureRate(), ""
	}
	return failed / turns, worst
}

// comparable are the times of both pools in the classes that both have had: production's as if it had had the canary's
// requests.
func (cs classes) comparable(of func(traffic.Sample) traffic.Histogram) (production, canary traffic.Histogram) {
	const scale = 1000 // against rounding
	for _, x := range cs {
		p, c := of(x.all.Production), of(x.all.Canary)
		n, k := p.Count(), c.Count()
		if len(cs) == 1 {
			return p, c
		}
		if n == 0 || k == 0 {
			continue
		}
		for i := range p {
			production[i] += p[i] * k * scale / n
			canary[i] += c[i]
		}
	}
	return production, canary
}

// slowest is the class in which the canary's quantile is furthest above production's, by the time of all its requests.
func (cs classes) slowest(q float64, of func(traffic.Sample) traffic.Histogram) (worst string) {
	var most float64
	for _, name := range slices.Sorted(maps.Keys(cs)) {
		p, c := of(cs[name].all.Production), of(cs[name].all.Canary)
		if p.Count() == 0 || len(cs) <= 1 {
			continue
		}
		if more := float64(c.Count()) * float64(c.Quantile(q)-p.Quantile(q)); more > most {
			most, worst = more, name
		}
	}
	return worst
}
