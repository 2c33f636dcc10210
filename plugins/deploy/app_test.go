package main

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync/atomic"
	"time"
)

// app is one release in one slot.
type app struct {
	commit string
	server *http.Server
	served atomic.Int64
}

// Commits, named after their behaviour.
const (
	unhealthy = "unhealthy" // its health check fails
	faulty    = "faulty"    // a tenth of its answers is 500
	slow      = "slow"      // it needs 2 s: more than a busy machine takes for anything else
	late      = "late"      // its health check answers after 1 s, as on a busy host
	artifact1 = "good-one"  // without a fault
	artifact2 = "good-two"
)

func (s *site) start(host, slot, commit string) error {
	if commit == unhealthy {
		return errors.New("/healthz: 500")
	}
	s.stop(host + "-" + slot)
	a := &app{commit: commit}
	port := s.port
	if slot == "b" {
		port++
	}
	l, err := net.Listen("tcp", fmt.Sprintf("%s:%d", s.ip[host], port))
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/healthz", func(w http.ResponseWriter, _ *http.Request) {
		if commit == late {
			time.Sleep(time.Second)
		}
		_, _ = io.WriteString(w, "ok")
	})
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		n := a.served.Add(1)
		switch {
		case r.URL.Path == "/hang":
			<-s.hanging
		case commit == faulty && n%10 == 0:
			w.WriteHeader(http.StatusInternalServerError)
		case commit == slow:
			time.Sleep(2 * time.Second)
		}
		_, _ = io.WriteString(w, commit)
	})
	a.server = &http.Server{Handler: mux, ReadHeaderTimeout: time.Minute}
	s.mu.Lock()
	s.slots[host+"-"+slot] = a
	s.mu.Unlock()
	go func() { _ = a.server.Serve(l) }()
	s.t.Cleanup(func() { _ = a.server.Close() })
	return nil
}

// stop ends a slot at once, as a crash does.
func (s *site) stop(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if a := s.slots[name]; a != nil {
		_ = a.server.Close()
		delete(s.slots, name)
	}
}

// serving is the commit in the slot of a host that serves.
func (s *site) serving(host string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if a := s.slots[host+"-"+s.desired().Hosts[host].Slot]; a != nil {
		return a.commit
	}
	return ""
}
