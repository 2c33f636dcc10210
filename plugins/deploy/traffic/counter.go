package traffic

import (
	"sync"
	"time"

	"github.com/seed-b96de936/troop/plugins/deploy/haproxy"
	"github.com/seed-b96de936/troop/plugins/deploy/state"
)

// Reading is what an agent counted since it started. Only differences within one epoch are meaningful.
type Reading struct {
	Epoch      string    `json:"epoch"` // changes when the agent restarts
	Agent      string    `json:"agent"` // identity of the agent's program and configuration
	Time       time.Time `json:"time"`
	Production Sample    `json:"production"`
	Canary     Sample    `json:"canary"`
}

// Since is what both pools answered after an earlier reading. When the agent restarted in between, it is what the new
// agent saw: too little rather than wrong.
func (r Reading) Since(o Reading) (production, canary Sample) {
	if r.Epoch != o.Epoch {
		return r.Production, r.Canary
	}
	return r.Production.minus(o.Production), r.Canary.minus(o.Canary)
}

// Counter counts requests of the router's log. Safe for concurrent use.
type Counter struct {
	mu    sync.Mutex
	count Reading
}

// NewCounter returns a counter at zero, of an agent that starts now.
func NewCounter(agent string, now time.Time) *Counter {
	return &Counter{count: Reading{Agent: agent, Epoch: now.UTC().Format(time.RFC3339Nano)}}
}

// rescue is the server that passes a request on to production when the canary cannot answer it.
const rescue = "rescue"

// Add counts one request. Requests that reached no pool do not count. A request that its client gave up before the
// answer began counts as unanswered: a release that hangs makes its clients go away. One that was given up while the
// answer came counts with the time that it took until then, which is less than the answer would have taken.
func (c *Counter) Add(r haproxy.Request) {
	c.mu.Lock()
	defer c.mu.Unlock()
	var s *Sample
	switch r.Backend {
	case state.PoolProduction:
		s = &c.count.Production
	case state.PoolCanary:
		s = &c.count.Canary
	default:
		return
	}
	if r.Missed {
		c.count.Canary.Missed++
	}
	s.Requests++
	switch {
	case r.Server == rescue || r.Status >= 500:
		s.Errors++
	case r.First < 0 && r.Abandoned():
		s.Unanswered++
	case r.Status < 0 || r.First < 0:
		s.Errors++
	default:
		s.First.Add(r.First)
		s.Last.Add(r.Last)
	}
}

// Read returns the count at now.
func (c *Counter) Read(now time.Time) Reading {
	c.mu.Lock()
	defer c.mu.Unlock()
	r := c.count
	r.Time = now.UTC()
	return r
}
