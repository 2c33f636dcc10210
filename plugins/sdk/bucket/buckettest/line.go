package buckettest

import (
	"bytes"
	"errors"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// Line is the network between one machine and a server. It does to requests what a test says.
type Line struct {
	Endpoint string // of the server, as that machine sees it

	mu    sync.Mutex
	judge func(*http.Request) Trouble
	seen  func(Request)
}

// Request is one that the server has answered.
type Request struct {
	Method, Path      string
	Arrived, Answered time.Time
	Status            int
}

// Trouble is what happens to one request. The zero value is none.
type Trouble struct {
	Cut      bool          // the connection breaks before the server hears of it
	Status   int           // the server answers so, without doing anything
	Wait     time.Duration // before the server hears of it
	FlipSent bool          // a byte of what is sent is another when it arrives
	Flip     bool          // a byte of the answer is another when it arrives
	Clock    time.Duration // how far the machine's clock is behind the server's, which shows in the answer only
}

// Line returns a line to the server without trouble.
func (s *Server) Line(t testing.TB) *Line {
	t.Helper()
	target, err := url.Parse(s.Endpoint)
	if err != nil {
		t.Fatal(err)
	}
	l := &Line{}
	proxy := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(target)
			r.Out.Host = r.In.Host // it is signed
		},
		Transport:      &http.Transport{MaxIdleConnsPerHost: 64},
		ErrorLog:       log.New(io.Discard, "", 0), // whoever was killed is not there for the answer
		ModifyResponse: spoil,
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		trouble := l.trouble(r)
		if !trouble.before(w, r) {
			return
		}
		answer := &answer{ResponseWriter: w, line: l, Request: Request{Method: r.Method, Path: r.URL.Path, Arrived: time.Now()}}
		defer answer.end()
		proxy.ServeHTTP(answer, r)
	}))
	t.Cleanup(func() {
		server.CloseClientConnections()
		server.Close()
	})
	l.Endpoint = server.URL
	return l
}

// Do makes a function decide what happens to each request from now on; nil: nothing.
func (l *Line) Do(judge func(*http.Request) Trouble) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.judge = judge
}

// See calls a function with each request that the server has answered, after the answer.
func (l *Line) See(seen func(Request)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.seen = seen
}

func (l *Line) trouble(r *http.Request) Trouble {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.judge == nil {
		return Trouble{}
	}
	return l.judge(r)
}

// before is what happens before the server hears of a request: whether it does.
func (x Trouble) before(w http.ResponseWriter, r *http.Request) bool {
	if x.Wait > 0 {
		select {
		case <-r.Context().Done():
			return false
		case <-time.After(x.Wait):
		}
	}
	switch {
	case x.Cut:
		panic(http.ErrAbortHandler)
	case x.Status != 0:
		w.WriteHeader(x.Status)
		return false
	case x.FlipSent:
		b, err := io.ReadAll(r.Body)
		if err != nil || len(b) == 0 {
			panic(http.ErrAbortHandler)
		}
		b[len(b)/2] ^= 1
		r.Body = io.NopCloser(bytes.NewReader(b))
	}
	if x.Flip || x.Clock != 0 {
		r.Header.Set(troubleHeader, strconv.FormatBool(x.Flip)+" "+x.Clock.String())
	}
	return true
}

// troubleHeader takes what happens to an answer past the server, which does not sign it and so ignores it.
const troubleHeader = "X-Line-Trouble"

// answer notes what the server said.
type answer struct {
	http.ResponseWriter
	Request
	line *Line
}

func (a *answer) WriteHeader(status int) {
	a.Status = status
	a.ResponseWriter.WriteHeader(status)
}

func (a *answer) end() {
	a.Answered = time.Now()
	a.line.mu.Lock()
	seen := a.line.seen
	a.line.mu.Unlock()
	if seen != nil && a.Status != 0 {
		seen(a.Request)
	}
}

// spoil changes an answer on its way back.
func spoil(res *http.Response) error {
	flip, clock, ok := strings.Cut(res.Request.Header.Get(troubleHeader), " ")
	if !ok {
		return nil
	}
	if by, err := time.ParseDuration(clock); err == nil && by != 0 {
		at, err := http.ParseTime(res.Header.Get("Date"))
		if err != nil {
			return errors.New("the server does not say what time it is")
		}
		res.Header.Set("Date", at.Add(by).UTC().Format(http.TimeFormat))
	}
	if flip != "true" {
		return nil
	}
	b, err := io.ReadAll(res.Body)
	if err == nil && len(b) > 0 {
		b[len(b)/2] ^= 1
	}
	res.Body = io.NopCloser(bytes.NewReader(b))
	return err
}
