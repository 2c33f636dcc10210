package server

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"github.com/seed-b96de936/troop/core"
)

// aForge stands for a forge: it takes statuses as the documentation of GitHub and GitLab says, and may fail a few times before.
type aForge struct {
	*httptest.Server

	mu      sync.Mutex
	refuses int
	taken   []map[string]string // bodies, with path and who
}

func newForge(t *testing.T) *aForge {
	t.Helper()
	f := &aForge{}
	f.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		f.mu.Lock()
		defer f.mu.Unlock()
		var body map[string]string
		if err := json.NewDecoder(r.Body).Decode(&body); err != nil || r.Method != http.MethodPost {
			http.Error(w, "what is this?", http.StatusUnprocessableEntity)
			return
		}
		if f.refuses > 0 {
			f.refuses--
			http.Error(w, "not now", http.StatusBadGateway)
			return
		}
		body["path"], body["who"] = r.URL.EscapedPath(), r.Header.Get("Authorization")
		f.taken = append(f.taken, body)
		w.WriteHeader(http.StatusCreated)
	}))
	t.Cleanup(f.Close)
	return f
}

// heard is the first that fits.
func (f *aForge) heard(fits func(map[string]string) bool) map[string]string {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, x := range f.taken {
		if fits(x) {
			return x
		}
	}
	return nil
}

func (f *aForge) last() map[string]string {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.taken) == 0 {
		return nil
	}
	return f.taken[len(f.taken)-1]
}

// TestStatuses has the forge hear how a commit fares: also of one that fails to answer, and by the server that comes after one
// that was ended in between.
func TestStatuses(t *testing.T) {
	git := newForge(t)
	git.refuses = 2
	w := newWorld(t, true)
	bare := w.pipelines["shop"].Remote
	again := func(api string) { // and another server
		w.leave()
		w.more = []func(*Options){func(o *Options) {
			o.Tokens, o.APIs, o.reportPause = map[string]string{Everywhere: "t"}, map[string]string{"SHOP": api}, 10*time.Millisecond
		}}
		w.serve(bare)
	}
	again(git.URL)
	p := w.person("p", Operator)
	head := w.git("rev-parse", "HEAD")
	body := `{"action":"opened","number":7,"pull_request":{"head":{"sha":"` + head + `","repo":{"full_name":"x/shop"}},"base":{"repo":{"full_name":"x/shop"}}}}`
	if r := w.nobody().do(http.MethodPost, "/hooks/gitea/shop", strings.NewReader(body), map[string]string{
		"X-Gitea-Event": "pull_request", "X-Gitea-Delivery": "1", "X-Gitea-Signature": signature("hush", body),
	}); r.status != http.StatusAccepted {
		t.Fatalf("a pull request: %d %s", r.status, r.text)
	}
	id := p.run(url.Values{"environment": {"lab"}})
	w.until("the forge hears that it runs", func() bool { return git.last()["description"] == "runs" })
	want := map[string]string{
		"path": "/repos" + strings.TrimSuffix(bare, ".git") + "/statuses/" + head, "who": "Bearer t", "state": "pending", "context": "troop/shop/lab",
		"description": "runs", "target_url": w.base() + "/p/shop/runs/" + string(id),
	}
	if got := git.last(); !maps.Equal(got, want) {
		t.Errorf("got  %v\nwant %v", got, want)
	}
	w.leave()
	w.free()
	again(git.URL)
	w.until("the forge hears that it passed", func() bool {
		return git.heard(func(x map[string]string) bool { return x["state"] == "success" }) != nil
	})
	comments := func(x map[string]string) bool { return x["body"] != "" }
	w.until("its pull request shows the plan", func() bool { return git.heard(comments) != nil })
	page := w.base() + "/p/shop/runs/" + string(id)
	if got, want := git.heard(comments), "**Plan for lab**: 1 to create (plan 0123) ([run "+id.Short()+"]("+page+"))\n\n~~~~text\n+ web-1  <b>\n~~~~\n"; got["body"] != want ||
		got["path"] != "/repos"+strings.TrimSuffix(bare, ".git")+"/issues/7/comments" {
		t.Errorf("the comment: %q, want %q", got, want)
	}
	w.until("nothing is left to tell", func() bool {
		left := 0
		if err := w.db.View(func(tx *bbolt.Tx) error {
			return each(tx, reportsBucket, false, func([]byte, report) bool { left++; return true })
		}); err != nil {
			t.Fatal(err)
		}
		return left == 0
	})

	// A manifest that cannot be used fails its commit. GitLab is told in its own words.
	again(git.URL + "/api/v4")
	w.write("pipeline.hcl", manifestText+"\nstage \"build\" {}\n")
	w.git("commit", "-qam", "wrong")
	w.git("push", "-q", "origin", "main")
	if r := p.post("/p/shop/run", url.Values{"environment": {"lab"}}); r.status < 400 {
		t.Errorf("a manifest with a mistake: %d %s", r.status, r.text)
	}
	head = w.git("rev-parse", "HEAD")
	w.until("the forge hears of the mistake", func() bool { return git.last()["state"] == "failed" })
	want = map[string]string{
		"path": "/api/v4/projects/" + url.PathEscape(strings.Trim(strings.TrimSuffix(bare, ".git"), "/")) + "/statuses/" + head, "who": "Bearer t",
		"state": "failed", "name": "troop/shop/lab", "description": "the manifest cannot be used", "target_url": git.last()["target_url"],
	}
	if got := git.last(); !maps.Equal(got, want) {
		t.Errorf("got  %v\nwant %v", got, want)
	}
}

func TestForgeOf(t *testing.T) {
	for remote, want := range map[string]forge{
		"git@github.com:a/b.git":                {api: "https://api.github.com", repo: "a/b"},
		"ssh://git@gitlab.com:22/a/group/b.git": {gitlab: true, api: "https://gitlab.com/api/v4", repo: "a/group/b"},
		"https://codeberg.org/a/b":              {api: "https://codeberg.org/api/v1", repo: "a/b"},
	} {
		want.token = "t"
		if got, err := forgeOf(remote, "", "t"); err != nil || *got != want {
			t.Errorf("%s: %+v, %v", remote, got, err)
		}
	}
	if f, err := forgeOf("git@git.example.com:a/b.git", "https://git.example.com/api/v4/", "t"); err != nil || !f.gitlab || f.api != "https://git.example.com/api/v4" {
		t.Errorf("a GitLab of one's own: %+v, %v", f, err)
	}
	if _, err := forgeOf("git@git.example.com:a/b.git", "", "t"); err == nil {
		t.Error("the API of a forge of one's own is guessed")
	}
	if f, err := forgeOf("git@github.com:a/b.git", "", ""); f != nil || err != nil {
		t.Errorf("without a token: %v, %v", f, err)
	}
	statuses := []core.Status{core.Pending, core.Running, core.Passed, core.PassedWithFailures, core.Failed, core.Cancelled}
	for gitlab, want := range map[bool][]string{
		false: {"pending", "pending", "success", "success", "failure", "error"},
		true:  {"pending", "running", "success", "success", "failed", "canceled"},
	} {
		var got []string
		for _, s := range statuses {
			got = append(got, (&forge{gitlab: gitlab}).status(s))
		}
		if !slices.Equal(got, want) {
			t.Errorf("gitlab %v: %q, want %q", gitlab, got, want)
		}
	}
}

// TestForks has a stranger's pull request wait until somebody lets it begin.
func TestForks(t *testing.T) {
	w := newWorld(t, true)
	w.free()
	p, viewer, stranger := w.person("p", Operator), w.person("v", Viewer), w.nobody()
	w.git("checkout", "-q", "-b", "theirs")
	w.write("theirs", "theirs")
	w.git("add", ".")
	w.git("commit", "-q", "-m", "from a fork")
	w.git("push", "-q", "origin", "HEAD:refs/pull/7/head", "HEAD:refs/merge-requests/7/head")
	head := w.git("rev-parse", "HEAD")
	deliveries := 0
	github := func(action, fork string) reply {
		t.Helper()
		deliveries++
		body := `{"action":"` + action + `","number":7,"pull_request":{"head":{"sha":"` + head + `","repo":{"full_name":"` + fork + `"}},"base":{"ref":"main","repo":{"full_name":"x/shop"}}}}`
		return stranger.do(http.MethodPost, "/hooks/github/shop", strings.NewReader(body), map[string]string{
			"X-GitHub-Event": "pull_request", "X-GitHub-Delivery": fmt.Sprint(deliveries), "X-Hub-Signature-256": "sha256=" + signature("hush", body),
		})
	}
	queued := func() (list []Job) {
		t.Helper()
		list, err := w.queue()
		if err != nil {
			t.Fatal(err)
		}
		return list
	}
	for action, want := range map[string]string{"labeled": "nothing to do when it is labeled", "opened": "the push says it, too"} {
		if r := github(action, "x/shop"); r.status != http.StatusAccepted || !strings.Contains(r.text, want) {
			t.Errorf("%s of the repository itself: %d %s", action, r.status, r.text)
		}
	}
	for _, action := range []string{"opened", "synchronize"} { // the newer one takes the place of the other
		if r := github(action, "stranger/shop"); r.status != http.StatusAccepted || !strings.Contains(r.text, "waits") {
			t.Fatalf("%s: %d %s", action, r.status, r.text)
		}
	}
	list := queued()
	if len(list) != 1 || list[0].Fork != "stranger/shop" || list[0].Run.Commit != head || list[0].Run.Environment != "" || !list[0].Started.IsZero() {
		t.Fatalf("the queue has %+v", list)
	}
	id := list[0].Run.ID
	page := "/p/shop/runs/" + string(id)
	// Others pass it by.
	other := p.run(url.Values{"environment": {"lab"}, "branch": {"main"}})
	w.until("another run passes", func() bool { return w.status(other) == core.Passed })
	if w.status(id) != "" {
		t.Error("it began by itself")
	}
	if r := p.get(page); !strings.Contains(r.text, "of the fork stranger/shop") || !strings.Contains(r.text, "Let it begin") {
		t.Errorf("its page does not say what it waits for: %s", r.text)
	}
	if r := viewer.post(page+"/admit", nil); r.status != http.StatusForbidden {
		t.Errorf("a viewer lets it begin: %d", r.status)
	}
	if r := p.post(page+"/admit", nil); r.status != http.StatusSeeOther {
		t.Fatalf("let it begin: %d %s", r.status, r.text)
	}
	w.until("it passes", func() bool { return w.status(id) == core.Passed })
	if r := p.post(page+"/admit", nil); r.status < 400 {
		t.Errorf("twice: %d %s", r.status, r.text)
	}
	if r := p.get("/audit"); !strings.Contains(r.text, "of stranger/shop begin") {
		t.Errorf("the audit trail does not say who let it begin: %s", r.text)
	}

	// GitLab's merge request; an update without a commit is none.
	gitlab := func(id, more string) reply {
		return stranger.do(http.MethodPost, "/hooks/gitlab/shop", strings.NewReader(
			`{"object_attributes":{"iid":7,`+more+`,"source":{"path_with_namespace":"stranger/shop"},"target":{"path_with_namespace":"x/shop"}}}`,
		), map[string]string{"X-Gitlab-Event": "Merge Request Hook", "X-Gitlab-Token": "hush", "X-Gitlab-Event-UUID": id})
	}
	if r := gitlab("g1", `"action":"update"`); !strings.Contains(r.text, "the same") {
		t.Errorf("a new title: %d %s", r.status, r.text)
	}
	if r := gitlab("g2", `"action":"update","oldrev":"`+head+`"`); r.status != http.StatusAccepted || len(queued()) != 1 || queued()[0].Fork != "stranger/shop" {
		t.Errorf("a new commit: %d %s %+v", r.status, r.text, queued())
	}
	if r := p.post("/p/shop/runs/"+string(queued()[0].Run.ID)+"/cancel", nil); r.status != http.StatusSeeOther || len(queued()) != 0 {
		t.Errorf("refuse it: %d %s", r.status, r.text)
	}
}
