package main

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"sync"
	"time"
)

// buckets cover 1 ms to 65 s; each bound is a quarter above the one before.
const (
	buckets = 52
	growth  = 1.25
)

// histogram counts answers by latency.
type histogram [buckets]int64

func (h *histogram) add(ms int64) {
	i := 0
	if ms > 1 {
		i = int(math.Ceil(math.Log(float64(ms)) / math.Log(growth)))
	}
	h[min(i, buckets-1)]++
}

// quantile is the upper bound of the bucket in which the q-th part of the answers ends; 0 without answers.
func (h *histogram) quantile(q float64) time.Duration {
	var total, seen int64
	for _, n := range h {
		total += n
	}
	if total == 0 {
		return 0
	}
	for i, n := range h {
		if seen += n; float64(seen) >= q*float64(total) {
			return time.Duration(math.Pow(growth, float64(i)) * float64(time.Millisecond))
		}
	}
	return 0
}

// sample is what one pool answered.
type sample struct {
	Requests int64     `json:"requests"`
	Errors   int64     `json:"errors"` // 500 and above, and what another pool had to answer
	Latency  histogram `json:"latency"`
}

func (s sample) minus(o sample) sample {
	s.Requests -= o.Requests
	s.Errors -= o.Errors
	for i := range s.Latency {
		s.Latency[i] -= o.Latency[i]
	}
	return s
}

func (s sample) plus(o sample) sample {
	s.Requests += o.Requests
	s.Errors += o.Errors
	for i := range s.Latency {
		s.Latency[i] += o.Latency[i]
	}
	return s
}

func (s sample) errorRate() float64 {
	if s.Requests == 0 {
		return 0
	}
	return float64(s.Errors) / float64(s.Requests)
}

// traffic is what the agent saw since it started. Only differences within one epoch mean something.
type traffic struct {
	Epoch      string    `json:"epoch"`
	Agent      string    `json:"agent"` // identity of the program and configuration that count
	Time       time.Time `json:"time"`
	Production sample    `json:"production"`
	Canary     sample    `json:"canary"`
}

// since is what both pools answered after an earlier reading. When the agent restarted in between, it is what the
// new one saw: too little rather than wrong.
func (t traffic) since(o traffic) (production, canary sample) {
	if t.Epoch != o.Epoch {
		return t.Production, t.Canary
	}
	return t.Production.minus(o.Production), t.Canary.minus(o.Canary)
}

// counter turns log lines of the router into traffic. Safe for concurrent use.
type counter struct {
	mu      sync.Mutex
	traffic traffic
}

// rescue is the server through which a request leaves a canary that could not answer it.
const rescue = "rescue"

// add counts one line "BACKEND SERVER STATUS MILLISECONDS TERMINATION".
func (c *counter) add(line string) error {
	f := strings.Fields(line)
	if len(f) != 5 {
		return fmt.Errorf("read log line %q: want 5 fields", line)
	}
	status, err := strconv.Atoi(f[2])
	if err != nil {
		return fmt.Errorf("read log line %q: %w", line, err)
	}
	ms, err := strconv.ParseInt(strings.TrimPrefix(f[3], "+"), 10, 64)
	if err != nil {
		return fmt.Errorf("read log line %q: %w", line, err)
	}
	if strings.HasPrefix(f[4], "C") {
		return nil // the client went away: nobody's fault
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	var s *sample
	switch f[0] {
	case poolProduction:
		s = &c.traffic.Production
	case poolCanary:
		s = &c.traffic.Canary
	default:
		return nil
	}
	s.Requests++
	switch {
	case f[1] == rescue || status >= 500 || status < 0:
		s.Errors++
	case ms >= 0:
		s.Latency.add(ms)
	}
	return nil
}

// read returns the counts at now.
func (c *counter) read(now time.Time) traffic {
	c.mu.Lock()
	defer c.mu.Unlock()
	t := c.traffic
	t.Time = now
	return t
}
