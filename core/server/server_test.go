package server

import (
	"cmp"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"github.com/seed-b96de936/troop/core"
	"github.com/seed-b96de936/troop/core/store"
)

// TestRoles tries every route with every role: nothing but health, metrics of the process's own kind and the sign-in is
// open, and each act needs its role. A route that this table does not know how to ask for fails it.
func TestRoles(t *testing.T) {
	w := newWorld(t, false)
	w.free()
	owner := w.person("o", Owner)
	id := owner.run(url.Values{"environment": {"lab"}})
	w.until("the run passes", func() bool { return w.status(id) == core.Passed })
	people := []struct {
		role Role
		*person
	}{
		{Nobody, w.nobody()}, {"none", w.personIn("n", nil)}, {Viewer, w.person("v", Viewer)}, {Operator, w.person("p", Operator)}, {Approver, w.person("a", Approver)}, {Owner, owner},
	}
	// What stands for the parts of a path. What is not there is found out only after the role.
	parts := strings.NewReplacer("{pipeline}", "shop", "{run}", string(id), "{other}", string(id), "{source}", "build.app", "{environment}", "lab",
		"{panel}", "hosts", "{act}", "1", "{type}", "deploy", "{action}", "promote", "{secret}", "x", "{$}", "")
	for _, r := range w.routes() {
		if r.Path == "/sign-out" || strings.HasPrefix(r.Path, "/hooks/") {
			continue // tried elsewhere
		}
		path := parts.Replace(r.Path)
		if strings.Contains(path, "{") {
			t.Errorf("%s: this test has no value for a part of its path", r.Path)
		}
		for _, p := range people {
			got := p.do(r.Method, path, strings.NewReader(""), map[string]string{"Content-Type": "application/x-www-form-urlencoded"})
			refused := got.status == http.StatusUnauthorized || got.status == http.StatusForbidden ||
				got.status == http.StatusSeeOther && strings.HasPrefix(got.header.Get("Location"), "/sign-in?to=")
			hidden := got.status == http.StatusNotFound && strings.Contains(got.text, "pipeline shop not found")
			var want bool // the caller gets through
			switch p.role {
			case Nobody:
				want = r.Role == Nobody || strings.HasPrefix(r.Path, "/sign-in") && r.Method == http.MethodPost
			case "none":
				want = r.Role == Nobody || r.Own
			default:
				want = p.role.atLeast(r.Role)
			}
			if strings.HasPrefix(r.Path, "/sign-in") && r.Method == http.MethodPost {
				refused, hidden = false, false // a wrong password
			}
			if got := !refused && !hidden; got != want {
				t.Errorf("%s %s as %q: let through %v, want %v", r.Method, r.Path, p.role, got, want)
			}
		}
	}
}

// TestPlaces has somebody who may act in one environment only.
func TestPlaces(t *testing.T) {
	w := newWorld(t, false)
	w.free()
	p := w.personIn("p", map[string]Role{"shop/lab": Operator})
	if r := p.get("/"); !strings.Contains(r.text, "/environments/lab") || strings.Contains(r.text, "/environments/live") {
		t.Errorf("the first page shows what they may not see, or not what they may: %s", r.text)
	}
	if r := p.get("/p/shop/environments/live"); r.status != http.StatusForbidden {
		t.Errorf("another environment: %d", r.status)
	}
	// The branch main goes to live by its trigger, whatever the form leaves out.
	if r := p.post("/p/shop/run", url.Values{}); r.status != http.StatusForbidden || !strings.Contains(r.text, "operator in shop/live") {
		t.Errorf("a run to live: %d %s", r.status, r.text)
	}
	id := p.run(url.Values{"environment": {"lab"}})
	w.until("the run passes", func() bool { return w.status(id) == core.Passed })
}

func TestSignIn(t *testing.T) {
	w := newWorld(t, false)
	first, err := w.FirstLink()
	if err != nil || !strings.HasPrefix(first, w.base()+"/invite/") {
		t.Fatalf("the first link: %q, %v", first, err)
	}
	p := w.nobody()
	path := strings.TrimPrefix(first, w.base())
	for _, bad := range []url.Values{{"password": {"short"}, "again": {"short"}}, {"password": {password}, "again": {"other"}}} {
		if r := p.post(path, bad); r.status != http.StatusUnprocessableEntity {
			t.Errorf("%v: %d", bad, r.status)
		}
	}
	if r := p.post(path, url.Values{"password": {password}, "again": {password}}); r.status != http.StatusSeeOther {
		t.Fatalf("the first owner: %d %s", r.status, r.text)
	}
	if r := w.nobody().post(path, url.Values{"password": {password}, "again": {password}}); !strings.Contains(r.text, "used already") {
		t.Errorf("the link a second time: %d %s", r.status, r.text)
	}
	if again, err := w.FirstLink(); again != "" || err != nil {
		t.Errorf("a first link although there is an owner: %q, %v", again, err)
	}
	if r := p.get("/people"); r.status != http.StatusOK {
		t.Errorf("the owner's page: %d", r.status)
	}
	// A form of another site is refused, whatever cookies come along.
	if r := p.do(http.MethodPost, "/people", strings.NewReader("act=invite&name=evil"), map[string]string{
		"Content-Type": "application/x-www-form-urlencoded", "Sec-Fetch-Site": "cross-site", "Origin": "https://evil.example",
	}); r.status != http.StatusForbidden {
		t.Errorf("a form of another site: %d", r.status)
	}
	if r := p.post("/people", url.Values{"act": {"remove"}, "name": {"owner"}}); !strings.Contains(r.text, "only owner") {
		t.Errorf("the last owner removed: %d", r.status)
	}
	// A token acts for its owner, up to its role; nothing else makes tokens.
	r := p.post("/account/token", url.Values{"label": {"ci"}, "most": {"viewer"}, "days": {"1"}})
	at := strings.Index(r.text, tokenPrefix)
	if at < 0 {
		t.Fatalf("a token: %d %s", r.status, r.text)
	}
	program := w.nobody()
	program.token, _, _ = strings.Cut(r.text[at:], "<")
	if r := program.get("/api/v1/pipelines"); r.status != http.StatusOK || !strings.Contains(r.text, `"name":"shop"`) {
		t.Errorf("the API by token: %d %s", r.status, r.text)
	}
	if r := program.do(http.MethodPost, "/api/v1/pipelines/shop/runs", strings.NewReader("{}"), nil); r.status != http.StatusForbidden {
		t.Errorf("a viewer's token starts a run: %d", r.status)
	}
	if r := program.post("/account/token", url.Values{"label": {"more"}, "most": {"viewer"}}); r.status != http.StatusForbidden {
		t.Errorf("a token makes a token: %d", r.status)
	}
	p.post("/account/revoke", url.Values{"label": {"ci"}})
	if r := program.get("/api/v1/pipelines"); r.status != http.StatusUnauthorized {
		t.Errorf("a revoked token: %d", r.status)
	}
	// A session and a token end by themselves.
	later := w.person("later", Owner)
	r = later.post("/account/token", url.Values{"label": {"ci"}, "most": {"viewer"}, "days": {"1"}})
	program.token, _, _ = strings.Cut(r.text[strings.Index(r.text, tokenPrefix):], "<")
	if a, b := later.get("/people").status, program.get("/api/v1/pipelines").status; a != http.StatusOK || b != http.StatusOK {
		t.Fatalf("before their end: %d, %d", a, b)
	}
	if err := w.db.Update(func(tx *bbolt.Tx) error {
		past := time.Now().Add(-time.Second)
		sessions, tokens := map[string]session{}, map[string]Token{}
		err := each(tx, sessionsBucket, false, func(key []byte, v session) bool { sessions[string(key)] = v; return true })
		err = cmp.Or(err, each(tx, tokensBucket, false, func(key []byte, v Token) bool { tokens[string(key)] = v; return true }))
		for key, v := range sessions {
			if v.Account != "later" {
				continue
			}
			v.Ends = past
			err = cmp.Or(err, put(tx, sessionsBucket, []byte(key), v))
		}
		for key, v := range tokens {
			v.Ends = past
			err = cmp.Or(err, put(tx, tokensBucket, []byte(key), v))
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	if a, b := later.get("/people").status, program.get("/api/v1/pipelines").status; a != http.StatusSeeOther || b != http.StatusUnauthorized {
		t.Errorf("after their end: %d, %d", a, b)
	}
	// Nobody guesses: after a few tries all are refused, the right one too.
	guess := w.nobody()
	limited := false
	for range 2 * triesAtOnce {
		limited = limited || guess.post("/sign-in", url.Values{"name": {"owner"}, "password": {"wrong"}}).status == http.StatusTooManyRequests
	}
	if !limited {
		t.Error("passwords can be guessed without a bound")
	}
	p.post("/sign-out", nil)
	if r := p.get("/people"); r.status != http.StatusSeeOther {
		t.Errorf("after signing out: %d", r.status)
	}
	for _, to := range []string{"https://evil.example/", "//evil.example/", `/\evil.example`, "javascript:alert(1)", ""} {
		if got := local(to); got != "/" {
			t.Errorf("a sign-in leads to %q for %q", got, to)
		}
	}
}

// TestQueue has more runs than workers and environments, and ends the server in the middle of them.
func TestQueue(t *testing.T) {
	w := newWorld(t, false)
	p := w.person("p", Operator)
	var ids []core.RunID
	for _, env := range []string{"lab", "lab", "live", "lab"} {
		ids = append(ids, p.run(url.Values{"environment": {env}, "reason": {"try"}}))
	}
	w.until("one run goes on in each environment", func() bool {
		return w.status(ids[0]) == core.Running && w.status(ids[2]) == core.Running
	})
	if got := w.status(ids[1]); got != "" {
		t.Errorf("a second run in the same environment is %s", got)
	}
	if r := p.get("/queue"); !strings.Contains(r.text, "waits for run "+ids[0].Short()+" in the same environment") {
		t.Errorf("the queue does not say what a run waits for: %s", r.text)
	}
	// Somebody who waits is cancelled without having begun; who runs is interrupted.
	if r := p.post("/p/shop/runs/"+string(ids[3])+"/cancel", nil); r.status != http.StatusSeeOther {
		t.Fatalf("cancel a run that waits: %d %s", r.status, r.text)
	}
	if got := w.status(ids[3]); got != core.Failed {
		t.Errorf("a run that was cancelled while it waited is %q", got)
	}
	w.leave() // the server ends; its runs do not
	if got := w.status(ids[2]); got != core.Running {
		t.Errorf("after the server's end, the run is %q", got)
	}
	w.serve(w.repo)
	if r := p.post("/p/shop/runs/"+string(ids[2])+"/cancel", nil); r.status != http.StatusSeeOther {
		t.Fatalf("cancel a run of the former server: %d %s", r.status, r.text)
	}
	w.until("the run was interrupted", func() bool { return w.status(ids[2]) == core.Cancelled })
	w.free()
	w.until("the queue is empty", func() bool {
		list, err := w.queue()
		return err == nil && len(list) == 0
	})
	for i, want := range []core.Status{core.Passed, core.Passed, core.Cancelled, core.Failed} {
		if got := w.status(ids[i]); got != want {
			t.Errorf("run %d is %s, want %s", i, got, want)
		}
	}
	if r := p.get("/audit"); !strings.Contains(r.text, "cancel run "+ids[2].Short()) || !strings.Contains(r.text, "try") || strings.Count(r.text, "127.0.0.1") < 6 {
		t.Errorf("the audit trail lacks acts: %s", r.text)
	}
}

// TestInterruptedRun kills a run: it is begun again, but not for ever.
func TestInterruptedRun(t *testing.T) {
	w := newWorld(t, false)
	p := w.person("p", Operator)
	p.run(url.Values{"environment": {"lab"}})
	killed := map[core.RunID]bool{}
	for len(killed) <= mostAgain {
		w.until(fmt.Sprintf("run %d begins", len(killed)+1), func() bool {
			list, err := w.queue()
			if err != nil || len(list) != 1 || list[0].PID == 0 || killed[list[0].Run.ID] || w.status(list[0].Run.ID) != core.Running {
				return false
			}
			killed[list[0].Run.ID] = true
			return syscall.Kill(list[0].PID, syscall.SIGKILL) == nil
		})
	}
	w.until("nobody begins it once more", func() bool {
		list, err := w.queue()
		return err == nil && len(list) == 0
	})
	for id := range killed {
		if got := w.status(id); got != core.Cancelled {
			t.Errorf("run %s is %s", id, got)
		}
	}
	if len(killed) != mostAgain+1 {
		t.Errorf("%d runs, want %d", len(killed), mostAgain+1)
	}
}

// TestKills kills runs at random and ends the server again and again: each request ends in a run that passed, or in as many as
// were killed; no environment ever has two at a time; nothing stays in the queue.
func TestKills(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	w := newWorld(t, false)
	p := w.person("p", Operator)
	w.free(100 * time.Millisecond)
	const requests = 40
	for i := range requests {
		p.run(url.Values{"environment": {[]string{"lab", "live"}[i%2]}, "reason": {fmt.Sprint("request ", i)}})
	}
	killed := 0
	w.until("the queue is empty", func() bool {
		list, err := w.queue()
		if err != nil {
			t.Fatal(err)
		}
		switch j := random.IntN(40); {
		case j == 0:
			w.leave()
			w.serve(w.repo)
		case j < len(list) && list[j].PID > 0 && killed < 30 && w.status(list[j].Run.ID) == core.Running:
			if syscall.Kill(list[j].PID, syscall.SIGKILL) == nil {
				killed++
			}
		}
		return len(list) == 0
	})
	v, err := w.pipelines["shop"].read(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	runs, err := v.Files.Runs(t.Context(), store.Filter{})
	if err != nil {
		t.Fatal(err)
	}
	passed, ends := 0, map[string]time.Time{}
	for _, r := range slices.Backward(runs) { // the oldest first
		if r.Started.Before(ends[r.Environment]) {
			t.Errorf("run %s begins in %s before the one before it has ended", r.ID, r.Environment)
		}
		ends[r.Environment] = r.Ended
		if err := v.Files.Verify(t.Context(), r.ID); err != nil {
			t.Error(err)
		}
		if r.Status == core.Passed {
			passed++
		}
	}
	t.Logf("%d runs for %d requests, %d passed, %d kills", len(runs), requests, passed, killed)
	// Whoever was killed was begun again, mostAgain times at most.
	if passed < requests-killed/(mostAgain+1) || passed > requests || len(runs) > requests+killed {
		t.Errorf("%d of %d requests passed, in %d runs with %d kills", passed, requests, len(runs), killed)
	}
}

// TestActs are commands for somebody, whose words nobody mixes up with options.
func TestActs(t *testing.T) {
	t.Setenv(webhookSecret, "hush") // the server's own: no command knows it
	w := newWorld(t, false)
	p := w.person("p", Operator)
	at := "/p/shop/environments/lab"
	r := p.post(at+"/flag", url.Values{"act": {"set"}, "name": {"--json"}, "value": {"-x"}, "reason": {"--yes"}})
	if r.status != http.StatusSeeOther {
		t.Fatalf("set a flag: %d %s", r.status, r.text)
	}
	acts, err := w.acts(caller{Account: Account{Roles: map[string]Role{Everywhere: Viewer}}, most: Owner}, "shop", 0, 1)
	if err != nil || len(acts) != 1 {
		t.Fatalf("the audit trail: %+v, %v", acts, err)
	}
	want := []string{"flag set --reason=--yes --local --env=lab -- " + filepath.Join(w.repo, "pipeline.hcl") + " --json -x", "by p (troop serve), webhook secret "}
	if got := acts[0].Output; strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("the command was\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if r := p.post(at+"/alert", url.Values{"act": {"silence"}, "match": {"wrong"}}); r.status != http.StatusSeeOther || !strings.HasPrefix(r.header.Get("Location"), "/acts/") {
		t.Errorf("an act that failed leads to %s", r.header.Get("Location"))
	} else if r := p.get(r.header.Get("Location")); !strings.Contains(r.text, ">failed<") {
		t.Errorf("its page: %s", r.text)
	}
	// Silences by the page and by the API.
	silence := "--local --env=lab -- " + filepath.Join(w.repo, "pipeline.hcl") + " doctor.*"
	p.post(at+"/alert", url.Values{"act": {"silence"}, "match": {"doctor.*"}, "for": {"8h"}, "reason": {"load test"}})
	acts, err = w.acts(caller{Account: Account{Roles: map[string]Role{Everywhere: Viewer}}, most: Owner}, "shop", 0, 1)
	if want := "alerts silence --for=8h --reason=load test " + silence; err != nil || acts[0].Output[0] != want {
		t.Errorf("want %q: %+v, %v", want, acts, err)
	}
	for body, want := range map[string]string{
		`{"act": "silence", "match": "doctor.*"}`:   "alerts silence --for=1h " + silence,
		`{"act": "unsilence", "match": "doctor.*"}`: "alerts unsilence " + silence,
	} {
		if r := p.do(http.MethodPost, "/api/v1/pipelines/shop/environments/lab/alerts", strings.NewReader(body), nil); r.status != http.StatusOK || !strings.Contains(r.text, want) {
			t.Errorf("%s: want %q: %d %s", body, want, r.status, r.text)
		}
	}
	if r := p.post(at+"/flag", url.Values{"act": {"audit"}, "name": {"x"}}); r.status != http.StatusUnprocessableEntity {
		t.Errorf("an act that is none: %d", r.status)
	}
	if r := p.post(at+"/approve", url.Values{"plan": {"p1"}}); r.status != http.StatusForbidden {
		t.Errorf("an operator approves: %d", r.status)
	}
}

// TestHostile has names and logs that try to be more than text.
func TestHostile(t *testing.T) {
	w := newWorld(t, false)
	w.free()
	const evil = `<script>alert(1)</script>`
	w.git("checkout", "-q", "-b", "lab"+evil)
	w.git("commit", "-q", "--allow-empty", "-m", evil+"\u202e sentinel-secret")
	p := w.person("p", Operator)
	id := p.run(url.Values{"branch": {"lab" + evil}, "reason": {evil}})
	w.until("the run passes", func() bool { return w.status(id) == core.Passed })
	for _, path := range []string{"/", "/p/shop", "/queue", "/audit", "/p/shop/runs/" + string(id), "/p/shop/runs/" + string(id) + "/live", "/p/shop/runs/" + string(id) + "/log/build.app", "/p/shop?branch=" + url.QueryEscape(evil), "/sign-in?to=" + url.QueryEscape(evil), "/?said=" + url.QueryEscape(evil), "/p/" + url.PathEscape(evil)} {
		r := p.get(path)
		if strings.Contains(r.text, "<script>alert") {
			t.Errorf("%s holds a script of a stranger", path)
		}
		if path != "/p/shop/runs/"+string(id)+"/live" && !strings.Contains(r.header.Get("Content-Security-Policy"), "script-src 'self'") {
			t.Errorf("%s lets scripts of strangers run: %q", path, r.header.Get("Content-Security-Policy"))
		}
	}
	for _, path := range []string{"/static/../server.go", "/static/%2e%2e/server.go", "/p/..%2f..%2fetc/runs/x", "/p/shop/runs/..%2f..%2f..%2fetc%2fpasswd", "/p/shop/runs/" + string(id) + "/log/..%2f..%2frun.json"} {
		if r := p.get(path); r.status == http.StatusOK && !strings.Contains(r.text, `<ol class="log"`) || strings.Contains(r.text, "package server") || strings.Contains(r.text, "root:") {
			t.Errorf("%s: %d %s", path, r.status, r.text)
		}
	}
}

func signature(secret, text string) string {
	h := hmac.New(sha256.New, []byte(secret))
	h.Write([]byte(text))
	return hex.EncodeToString(h.Sum(nil))
}

// TestWebhooks sends what the forges send. The shapes of their payloads are those of their documentation.
func TestWebhooks(t *testing.T) {
	w := newWorld(t, true)
	w.free()
	w.git("commit", "-q", "--allow-empty", "-m", "second")
	w.git("push", "-q", "origin", "main")
	head := w.git("rev-parse", "HEAD")
	body := `{"ref":"refs/heads/main","before":"0000000000000000000000000000000000000000","after":"` + head + `","repository":{"full_name":"x/shop"}}`
	forge := w.nobody()
	send := func(path, text string, header map[string]string) reply {
		t.Helper()
		return forge.do(http.MethodPost, path, strings.NewReader(text), header)
	}
	github := func(delivery, sig string) map[string]string {
		return map[string]string{"X-GitHub-Event": "push", "X-GitHub-Delivery": delivery, "X-Hub-Signature-256": "sha256=" + sig}
	}
	runs := func() []core.Run {
		t.Helper()
		p, err := w.pipelines["shop"].read(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		list, err := p.Files.Runs(t.Context(), store.Filter{Statuses: []core.Status{core.Passed}})
		if err != nil {
			t.Fatal(err)
		}
		return list
	}
	for name, r := range map[string]reply{
		"unsigned":         send("/hooks/github/shop", body, map[string]string{"X-GitHub-Event": "push", "X-GitHub-Delivery": "1"}),
		"another secret":   send("/hooks/github/shop", body, github("1", signature("guess", body))),
		"another body":     send("/hooks/github/shop", body+" ", github("1", signature("hush", body))),
		"no such pipeline": send("/hooks/github/other", body, github("1", signature("hush", body))),
		"gitlab":           send("/hooks/gitlab/shop", body, map[string]string{"X-Gitlab-Event": "Push Hook", "X-Gitlab-Token": "guess", "X-Gitlab-Event-UUID": "1"}),
		"gitea":            send("/hooks/gitea/shop", body, map[string]string{"X-Gitea-Event": "push", "X-Gitea-Signature": signature("guess", body), "X-Gitea-Delivery": "1"}),
		"old": send("/hooks/generic/shop", body, map[string]string{
			"X-Troop-Time": "2020-01-01T00:00:00Z", "X-Troop-Signature": signature("hush", "2020-01-01T00:00:00Z\n"+body),
		}),
	} {
		if r.status != http.StatusForbidden {
			t.Errorf("%s: %d %s", name, r.status, r.text)
		}
	}
	if r := send("/hooks/github/shop", body, github("1", signature("hush", body))); r.status != http.StatusAccepted || !strings.Contains(r.text, "waits") {
		t.Fatalf("GitHub's push: %d %s", r.status, r.text)
	}
	w.until("the push was run", func() bool { return len(runs()) == 1 })
	if r := runs()[0]; r.Commit != head || r.Branch != "main" || r.Environment != "live" {
		t.Errorf("the run: %+v", r)
	}
	if r := send("/hooks/github/shop", body, github("1", signature("hush", body))); !strings.Contains(r.text, "taken before") {
		t.Errorf("the same delivery again: %d %s", r.status, r.text)
	}
	now := time.Now().UTC().Format(time.RFC3339)
	for n, r := range []reply{
		send("/hooks/gitlab/shop", body, map[string]string{"X-Gitlab-Event": "Push Hook", "X-Gitlab-Token": "hush", "X-Gitlab-Event-UUID": "2"}),
		send("/hooks/gitea/shop", body, map[string]string{"X-Gitea-Event": "push", "X-Gitea-Signature": signature("hush", body), "X-Gitea-Delivery": "3"}),
		send("/hooks/generic/shop", `{"ref":"refs/heads/main"}`, map[string]string{"X-Troop-Time": now, "X-Troop-Signature": signature("hush", now+"\n"+`{"ref":"refs/heads/main"}`)}),
	} {
		if r.status != http.StatusAccepted || !strings.Contains(r.text, "waits") {
			t.Errorf("push %d: %d %s", n, r.status, r.text)
		}
	}
	w.until("all pushes were run", func() bool { return len(runs()) == 4 })
	// What starts no run says why.
	w.git("push", "-q", "origin", "main:refs/heads/topic")
	for _, c := range [][2]string{
		{`{"ref":"refs/heads/topic","after":"` + head + `"}`, "no trigger of pipeline.hcl names topic"},
		{`{"ref":"refs/heads/gone","after":"0000000000000000000000000000000000000000","deleted":true}`, "it was deleted"},
		{`{"ref":"refs/heads/never","after":"` + head + `"}`, "never"},
		{`{"ref":"refs/pull/1/head"}`, "neither"},
		{`[]`, "no JSON text of a push"},
	} {
		r := send("/hooks/github/shop", c[0], github(c[0], signature("hush", c[0])))
		if !strings.Contains(r.text, c[1]) || r.status >= 500 {
			t.Errorf("%s: %d %s, want %q", c[0], r.status, r.text, c[1])
		}
	}
	if got := len(runs()); got != 4 {
		t.Errorf("%d runs, want 4", got)
	}
	folder := newWorld(t, false)
	if r := folder.nobody().do(http.MethodPost, "/hooks/github/shop", strings.NewReader(body), github("1", signature("hush", body))); !strings.Contains(r.text, "needs a pipeline of a git remote") {
		t.Errorf("a webhook for a folder: %d %s", r.status, r.text)
	}
}

// TestLive watches a run by both streams, to its end.
func TestLive(t *testing.T) {
	w := newWorld(t, false)
	p := w.person("p", Operator)
	id := p.run(url.Values{"environment": {"lab"}})
	w.until("the run goes on", func() bool { return w.status(id) == core.Running })
	page := p.get("/p/shop/runs/" + string(id))
	if !strings.Contains(page.text, `data-live="/p/shop/runs/`+string(id)+`/live"`) || !strings.Contains(page.text, ">Cancel<") {
		t.Errorf("the page of a run that goes on: %s", page.text)
	}
	parts, lines := make(chan reply, 1), make(chan reply, 1)
	go func() { parts <- p.get("/p/shop/runs/" + string(id) + "/live") }()
	go func() { lines <- p.get("/p/shop/runs/" + string(id) + "/log/build.app/live?after=0") }()
	f := w.watch(w.pipelines["shop"], id)
	w.until("the run was drawn, and lines came", func() bool {
		f.mu.Lock()
		defer f.mu.Unlock()
		return f.drawing > 0 && len(f.lines) > 5
	})
	w.Server.leave(id, f)
	w.free()
	if r := <-parts; !strings.Contains(r.text, "event: parts") || !strings.Contains(r.text, "✓") && !strings.Contains(r.text, "passed") || !strings.HasSuffix(r.text, "event: end\ndata: \n\n") {
		t.Errorf("the parts: %s", r.text)
	}
	r := <-lines
	if !strings.Contains(r.text, "line 3 &lt;b&gt;&amp;") || !strings.HasSuffix(r.text, "event: end\ndata: \n\n") {
		t.Errorf("the lines: %.500s", r.text)
	}
	for n := 1; n <= 5; n++ {
		if got := strings.Count(r.text, fmt.Sprintf(`id="L%d"`, n)); got != 1 {
			t.Errorf("line %d came %d times", n, got)
		}
	}
}

// TestRepeatedRequest starts one run, however often the same request is sent.
func TestRepeatedRequest(t *testing.T) {
	w := newWorld(t, false)
	w.free()
	p := w.person("p", Operator)
	secret, err := w.token("p", "ci", Operator, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	program := w.nobody()
	program.token = secret
	send := func(key, body string) reply {
		return program.do(http.MethodPost, "/api/v1/pipelines/shop/runs", strings.NewReader(body), map[string]string{"Idempotency-Key": key})
	}
	first := send("a", `{"environment":"lab"}`)
	if first.status != http.StatusOK {
		t.Fatalf("%d %s", first.status, first.text)
	}
	if again := send("a", `{"environment":"lab"}`); again.status != first.status || again.text != first.text {
		t.Errorf("again: %d %s, want %s", again.status, again.text, first.text)
	}
	if other := send("a", `{"environment":"live"}`); other.status != http.StatusUnprocessableEntity {
		t.Errorf("another body: %d %s", other.status, other.text)
	}
	if r := send("b", `{"environment":"none"}`); r.status < 400 {
		t.Errorf("an environment that is not there: %d %s", r.status, r.text)
	}
	if next := send("b", `{"environment":"lab"}`); next.status != http.StatusOK || next.text == first.text {
		t.Errorf("a key whose request had failed: %d %s", next.status, next.text)
	}
	if r := p.get("/audit"); strings.Count(r.text, "<td>run 0") != 2 {
		t.Errorf("the audit trail has not two runs: %s", r.text)
	}
}

// TestDashboard has no panel for a figure that the server does not tell.
func TestDashboard(t *testing.T) {
	w := newWorld(t, false)
	w.free()
	p := w.person("p", Operator)
	id := p.run(url.Values{"environment": {"lab"}})
	w.until("the run passes", func() bool { return w.status(id) == core.Passed })
	told := p.get("/metrics")
	text, err := os.ReadFile("../../docs/grafana.json")
	if err != nil {
		t.Fatal(err)
	}
	var board struct {
		Panels []struct {
			Title   string
			Targets []struct{ Expr string }
		}
	}
	if err := json.Unmarshal(text, &board); err != nil || len(board.Panels) < 5 {
		t.Fatalf("%d panels, %v", len(board.Panels), err)
	}
	figures := regexp.MustCompile(`\b(troop|process)_\w+`)
	for _, panel := range board.Panels {
		for _, target := range panel.Targets {
			names := figures.FindAllString(target.Expr, -1)
			if len(names) == 0 {
				t.Errorf("%s: no figure of ours in %s", panel.Title, target.Expr)
			}
			for _, name := range names {
				if !strings.Contains(told.text, "\n"+name+"{") && !strings.Contains(told.text, "\n"+name+" ") {
					t.Errorf("%s: nobody tells %s", panel.Title, name)
				}
			}
		}
	}
	for _, secret := range []string{"sentinel-secret", password} {
		if strings.Contains(told.text, secret) {
			t.Errorf("the figures tell %s", secret)
		}
	}
}

// TestOpenAPI has a description of every route of the API, and of no other.
func TestOpenAPI(t *testing.T) {
	w := newWorld(t, false)
	r := w.nobody().get("/api/v1/openapi.json")
	var doc struct {
		OpenAPI string
		Paths   map[string]map[string]struct {
			Summary    string
			Parameters []struct{ Name, In string }
			Responses  map[string]any
		}
	}
	if err := json.Unmarshal([]byte(r.text), &doc); err != nil || doc.OpenAPI != "3.1.0" {
		t.Fatalf("%v: %.200s", err, r.text)
	}
	described := 0
	for path, ops := range doc.Paths {
		for method, op := range ops {
			described++
			if op.Summary == "" || op.Responses["200"] == nil || len(op.Parameters) < strings.Count(path, "{") {
				t.Errorf("%s %s: %+v", method, path, op)
			}
		}
	}
	want := 0
	for _, r := range w.routes() {
		if strings.HasPrefix(r.Path, "/api/") && r.Path != "/api/v1/openapi.json" {
			want++
		}
	}
	if described != want || want == 0 {
		t.Errorf("%d of %d routes are described", described, want)
	}
}

// TestManifestWithMistakes keeps showing a pipeline whose manifest cannot be used any more, and says why.
func TestManifestWithMistakes(t *testing.T) {
	w := newWorld(t, false)
	p := w.person("p", Operator)
	w.write("pipeline.hcl", "pipeline {")
	if r := p.get("/"); !strings.Contains(r.text, "/p/shop") {
		t.Errorf("the pipeline is gone: %s", r.text)
	}
	if r := p.get("/p/shop"); !strings.Contains(r.text, `class="trouble"`) {
		t.Errorf("its page does not say what is wrong: %s", r.text)
	}
	w.git("commit", "-q", "-am", "bad")
	if r := p.post("/p/shop/run", nil); r.status != http.StatusUnprocessableEntity || !strings.Contains(r.text, "recorded as run") {
		t.Errorf("a run by it: %d %s", r.status, r.text)
	}
}

// TestNewerCommit acts by the manifest of a newer commit, also when it is the same text: its folder is another one. What was
// begun in the former one goes on there.
func TestNewerCommit(t *testing.T) {
	w := newWorld(t, true)
	w.free()
	p := w.person("p", Operator)
	v := w.pipelines["shop"]
	push := func() (hash string) {
		t.Helper()
		w.git("commit", "-q", "--allow-empty", "-m", "another")
		w.git("push", "-q", "origin", "main")
		if err := v.update(t.Context()); err != nil {
			t.Fatal(err)
		}
		return w.git("rev-parse", "HEAD")
	}
	shown := filepath.Join(v.mirror, "troop-shown")
	act := func(hash string) {
		t.Helper()
		p.post("/p/shop/environments/lab/flag", url.Values{"act": {"set"}, "name": {"x"}, "value": {"1"}})
		acts, err := w.acts(caller{Account: Account{Roles: map[string]Role{Everywhere: Viewer}}, most: Owner}, "shop", 0, 1)
		if err != nil || len(acts) != 1 || acts[0].Failed || !strings.Contains(acts[0].Output[0], filepath.Join(shown, hash, "src", "pipeline.hcl")) {
			t.Errorf("by commit %.9s: %+v, %v", hash, acts, err)
		}
	}
	there := func(want ...string) {
		t.Helper()
		entries, err := os.ReadDir(shown)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, e := range entries {
			got = append(got, e.Name())
		}
		slices.Sort(want)
		if !slices.Equal(got, want) {
			t.Errorf("there are the folders %q, want %q", got, want)
		}
	}
	first := w.git("rev-parse", "HEAD")
	second := push()
	act(second)
	third := push()
	act(third)
	there(first, second, third)
	// The first two were replaced days ago, the third just now.
	for hash, age := range map[string]time.Duration{first: 72 * time.Hour, second: 48 * time.Hour, third: 47 * time.Hour} {
		then := time.Now().Add(-age)
		if err := os.Chtimes(filepath.Join(shown, hash), then, then); err != nil {
			t.Fatal(err)
		}
	}
	fourth := push()
	there(third, fourth)
	// Whoever checked it out was killed at it.
	if err := os.Remove(filepath.Join(shown, fourth, "whole")); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(shown, fourth, "src", "pipeline.hcl")); err != nil {
		t.Fatal(err)
	}
	if err := v.update(t.Context()); err != nil {
		t.Fatal(err)
	}
	act(fourth)
}
