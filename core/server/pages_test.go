package server

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"

	"github.com/seed-b96de936/troop/core"
	"github.com/seed-b96de936/troop/core/bus/redistest"
	"github.com/seed-b96de936/troop/core/flags"
	"github.com/seed-b96de936/troop/core/notify"
	"github.com/seed-b96de936/troop/core/queue"
	"github.com/seed-b96de936/troop/core/store"
)

// TestPages looks at every page in a browser, wide and at the width of a telephone, with nothing to show and with much: no
// page is wider than its window, and no script of it fails. TROOP_SCREENSHOTS names a folder for pictures.
func TestPages(t *testing.T) {
	t.Run("empty", func(t *testing.T) {
		redis := redistest.Start(t)
		w := newWorld(t, false, func(o *Options) { o.Queue = redis.URL() })
		w.free()
		look(t, w.url, w.person("ops", Owner), "empty", map[string]string{
			"home": "/", "pipeline": "/p/shop", "trend": "/p/shop/trend", "environment": "/p/shop/environments/lab", "plan": "/p/shop/environments/lab/plan",
			"queue": "/queue", "audit": "/audit", "people": "/people", "account": "/account", "missing": "/p/shop/runs/nothing",
		})
		look(t, w.url, nil, "empty", map[string]string{"sign-in": "/sign-in"})
	})
	t.Run("full", func(t *testing.T) {
		redis := redistest.Start(t)
		w := newWorld(t, false, func(o *Options) { o.Queue = redis.URL() })
		w.write("pipeline.hcl", manifestText+"\nenvironment \"given\" {\n  host \"web-1\" {\n    address = \"192.0.2.1\"\n    roles   = [\"production\", \"router\", \"canary\"]\n    user    = \"deploy\"\n  }\n}\n")
		p := w.person("ops", Owner)
		run, before := w.muchHappened(t)
		w.workersCome(t, redis)
		for i := range 4 {
			w.personIn(fmt.Sprintf("somebody.with.a.long.name-%d@example.com", i), map[string]Role{"shop/lab": Operator, "shop": Viewer})
		}
		for i := range 6 { // one goes on in each environment, the others wait
			p.run(url.Values{"environment": {[]string{"lab", "live"}[i%2]}, "reason": {"the release of the quarter, which marketing has announced for noon"}})
		}
		p.post("/account/token", url.Values{"label": {"ci"}, "most": {"operator"}, "days": {"90"}})
		p.post("/p/shop/environments/lab/action/deploy/promote", url.Values{"reason": {strings.Repeat("as agreed in the long meeting ", 6)}})
		for _, want := range []string{">at work<", ">drains<", ">gone<", "without a word for 1h00m"} {
			if r := p.get("/queue"); !strings.Contains(r.text, want) {
				t.Errorf("the queue does not say %q: %s", want, r.text)
			}
		}
		at := httptest.NewServer(w.withPanels())
		t.Cleanup(at.Close)
		look(t, at.URL, p, "full", map[string]string{
			"home": "/", "pipeline": "/p/shop", "environment": "/p/shop/environments/given", "queue": "/queue", "audit": "/audit", "people": "/people", "account": "/account",
			"run": "/p/shop/runs/" + run, "trend": "/p/shop/trend", "log": "/p/shop/runs/" + run + "/log/build.app", "compare": "/p/shop/runs/" + run + "/compare/" + before,
		})
		w.free()
	})
}

// inLog folds the log that the browser shows, and searches it.
func inLog(ctx context.Context, t *testing.T) {
	t.Helper()
	shown := func() (n int) {
		t.Helper()
		if err := chromedp.Run(ctx, chromedp.Evaluate(`[...document.querySelectorAll("#log > li")].filter((l) => l.checkVisibility()).length`, &n)); err != nil {
			t.Fatal(err)
		}
		return n
	}
	if n := shown(); n < 400 {
		t.Errorf("the log shows %d lines", n)
	}
	for _, step := range []struct {
		what string
		do   chromedp.Action
		want int
	}{
		{"folded", chromedp.Click("#log button", chromedp.ByQuery), 2}, // what the engine says
		{"searched, folded", chromedp.SendKeys("[data-search]", "step 39", chromedp.ByQuery), 11},
		{"not searched any more", chromedp.Evaluate(`input.value = ""; search()`, nil), 2},
		{"a link to a line", chromedp.Evaluate(`location.hash = "#L7"; new Promise((r) => setTimeout(r))`, nil, func(p *runtime.EvaluateParams) *runtime.EvaluateParams { return p.WithAwaitPromise(true) }), 402},
	} {
		if err := chromedp.Run(ctx, step.do); err != nil {
			t.Fatalf("%s: %v", step.what, err)
		}
		n := 0
		for end := time.Now().Add(time.Minute); n != step.want; n = shown() {
			if time.Now().After(end) {
				t.Fatalf("%s: the log shows %d lines, want %d", step.what, n, step.want)
			}
		}
	}
}

// look opens pages at both widths.
func look(t *testing.T, at string, p *person, name string, pages map[string]string) {
	t.Helper()
	ctx, stop := chromedp.NewExecAllocator(t.Context(), append(chromedp.DefaultExecAllocatorOptions[:], chromedp.NoSandbox)...)
	defer stop()
	ctx, stop = chromedp.NewContext(ctx)
	defer stop()
	ctx, stop = context.WithTimeout(ctx, 5*time.Minute)
	defer stop()
	chromedp.ListenTarget(ctx, func(e any) {
		if e, ok := e.(*runtime.EventExceptionThrown); ok {
			t.Errorf("a script: %s", e.ExceptionDetails.Error())
		}
	})
	if p != nil {
		u, err := url.Parse(p.url)
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range p.client.Jar.Cookies(u) {
			if err := chromedp.Run(ctx, network.SetCookie(c.Name, c.Value).WithURL(at)); err != nil {
				t.Fatal(err)
			}
		}
	}
	for page, path := range pages {
		for _, width := range []int64{360, 1280} {
			var wide int64
			var png []byte
			if err := chromedp.Run(ctx, chromedp.EmulateViewport(width, 800), chromedp.Navigate(at+path), chromedp.WaitVisible("#main", chromedp.ByQuery),
				chromedp.Evaluate(`Promise.all([...document.querySelectorAll("[data-panel]")].map((p) => fetch(p.dataset.panel))).then(() => document.documentElement.scrollWidth)`, &wide,
					func(p *runtime.EvaluateParams) *runtime.EvaluateParams { return p.WithAwaitPromise(true) }),
				chromedp.FullScreenshot(&png, 100)); err != nil {
				t.Fatalf("%s: %v", path, err)
			}
			if page == "log" && width > 1000 {
				inLog(ctx, t)
			}
			if wide > width {
				t.Errorf("%s, %s is %d pixels wide in a window of %d", name, page, wide, width)
			}
			if dir := os.Getenv("TROOP_SCREENSHOTS"); dir != "" {
				if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("%s-%s-%d.png", name, page, width)), png, 0o600); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
}

// muchHappened records 60 runs. It returns the newest, which goes on and has said much, and the one before.
func (w *world) muchHappened(t *testing.T) (newest, before string) {
	t.Helper()
	files := store.Open(filepath.Join(w.repo, ".troop"))
	defer func() { _ = files.Close() }()
	put := func(r core.Run) {
		t.Helper()
		if err := files.PutRun(t.Context(), r); err != nil {
			t.Fatal(err)
		}
	}
	began := time.Now().Add(-61 * time.Hour)
	var r core.Run
	for i := range 60 {
		before = string(r.ID)
		began = began.Add(time.Hour)
		r = core.Run{
			ID: core.RunID(core.NewID(began)), Pipeline: "shop", Commit: w.git("rev-parse", "HEAD"), Branch: []string{"main", "feature/a-branch-with-a-name-that-says-much-too-much"}[i%2],
			Subject: "Take orders of several currencies, and round each as its country does", Environment: []string{"lab", "live"}[i%2],
			Status: core.Running, Started: began, PID: os.Getpid(), Stages: []core.StageResult{
				{ID: "build.app", Status: core.Running, Started: began}, {ID: "test.unit", Status: core.Pending}, {ID: "deploy.shop", Status: core.Pending},
			},
		}
		put(r)
		if i == 59 {
			break
		}
		r.Status, r.Ended, r.Stages[0].Status, r.Stages[0].Ended = core.Passed, began.Add(7*time.Minute), core.Passed, began.Add(time.Minute)
		if i%3 == 0 {
			r.Status, r.Reason = core.Failed, "deploy.shop: the canary serves 3.2 % errors, more than 1 %, over 400 requests: /checkout answers 500 in release 8c1f2d3 and not in production"
		}
		put(r)
		for j, name := range []string{"coverage of js", "tests", "failed tests", "a figure with a name that a plugin of somebody else has chosen"} {
			if err := files.Append(t.Context(), core.Complete(core.Event{Run: r.ID, Environment: r.Environment, Source: "build.app", Kind: core.KindMetric, Summary: name, Data: map[string]any{"name": name, "value": 70 + float64(i*i%11)*1.7*float64(j), "unit": "%", "limit": 65.0}})); err != nil {
				t.Fatal(err)
			}
		}
	}
	say := func(source, kind, summary string, data map[string]any) {
		t.Helper()
		if err := files.Append(t.Context(), core.Complete(core.Event{Run: r.ID, Environment: r.Environment, Source: source, Kind: kind, Summary: summary, Data: data})); err != nil {
			t.Fatal(err)
		}
	}
	say("build.app", core.KindStageStarted, "started", nil)
	for i := range 400 {
		say("build.app", core.KindLog, fmt.Sprintf("step %d: %s", i, strings.Repeat("compile/some/long/path/without/a/blank/", 1+i%7)), map[string]any{"error": i%50 == 0})
	}
	say("build.app", core.KindStagePassed, "passed", map[string]any{"seconds": 61.5})
	say("test.unit", core.KindStageStarted, "started", nil)
	say("test.unit", core.KindFinding, "the branch is called master here, and this rule was made for another one", map[string]any{"path": "pipeline.hcl", "line": 10, "column": 3, "severity": "warning", "rule": "branches"})
	for i := range 12 {
		say("test.unit", core.KindFinding, "want 3, got 4", map[string]any{"path": "src/orders/a/folder/with/a/name/that/is/long/rounding_test.js", "line": 10 + i, "column": 3, "severity": "error", "rule": "assert"})
	}
	say("test.unit", core.KindMetric, "coverage", map[string]any{"name": "coverage", "value": 71.3, "unit": "%", "limit": 80.0, "detail": "lines of src, without src/generated"})
	say("test.unit", core.KindTable, "slowest", map[string]any{"columns": []string{"Test", "Seconds", "Last time"}, "rows": [][]string{{"rounding of orders in several currencies with discounts", "12.1", "3.0"}, {"checkout", "4.0", "4.1"}}})
	say("test.unit", core.KindStageFailed, "12 of 340 tests fail", map[string]any{"seconds": 20.0})
	say("deploy.shop", core.KindStageStarted, "started", nil)
	for i := range 60 {
		for _, name := range []string{"canary errors", "production errors", "canary p99", "production p99"} {
			say("deploy.shop", core.KindMetric, name, map[string]any{"name": name, "value": float64(i%7) * 1.37, "unit": "%", "limit": 9.0, "detail": fmt.Sprintf("%d requests, interval 0.4 to 2.1", 100*i)})
		}
	}
	say("deploy.shop", core.KindProgress, "10 % of the requests", map[string]any{"done": 3, "total": 10})
	var lines []string
	for i := range 30 {
		lines = append(lines, fmt.Sprintf("+ web-%d  t3.small in eu-central-1a, Debian 12 of 3 days ago, 20 GiB, address 10.0.0.%d, %s", i, i, strings.Repeat("x", 120)))
	}
	say("run", core.KindPlan, "30 to create", map[string]any{"review": "approved by ops", "lines": lines})
	return string(r.ID), before
}

// workersCome has three workers: one at work, one that ends, one that nobody hears of any more.
func (w *world) workersCome(t *testing.T, redis *redistest.Server) {
	t.Helper()
	q, err := queue.Open(t.Context(), redis.URL())
	if err != nil {
		t.Fatal(err)
	}
	gone := queue.Worker{Name: "builder-3", Machine: "builder-3", Pipelines: []string{"shop"}, Labels: []string{"linux", "amd64"}, Slots: 2, Since: time.Now().Add(-3 * time.Hour)}
	if err := q.Beat(t.Context(), gone); err != nil {
		t.Fatal(err)
	}
	age := fmt.Sprint(int((queue.Missed - time.Hour).Seconds()))
	if out, err := exec.CommandContext(t.Context(), "redis-cli", "--no-auth-warning", "-a", redistest.Password, "-u", "redis://"+redis.Addr, "expire", "troop:queue:worker:builder-3", age).CombinedOutput(); err != nil || string(out) != "1\n" {
		t.Fatalf("make its last word older: %v, %s", err, out)
	}
	beat := func(ctx context.Context) error {
		return errors.Join(q.Beat(ctx, queue.Worker{
			Name: "builder-1", Machine: "builder-1", Pipelines: []string{"shop"}, Labels: []string{"linux", "amd64", "builder-1"}, Slots: 4, Since: time.Now().Add(-50 * time.Hour),
			Runs: []core.RunID{core.RunID(core.NewID(time.Now()))},
		}), q.Beat(ctx, queue.Worker{
			Name: "builder-2", Machine: "a-machine-with-a-long-name.builders.example.com", Pipelines: []string{"shop"}, Labels: []string{"linux", "arm64", "gpu", "large-memory", "eu-central-1"},
			Slots: 1, Drains: true, Since: time.Now(),
		}))
	}
	if err := beat(t.Context()); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	beating := make(chan struct{})
	go func() {
		defer close(beating)
		for beat(ctx) == nil {
			time.Sleep(time.Second)
		}
	}()
	t.Cleanup(func() { stop(); <-beating; _ = q.Close() })
}

// withPanels is the server with panels of an environment that no test of this package has.
func (w *world) withPanels() http.Handler {
	now := time.Now()
	var hosts []core.Host
	var open notify.Overview
	var events []core.Event
	for i := range 24 {
		hosts = append(hosts, core.Host{Name: core.HostName(fmt.Sprintf("web-%d", i)), Role: "production", Address: fmt.Sprintf("ec2-192-0-2-%d.eu-central-1.compute.example.com", i), PrivateAddress: fmt.Sprintf("10.0.0.%d", i)})
		open.Open = append(open.Open, notify.Open{Receiver: "pager of the team on duty", Key: fmt.Sprintf("doctor.cpu/web-%d/production", i), Told: now.Add(-time.Hour)})
		events = append(events, core.Event{Time: now.Add(-time.Minute), Kind: "doctor.cpu.hog", Severity: core.Alert, Host: core.HostName(fmt.Sprintf("web-%d", i)), Summary: "node burns 97 % of a processor since 4 minutes, more than 80 %; the doctor restarts troop-shop-worker.service, which began it"})
	}
	open.Silences = []notify.Silence{{Match: "doctor.*", Until: now.Add(time.Hour), By: "ops", Reason: "load test"}}
	var list []flags.Flag
	for i := range 12 {
		list = append(list, flags.Flag{Name: fmt.Sprintf("checkout-with-several-currencies-%d", i), Value: i%2 == 0, State: "ENABLED", Updated: now.Add(-time.Hour), By: "ops", Reason: "the release of the quarter", Targeting: json.RawMessage(`{}`)})
	}
	panels := map[string]any{
		"hosts": hosts, "alerts": open, "events": events, "flags": struct{ Flags, Audit []flags.Flag }{list, list},
		"trouble": errors.New("connect to storage-1: dial tcp 192.0.2.1:22: i/o timeout"),
	}
	all := w.Handler()
	return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		_, name, ok := strings.Cut(r.URL.Path, "/panel/")
		body := panels[name]
		if !ok || body == nil {
			all.ServeHTTP(rw, r)
			return
		}
		var b bytes.Buffer
		if err := w.pages.ExecuteTemplate(&b, "panel-"+name, struct {
			Pipeline, Environment string
			May                   bool
			Body                  any
		}{"shop", "given", true, body}); err != nil {
			w.Error(err)
		}
		_, _ = b.WriteTo(rw)
	})
}
