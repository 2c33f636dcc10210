package server

import (
	"bufio"
	"fmt"
	"net/http"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/seed-b96de936/troop/core"
	"github.com/seed-b96de936/troop/core/store"
)

// BenchmarkHome is the first page, and a pipeline's, when there are 10,000 runs: the time to the first byte, budget 50 ms.
func BenchmarkHome(b *testing.B) {
	w := newWorld(b, false)
	p := w.person("v", Viewer)
	files := store.Open(w.repo + "/.troop")
	began := time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)
	for i := range 10_000 {
		at := began.Add(time.Duration(i) * time.Second)
		r := core.Run{ID: core.RunID(core.NewID(at)), Pipeline: "shop", Commit: strings.Repeat("a", 40), Environment: "lab", Status: core.Running, Started: at, PID: os.Getpid(), Stages: []core.StageResult{{ID: "build.app"}}}
		if err := files.PutRun(b.Context(), r); err != nil {
			b.Fatal(err)
		}
		r.Status, r.Ended = core.Passed, at
		if err := files.PutRun(b.Context(), r); err != nil {
			b.Fatal(err)
		}
	}
	for _, path := range []string{"/", "/p/shop"} {
		b.Run(path, func(b *testing.B) {
			for b.Loop() {
				if r := p.get(path); r.status != http.StatusOK || !strings.Contains(r.text, "passed") {
					b.Fatal(r.status, r.text)
				}
			}
		})
	}
}

// BenchmarkWatchers has 1,000 pages that watch the log of one run with 50 lines a second: the time from a line's event to
// each page (p99, budget 250 ms), and the memory of the server and of all its clients together.
func BenchmarkWatchers(b *testing.B) {
	const watchers, rate = 1000, 50
	w := newWorld(b, false)
	p := w.person("v", Viewer)
	files := store.Open(w.repo + "/.troop")
	defer func() { _ = files.Close() }()
	r := core.Run{ID: core.RunID(core.NewID(time.Now())), Pipeline: "shop", Environment: "lab", Status: core.Running, Started: time.Now(), PID: os.Getpid(), Stages: []core.StageResult{{ID: "build.app"}}}
	if err := files.PutRun(b.Context(), r); err != nil {
		b.Fatal(err)
	}
	p.client.Transport = &http.Transport{MaxConnsPerHost: 0}
	var (
		mu     sync.Mutex
		delays []time.Duration
		all    sync.WaitGroup
		ready  sync.WaitGroup
	)
	ready.Add(watchers)
	for range watchers {
		all.Go(func() {
			q, err := http.NewRequestWithContext(b.Context(), http.MethodGet, w.url+"/p/shop/runs/"+string(r.ID)+"/log/build.app/live?after=0", nil)
			if err != nil {
				b.Error(err)
				return
			}
			answer, err := p.client.Do(q)
			if err != nil {
				b.Error(err)
				ready.Done()
				return
			}
			defer func() { _ = answer.Body.Close() }()
			var own []time.Duration
			lines := bufio.NewScanner(answer.Body)
			waiting := true
			for lines.Scan() {
				_, stamp, ok := strings.Cut(lines.Text(), "at=")
				if !ok {
					continue
				}
				stamp, _, _ = strings.Cut(stamp, ";")
				ns, err := strconv.ParseInt(stamp, 10, 64)
				if err != nil {
					b.Error(err)
				}
				if ns == 0 && waiting {
					waiting = false
					ready.Done()
				}
				if ns > 0 {
					own = append(own, time.Since(time.Unix(0, ns)))
				}
			}
			mu.Lock()
			delays = append(delays, own...)
			mu.Unlock()
		})
	}
	say := func(ns int64) {
		if err := files.Append(b.Context(), core.Complete(core.Event{Run: r.ID, Source: "build.app", Kind: core.KindLog, Summary: fmt.Sprintf("at=%d;", ns)})); err != nil {
			b.Fatal(err)
		}
	}
	say(0) // those who have seen it are connected
	ready.Wait()
	lines := 0
	for b.Loop() {
		say(time.Now().UnixNano())
		lines++
		time.Sleep(time.Second / rate)
	}
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	r.Status, r.Ended = core.Passed, time.Now()
	if err := files.PutRun(b.Context(), r); err != nil {
		b.Fatal(err)
	}
	all.Wait()
	if len(delays) != lines*watchers {
		b.Fatalf("%d lines came, want %d", len(delays), lines*watchers)
	}
	slices.Sort(delays)
	b.ReportMetric(float64(delays[len(delays)*99/100].Milliseconds()), "p99-ms")
	b.ReportMetric(float64(m.Sys)/(1<<20), "MiB")
}
