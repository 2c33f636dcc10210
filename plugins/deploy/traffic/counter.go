package traffic

import (
	"strings"
	"sync"
	"time"

	"github.com/seed-b96de936/troop/plugins/deploy/haproxy"
	"github.com/seed-b96de936/troop/plugins/deploy/state"
)

// Reading is what an agent counted since it started. Only differences within one epoch are meaningful.
type Reading struct {
	Epoch    string    `json:"epoch"` // changes when the agent restarts
	Agent    string    `json:"agent"` // identity of the agent's program and configuration
	Time     time.Time `json:"time"`
	InFlight InFlight  `json:"in_flight"`
	Count
}

// InFlight is how many requests each pool had not finished at the time of a reading.
type InFlight struct {
	Production int64 `json:"production"`
	Canary     int64 `json:"canary"`
}

// Since is what both pools answered after an earlier reading. When the agent restarted in between, it is what the new
// agent saw: too little rather than wrong.
func (r Reading) Since(o Reading) Count {
	if r.Epoch != o.Epoch {
		return r.Count
	}
	return r.minus(o.Count)
}

// Counter counts requests of the router's log. Safe for concurrent use.
type Counter struct {
	criteria Criteria

	mu    sync.Mutex
	count Reading
	downs map[string]int64 // by server, as HAProxy counted them last
	left  map[string]bool  // servers that get no new requests: what they finish is of a former release
}

// NewCounter returns a counter at zero, of an agent that starts now.
func NewCounter(agent string, now time.Time, criteria Criteria) *Counter {
	return &Counter{
		criteria: criteria, downs: map[string]int64{}, left: map[string]bool{},
		count: Reading{Agent: agent, Epoch: now.UTC().Format(time.RFC3339Nano), Count: Count{Classes: map[string]Pools{}}},
	}
}

// rescue is the server that passes a request on to production when the canary cannot answer it.
const rescue = "rescue"

// Add counts one request. Requests that reached no pool, or a slot that served before, do not count, nor do those of
// testers: they are no sample of the clients. A request without an answer counts as unanswered,
// whoever gave it up: a release that hangs makes its clients go away. One that was given up while the answer came counts
// with the time that it took until then, which is less than the answer would have taken.
func (c *Counter) Add(r haproxy.Request) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.count.pool(r.Backend) == nil || r.Tester || c.left[r.Backend+"/"+r.Server] {
		return
	}
	name := classOf(r.Class)
	if _, known := c.count.Classes[name]; !known && len(c.count.Classes) >= mostClasses {
		name = otherClass
	}
	class := c.count.Classes[name]
	for _, p := range []*Pools{&c.count.Pools, &class} {
		c.add(p, r)
	}
	c.count.Classes[name] = class
}

func (c *Counter) add(p *Pools, r haproxy.Request) {
	if r.Missed {
		p.Canary.Missed++
	}
	s := p.pool(r.Backend)
	s.Requests++
	switch {
	case r.Server == rescue:
		s.Rescued++
		return
	case r.First < 0 && c.criteria.unanswered:
		s.Unanswered++
		return
	case r.First < 0:
		s.LeftOut++
		return
	case c.criteria.failed(r.Status):
		s.Errors++
		return
	case r.Status >= 400 && r.Status < 500:
		s.Refused++
	}
	s.First.Add(r.First)
	s.Last.Add(r.Last)
}

// See takes over what HAProxy says of its servers, by "BACKEND/SERVER". HAProxy counts from 0 again after a reload.
func (c *Counter) See(servers map[string]haproxy.Server) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.count.InFlight = InFlight{}
	for name, s := range servers {
		backend, server, _ := strings.Cut(name, "/")
		pool := c.count.pool(backend)
		if pool == nil || server == rescue {
			continue
		}
		if c.left[name] = s.Admin != haproxy.Ready; c.left[name] {
			continue
		}
		if backend == state.PoolCanary {
			c.count.InFlight.Canary += int64(s.Sessions)
		} else {
			c.count.InFlight.Production += int64(s.Sessions)
		}
		before, known := c.downs[name]
		if s.Downs < before {
			before = 0
		}
		if known {
			pool.Downs += s.Downs - before
		}
		c.downs[name] = s.Downs
	}
}

// pool is the sample of a backend; nil when it is none of the pools.
func (p *Pools) pool(backend string) *Sample {
	switch backend {
	case state.PoolProduction:
		return &p.Production
	case state.PoolCanary:
		return &p.Canary
	}
	return nil
}

// Read returns the count at now.
func (c *Counter) Read(now time.Time) Reading {
	c.mu.Lock()
	defer c.mu.Unlock()
	r := c.count
	r.Count = r.clone()
	r.Time = now.UTC()
	return r
}
