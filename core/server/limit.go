package server

import (
	"net"
	"net/http"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// limits bound how often something is tried, by who tries it or what it is tried on.
type limits struct {
	mu sync.Mutex
	by map[string]*rate.Limiter
}

const (
	triesAtOnce = 5
	triesPause  = 12 * time.Second // after those, one more each
	mostLimits  = 10_000           // remembered at a time
)

// allow reports whether one more try is allowed.
func (l *limits) allow(key string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.by == nil || len(l.by) >= mostLimits {
		l.by = map[string]*rate.Limiter{}
	}
	x, ok := l.by[key]
	if !ok {
		x = rate.NewLimiter(rate.Every(triesPause), triesAtOnce)
		l.by[key] = x
	}
	return x.Allow()
}

// address is the machine that a request came from. Behind a proxy it is the proxy: what a client says of itself is no proof.
func address(r *http.Request) string {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return r.RemoteAddr
	}
	return host
}
