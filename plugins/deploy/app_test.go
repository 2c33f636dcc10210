package main

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// app is one release in one slot.
type app struct {
	commit   string
	server   *http.Server
	served   atomic.Int64
	restarts atomic.Int64
	listener net.Listener // guarded by the site's mu
	sockets  []net.Conn   // guarded by the site's mu
}

// Commits, named after their behaviour.
const (
	unhealthy = "unhealthy" // its health check fails
	faulty    = "faulty"    // a tenth of its answers is 500
	slow      = "slow"      // it needs 2 s: more than a busy machine takes for anything else
	late      = "late"      // its health check answers after 1 s, as on a busy host
	trickling = "trickling" // the head of its answers comes at once, the body after 2 s
	hanging   = "hanging"   // it answers nothing but its health check
	crashing  = "crashing"  // each fortieth request ends it; it is back after 300 ms
	brief     = "brief"     // it ends by itself twice a second, and is back before anyone sees it
	aging     = "aging"     // half of its answers is 500 once the site has aged
	refusing  = "refusing"  // a third of its answers is 404
	artifact1 = "good-one"  // without a fault
	artifact2 = "good-two"
)

func (s *site) start(host, slot, commit string) error { return s.startAt("", 0, host, slot, commit) }

// startAt starts a release of a service with the ports of its number.
func (s *site) startAt(of string, number int, host, slot, commit string) error {
	if commit == unhealthy {
		return errors.New("/healthz: 500")
	}
	s.stop(of + host + "-" + slot)
	a := &app{commit: commit}
	port := s.port + 4*number + strings.Index("abcd", slot)
	l, err := net.Listen("tcp", fmt.Sprintf("%s:%d", s.ip[host], port))
	// A program that another test starts has the former listener, too, until it executes.
	for end := time.Now().Add(time.Minute); errors.Is(err, syscall.EADDRINUSE) && time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		l, err = net.Listen("tcp", fmt.Sprintf("%s:%d", s.ip[host], port))
	}
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
	mux.HandleFunc("/up", func(w http.ResponseWriter, r *http.Request) {
		if r.Host != "shop.example.com" {
			http.Error(w, "unknown host "+r.Host, http.StatusBadRequest)
			return
		}
		w.WriteHeader(http.StatusNoContent)
	})
	mux.HandleFunc("/forwarded", func(w http.ResponseWriter, r *http.Request) {
		for _, name := range []string{"X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Host", "X-Forwarded-Port", "X-Real-Ip", "Forwarded"} {
			_, _ = fmt.Fprintf(w, "%s=%s;", name, strings.Join(r.Header.Values(name), "+"))
		}
	})
	mux.HandleFunc("/events", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		_ = http.NewResponseController(w).Flush()
		<-s.hanging
		_, _ = io.WriteString(w, "data: late\n\n")
	})
	mux.HandleFunc("/socket", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Connection", "Upgrade")
		w.Header().Set("Upgrade", "websocket")
		w.Header().Set("Sec-WebSocket-Accept", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=") // the answer to the key in RFC 6455
		w.WriteHeader(http.StatusSwitchingProtocols)
		c, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return
		}
		s.mu.Lock()
		a.sockets = append(a.sockets, c)
		s.mu.Unlock()
		_, _ = io.WriteString(c, commit+"\n")
		_, _ = io.Copy(c, c)
		_ = c.Close()
	})
	mux.HandleFunc("/ticks", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		for r.Context().Err() == nil {
			_, _ = io.WriteString(w, "data: "+commit+"\n\n")
			_ = http.NewResponseController(w).Flush()
			time.Sleep(20 * time.Millisecond)
		}
	})
	mux.HandleFunc("/upload", func(w http.ResponseWriter, r *http.Request) {
		n, err := io.Copy(io.Discard, r.Body)
		_, _ = fmt.Fprintf(w, "%s: %d bytes, %v", commit, n, err)
	})
	mux.HandleFunc("/items/", func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("X-Route", "item of the shop") })
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		n := a.served.Add(1)
		switch {
		case r.URL.Path == "/hang":
			<-s.hanging
		case r.URL.Path == "/page":
			time.Sleep(pageTime)
		case commit == hanging:
			<-r.Context().Done()
		case commit == trickling:
			_ = http.NewResponseController(w).Flush()
			time.Sleep(2 * time.Second)
		case commit == crashing && n%40 == 0:
			s.crash(a)
			panic(http.ErrAbortHandler)
		case commit == aging && s.aged.Load() && n%2 == 0:
			w.WriteHeader(http.StatusInternalServerError)
		case commit == refusing && n%3 == 0:
			w.WriteHeader(http.StatusNotFound)
		case commit == faulty && n%10 == 0:
			w.WriteHeader(http.StatusInternalServerError)
		case commit == slow:
			time.Sleep(2 * time.Second)
		}
		_, _ = io.WriteString(w, commit)
	})
	a.server = &http.Server{Handler: mux, ReadHeaderTimeout: time.Minute}
	if commit == brief {
		a.keepRestarting(s.t)
	}
	s.mu.Lock()
	a.listener = l
	s.slots[of+host+"-"+slot] = a
	s.mu.Unlock()
	go func() { _ = a.server.Serve(l) }()
	s.t.Cleanup(func() { _ = a.server.Close() })
	return nil
}

// pageTime is what a page takes more than an asset.
const pageTime = 100 * time.Millisecond

// crash ends the app for a while, as far as the router can tell: its request breaks off, and nothing listens. systemd
// starts it again.
func (s *site) crash(a *app) {
	s.mu.Lock()
	defer s.mu.Unlock()
	a.restarts.Add(1)
	_ = a.listener.Close()
	address := a.listener.Addr().String()
	time.AfterFunc(300*time.Millisecond, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if l, err := net.Listen("tcp", address); err == nil {
			a.listener = l
			go func() { _ = a.server.Serve(l) }() // closes l when the server was stopped meanwhile
		}
	})
}

// keepRestarting counts a restart twice a second, of which no request notices anything.
func (a *app) keepRestarting(t testing.TB) {
	tick := time.NewTicker(500 * time.Millisecond)
	go func() {
		for {
			select {
			case <-t.Context().Done():
				tick.Stop()
				return
			case <-tick.C:
				a.restarts.Add(1)
			}
		}
	}()
}

// restarts is what systemd says of a slot.
func (s *site) restarts(name string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if a := s.slots[name]; a != nil {
		return strconv.FormatInt(a.restarts.Load(), 10)
	}
	return "0"
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

// closeFrame is what a WebSocket's server says when it goes away (RFC 6455, 5.5.1 and 7.4.1: 1001).
const closeFrame = "\x88\x02\x03\xe9"

// end ends a slot as SIGTERM does: the app closes its sockets.
func (s *site) end(name string) {
	s.mu.Lock()
	if a := s.slots[name]; a != nil {
		for _, c := range a.sockets {
			_, _ = io.WriteString(c, closeFrame)
			_ = c.Close()
		}
	}
	s.mu.Unlock()
	s.stop(name)
}

// serving is the commit in the slot of a host that serves.
func (s *site) serving(host string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if a := s.slots[seat(host).Server(s.desired().Seats[seat(host)].Slot)]; a != nil {
		return a.commit
	}
	return ""
}
