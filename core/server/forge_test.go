package server

import (
	"encoding/json"
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
		w.more = func(o *Options) {
			o.Tokens, o.APIs, o.reportPause = map[string]string{Everywhere: "t"}, map[string]string{"SHOP": api}, 10*time.Millisecond
		}
		w.serve(bare)
	}
	again(git.URL)
	p := w.person("p", Operator)
	id := p.run(url.Values{"environment": {"lab"}})
	head := w.git("rev-parse", "HEAD")
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
	w.until("the forge hears that it passed", func() bool { return git.last()["state"] == "success" })
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
