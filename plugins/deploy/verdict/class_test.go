package verdict

import (
	"math"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/seed-b96de936/troop/plugins/deploy/traffic"
)

// kind is a class of requests as it may be.
type kind struct {
	name               string
	production, canary float64 // share of the pool's requests
	ms                 float64 // median time
	errors             float64
}

// shop has pages that are slow and fail at times, pictures that are fast, and others; the canary gets more pages.
var shop = []kind{
	{"/", 0.1, 0.5, 500, 0.05}, {"/picture/*", 0.7, 0.3, 1, 0}, {"/cart", 0.15, 0.1, 80, 0.01}, {"/checkout", 0.05, 0.1, 200, 0.02},
}

// mixed plays a deploy of a minute and 60 requests a second in which each pool has a mix of its own. worse changes what the
// canary is like. Without classes, all requests are compared with each other.
func mixed(seed uint64, kinds []kind, classes bool, worse func(*kind)) Judgement {
	r := rand.New(rand.NewPCG(seed, 21))
	judge := New(Limits{MinRequests: 50, MaxErrorRate: 0.02, LatencyFactor: 1.15, LatencySlack: 5 * time.Millisecond}.Deploy())
	ask := func(s *traffic.Sample, k kind) {
		s.Requests++
		if r.Float64() < k.errors {
			s.Errors++
			return
		}
		d := time.Duration(k.ms * math.Exp(0.5*r.NormFloat64()) * float64(time.Millisecond))
		s.First.Add(d)
		s.Last.Add(d)
	}
	for range 60 {
		c := traffic.Count{Classes: map[string]traffic.Pools{}}
		for turn := range 60 {
			isCanary, draw := turn%3 == 0, r.Float64()
			for _, k := range kinds {
				share := k.production
				if isCanary {
					share = k.canary
				}
				if draw -= share; draw >= 0 {
					continue
				}
				p := c.Classes[k.name]
				if isCanary {
					worse(&k)
					ask(&p.Canary, k)
				} else {
					ask(&p.Production, k)
				}
				c.Classes[k.name] = p
				break
			}
		}
		for _, p := range c.Classes {
			c.Pools = c.Plus(p)
		}
		if !classes {
			c.Classes = nil
		}
		judge.Observe(c)
		if v := judge.Judgement(); v.Outcome == Fail {
			return v
		}
	}
	return judge.Judgement()
}

// TestMixOfClasses: a canary that is as good as production passes, although it is asked for other things. One that is worse
// fails, and the verdict says where.
func TestMixOfClasses(t *testing.T) {
	t.Parallel()
	const rounds = 20
	same := func(*kind) {}
	failed := func(kinds []kind, classes bool, worse func(*kind), in string) (n int) {
		for seed := range uint64(rounds) {
			if v := mixed(seed, kinds, classes, worse); v.Outcome == Fail {
				n++
				if !strings.HasSuffix(v.Reason, in) {
					t.Errorf("failed by %q, want one in %q", v.Reason, in)
				}
			}
		}
		return n
	}
	if n := failed(shop, false, same, ""); n < rounds-2 {
		t.Errorf("without classes only %d of %d are failed: the mix is not what this test needs", n, rounds)
	}
	if n := failed(shop, true, same, ""); n > 1 {
		t.Errorf("alike: %d of %d failed", n, rounds)
	}
	const in = "; worst in /checkout"
	if n := failed(shop, true, func(k *kind) {
		if k.name == "/checkout" {
			k.errors = 0.5
		}
	}, in); n < rounds-1 {
		t.Errorf("half of the checkouts fail: %d of %d failed", n, rounds)
	}
	if n := failed(shop, true, func(k *kind) {
		if k.name == "/" {
			k.ms *= 2
		}
	}, "; worst in /"); n < rounds-1 {
		t.Errorf("the page is twice as slow: %d of %d failed", n, rounds)
	}
	// Production has never been asked for the new page.
	added := append([]kind{{"/new", 0, 0.2, 5, 0}}, shop...)
	if n := failed(added, true, func(k *kind) {
		if k.name == "/new" {
			k.errors = 1
		}
	}, "; worst in /new"); n < rounds-1 {
		t.Errorf("a new page that fails: %d of %d failed", n, rounds)
	}
	if n := failed(added, true, same, ""); n > 1 {
		t.Errorf("a new page that is fine: %d of %d failed", n, rounds)
	}
}
