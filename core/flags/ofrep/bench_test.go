package ofrep_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/seed-b96de936/troop/core/flags"
	"github.com/seed-b96de936/troop/core/flags/ofrep"
)

// quantile of durations that it sorts, in microseconds.
func quantile(took []time.Duration, q float64) float64 {
	slices.Sort(took)
	return float64(took[int(q*float64(len(took)-1))].Nanoseconds()) / 1e3
}

// busy is a host with 100 flags, one of which has a rule.
func busy(b *testing.B) *host {
	h := start(b)
	h.update(flags.Flag{
		Name: "pro", State: flags.Enabled, Variants: map[string]any{"on": true, "off": false}, Default: "off",
		Targeting: json.RawMessage(`{"if": [{"==": [{"var": "plan"}, "pro"]}, {"fractional": [{"var": "targetingKey"}, ["on", 50], ["off", 50]]}, "off"]}`),
	})
	for i := range 99 {
		h.set(fmt.Sprint("flag-", i), true)
	}
	h.eventually("the flags are here", func() bool { return h.value("flag-98", "") == true })
	return h
}

const question = `{"context":{"targetingKey":"user-4711","plan":"pro","country":"de"}}`

// BenchmarkEvaluate is one client over a kept connection on loopback, with Redis there and away. The client's own time is
// in it, and so is all else that the machine does. The bare server, which answers the same bytes without evaluating, says
// how much of it is HTTP's. Budget: p99 at most 1 ms, with and without Redis.
func BenchmarkEvaluate(b *testing.B) {
	h := busy(b)
	ask := func(b *testing.B, url string) {
		took := make([]time.Duration, 0, b.N)
		b.ReportAllocs()
		for b.Loop() {
			begin := time.Now()
			w, err := http.Post(url, "application/json", strings.NewReader(question))
			if err != nil {
				b.Fatal(err)
			}
			_, err = io.Copy(io.Discard, w.Body)
			_ = w.Body.Close()
			if err != nil || w.StatusCode != 200 {
				b.Fatal(w.Status, err)
			}
			took = append(took, time.Since(begin))
		}
		b.ReportMetric(quantile(took, 0.5), "p50-µs")
		b.ReportMetric(quantile(took, 0.99), "p99-µs")
		b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "evaluations/s")
	}
	bare := &http.Server{ReadHeaderTimeout: time.Second, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write([]byte(`{"key":"pro","value":true,"reason":"TARGETING_MATCH","variant":"on"}`))
	})}
	url := listen(b, bare)
	b.Run("bare HTTP", func(b *testing.B) { ask(b, url) })
	b.Run("OFREP", func(b *testing.B) { ask(b, h.url+"evaluate/flags/pro") })
	h.redis.Stop()
	b.Run("OFREP without Redis", func(b *testing.B) { ask(b, h.url+"evaluate/flags/pro") })
}

// listen serves until the benchmark ends.
func listen(b *testing.B, s *http.Server) (url string) {
	l, err := new(net.ListenConfig).Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	go func() { _ = s.Serve(l) }()
	b.Cleanup(func() { _ = s.Close() })
	return "http://" + l.Addr().String()
}

// discard is a response that nobody reads.
type discard struct{ header http.Header }

func (d discard) Header() http.Header         { return d.header }
func (d discard) Write(p []byte) (int, error) { return len(p), nil }
func (d discard) WriteHeader(int)             {}

// BenchmarkHandler is the server's own work: read the question, evaluate, write the answer; no network.
func BenchmarkHandler(b *testing.B) {
	h := busy(b)
	h.stop()
	s := ofrep.New(flags.OpenCopy(h.dir+"/flags.json", slog.New(slog.DiscardHandler)))
	b.ReportAllocs()
	for b.Loop() {
		r, err := http.NewRequestWithContext(context.Background(), http.MethodPost, "/ofrep/v1/evaluate/flags/pro", bytes.NewReader([]byte(question)))
		if err != nil {
			b.Fatal(err)
		}
		s.ServeHTTP(discard{http.Header{}}, r)
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "evaluations/s")
}

// BenchmarkChange is the time from before a change is written until every one of 12 readers knows: four hosts, each with
// three event streams. Budget: 100 ms in 99 of 100.
func BenchmarkChange(b *testing.B) {
	first := start(b)
	hosts := []*host{first}
	for range 3 {
		h := &host{TB: b, redis: first.redis, flags: first.flags, dir: b.TempDir()}
		h.serve()
		hosts = append(hosts, h)
	}
	first.set("x", -1)
	var readers []<-chan string
	for _, h := range hosts {
		h.eventually("the flag is here", func() bool { return h.value("x", "") == -1.0 })
		for range 3 {
			events, _ := h.stream("")
			h.next(events)
			readers = append(readers, events)
		}
	}
	took := make([]time.Duration, 0, b.N)
	n := 0
	for b.Loop() {
		n++
		begin := time.Now()
		first.set("x", n)
		for _, r := range readers {
			first.next(r)
		}
		took = append(took, time.Since(begin))
	}
	b.ReportMetric(quantile(took, 0.5)/1e3, "p50-ms")
	b.ReportMetric(quantile(took, 0.99)/1e3, "p99-ms")
	for _, h := range hosts {
		if got := h.value("x", ""); got != float64(n) {
			b.Errorf("a host says %v, want %d", got, n)
		}
	}
}
