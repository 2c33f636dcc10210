package server

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/seed-b96de936/troop/core"
	"github.com/seed-b96de936/troop/core/loader"
	"github.com/seed-b96de936/troop/core/mask"
	"github.com/seed-b96de936/troop/core/project"
	"github.com/seed-b96de936/troop/core/store"
)

// standIn is the variable with the folder of a stand-in for the troop program: this test binary, which records runs as
// troop does, as long as the file "go" in the folder says, for ever without it, and repeats what else it is told. The real program is in core/e2e.
const standIn = "TROOP_STAND_IN"

func TestMain(m *testing.M) {
	if dir := os.Getenv(standIn); dir != "" && len(os.Args) > 1 && !strings.HasPrefix(os.Args[1], "-test.") {
		os.Exit(actAsTroop(dir, os.Args[1:])) //nolint:forbidigo // it is a program then
	}
	m.Run()
}

func actAsTroop(dir string, args []string) int {
	if args[0] != "run" {
		_, _ = fmt.Fprintln(os.Stdout, strings.Join(args, " "))
		_, _ = fmt.Fprintln(os.Stdout, "by "+os.Getenv("TROOP_USER")+", webhook secret "+os.Getenv(webhookSecret))
		if slices.Contains(args, "wrong") {
			return 1
		}
		return 0
	}
	value := func(name string) string {
		if i := slices.Index(args, name); i >= 0 {
			return args[i+1]
		}
		return ""
	}
	state := value("--state")
	if state == "" {
		state = filepath.Join(filepath.Dir(args[1]), ".troop")
	}
	files := store.Open(state)
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	r := core.Run{
		ID: core.RunID(value("--id")), Pipeline: "shop", Manifest: args[1], Commit: value("--commit"), Branch: value("--branch"), Tag: value("--tag"),
		Environment: value("--env"), Status: core.Running, Started: time.Now(), PID: os.Getpid(),
		Stages: []core.StageResult{{ID: "build.app", Status: core.Pending}},
	}
	say := func(e core.Event) {
		e.Run, e.Environment = r.ID, r.Environment
		if err := files.Append(ctx, core.Complete(e)); err != nil {
			_, _ = fmt.Fprintln(os.Stdout, err)
		}
	}
	if err := files.PutRun(ctx, r); err != nil {
		_, _ = fmt.Fprintln(os.Stdout, err)
		return 1
	}
	say(core.Event{Source: "build.app", Kind: core.KindStageStarted, Summary: "started"})
	if r.Environment != "" {
		say(core.Event{Source: "run", Kind: core.KindPlan, Summary: "1 to create (plan 0123)", Data: map[string]any{"lines": []string{"+ web-1 ~~~~ <b>"}}})
	}
	for n := 1; ; n++ {
		text, err := os.ReadFile(filepath.Join(dir, "go"))
		length, _ := time.ParseDuration(string(text))
		if err == nil && time.Since(r.Started) > length || ctx.Err() != nil {
			break
		}
		if _, err := os.Stat(dir); err != nil {
			return 1 // its test has ended
		}
		say(core.Event{Source: "build.app", Kind: core.KindLog, Summary: fmt.Sprintf("line %d <b>&", n)})
		time.Sleep(10 * time.Millisecond)
	}
	r.Status, r.Stages[0].Status, r.Ended = core.Passed, core.Passed, time.Now()
	r.Stages[0].Started, r.Stages[0].Ended = r.Started, r.Ended
	if ctx.Err() != nil {
		r.Status, r.Reason, r.Stages[0].Status = core.Cancelled, "interrupted by Ctrl-C (SIGINT)", core.Cancelled
	}
	ctx = context.Background()
	say(core.Event{Source: "build.app", Kind: core.KindStagePassed, Summary: "passed"})
	say(core.Event{Source: "run", Kind: core.RunEnded(r.Status), Summary: r.Reason})
	if err := files.PutRun(ctx, r); err != nil {
		_, _ = fmt.Fprintln(os.Stdout, err)
		return 1
	}
	return 0
}

const manifestText = `pipeline "shop" {
  source { path = "." }
}

environment "lab" {}

environment "live" {}

trigger "push" {
  branches    = ["main"]
  environment = "live"
}

trigger "push" {
  branches    = ["lab*"]
  environment = "lab"
}
`

// world is a server with one pipeline.
type world struct {
	testing.TB
	*Server
	repo, dir, data string
	url             string
	more            []func(*Options) // of the server
	leave           func()           // ends the server; runs go on
}

// newWorld serves a folder, or, with remote, a repository that is mirrored.
func newWorld(t testing.TB, remote bool, more ...func(*Options)) *world {
	t.Helper()
	w := &world{TB: t, repo: t.TempDir(), dir: t.TempDir(), data: t.TempDir(), more: more}
	t.Setenv(standIn, w.dir)
	w.Cleanup(func() { // its runs outlive the server, but not their folders
		w.free()
		w.until("the runs end", func() bool { return !acting(t, w.dir) })
	})
	w.git("init", "-q", "-b", "main")
	w.write("pipeline.hcl", manifestText)
	w.git("add", ".")
	w.git("commit", "-q", "-m", "first")
	if remote {
		bare := filepath.Join(t.TempDir(), "shop.git")
		w.git("clone", "-q", "--bare", w.repo, bare)
		w.git("remote", "add", "origin", bare)
		w.serve(bare)
	} else {
		w.serve(w.repo)
	}
	return w
}

// serve opens the server, as after a restart, too.
func (w *world) serve(pipeline string) {
	w.Helper()
	plugins, err := loader.New(loader.Options{Dirs: []string{w.TempDir()}})
	if err != nil {
		w.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		w.Fatal(err)
	}
	o := Options{
		Pipelines: []string{pipeline}, Data: w.data, Workers: 2, Program: self, Secrets: map[string]string{"SHOP": "hush"},
		Project: project.Options{Mask: mask.New("sentinel-secret"), Plugins: plugins, Workspaces: w.TempDir()},
		Note:    func(line string) { w.Log(line) },
	}
	for _, more := range w.more {
		more(&o)
	}
	w.Server, err = Open(w.Context(), o)
	if err != nil {
		w.Fatal(err)
	}
	s := w.Server
	h := httptest.NewServer(s.Handler())
	w.url, s.listens = h.URL, strings.TrimPrefix(h.URL, "http://")
	ctx, stop := context.WithCancel(context.Background())
	worked := make(chan struct{})
	go func() {
		defer close(worked)
		if err := s.Work(ctx); err != nil {
			w.Error(err)
		}
	}()
	closed := false
	w.leave = func() {
		if closed {
			return
		}
		closed = true
		stop()
		<-worked
		s.stop()
		h.CloseClientConnections()
		h.Close()
		if err := s.Close(); err != nil {
			w.Error(err)
		}
	}
	w.Cleanup(func() { w.leave() })
}

func (w *world) git(args ...string) string {
	w.Helper()
	cmd := exec.CommandContext(w.Context(), "git", append([]string{"-c", "user.name=t", "-c", "user.email=t@example.com"}, args...)...)
	cmd.Dir = w.repo
	out, err := cmd.CombinedOutput()
	if err != nil {
		w.Fatalf("git %q: %v\n%s", args, err, out)
	}
	return strings.TrimSpace(string(out))
}

func (w *world) write(name, text string) {
	w.Helper()
	if err := os.WriteFile(filepath.Join(w.repo, name), []byte(text), 0o600); err != nil {
		w.Fatal(err)
	}
}

// acting reports whether a stand-in of this folder lives.
func acting(t testing.TB, dir string) bool {
	t.Helper()
	lists, err := filepath.Glob("/proc/self/task/*/children")
	if err != nil {
		t.Fatal(err)
	}
	for _, list := range lists {
		children, _ := os.ReadFile(list) // or the thread has ended
		for pid := range strings.FieldsSeq(string(children)) {
			env, _ := os.ReadFile("/proc/" + pid + "/environ") // or the process has ended
			if slices.Contains(strings.Split(string(env), "\x00"), standIn+"="+dir) {
				return true
			}
		}
	}
	return false
}

// free lets all runs end, at once or after so long.
func (w *world) free(after ...time.Duration) {
	w.Helper()
	text := "0s"
	if len(after) > 0 {
		text = after[0].String()
	}
	if err := os.WriteFile(filepath.Join(w.dir, "go"), []byte(text), 0o600); err != nil {
		w.Fatal(err)
	}
}

// until waits for a state.
func (w *world) until(what string, ok func() bool) {
	w.Helper()
	for end := time.Now().Add(2 * time.Minute); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			w.Fatalf("waited in vain for: %s", what)
		}
	}
}

// status is that of a run.
func (w *world) status(id core.RunID) core.Status {
	w.Helper()
	p, err := w.pipelines["shop"].read(w.Context())
	if err != nil {
		w.Fatal(err)
	}
	r, err := p.Files.Run(w.Context(), id)
	if err != nil {
		return ""
	}
	return r.Status
}

// person is a browser, or a program with a token.
type person struct {
	*world
	client *http.Client
	token  string
}

const password = "correct horse battery"

// person makes an account with a role everywhere, and signs in.
func (w *world) person(name string, role Role) *person {
	w.Helper()
	return w.personIn(name, map[string]Role{Everywhere: role})
}

func (w *world) personIn(name string, places map[string]Role) *person {
	w.Helper()
	p := w.nobody()
	link, err := w.invite(name, places)
	if err != nil {
		w.Fatal(err)
	}
	r := p.post(strings.TrimPrefix(link, w.base()), url.Values{"password": {password}, "again": {password}})
	if r.status != http.StatusSeeOther {
		w.Fatalf("accept the invitation: %d %s", r.status, r.text)
	}
	return p
}

// nobody has not signed in.
func (w *world) nobody() *person {
	jar, err := cookiejar.New(nil)
	if err != nil {
		w.Fatal(err)
	}
	return &person{world: w, client: &http.Client{
		Jar: jar, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport: &http.Transport{TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12}},
	}}
}

type reply struct {
	status int
	text   string
	header http.Header
}

func (p *person) do(method, path string, body io.Reader, header map[string]string) reply {
	p.Helper()
	r, err := http.NewRequestWithContext(p.Context(), method, p.url+path, body)
	if err != nil {
		p.Fatal(err)
	}
	for name, value := range header {
		r.Header.Set(name, value)
	}
	if p.token != "" {
		r.Header.Set("Authorization", "Bearer "+p.token)
	}
	answer, err := p.client.Do(r)
	if err != nil {
		p.Fatal(err)
	}
	defer func() { _ = answer.Body.Close() }()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		p.Fatal(err)
	}
	return reply{answer.StatusCode, string(text), answer.Header}
}

func (p *person) get(path string) reply {
	p.Helper()
	return p.do(http.MethodGet, path, nil, nil)
}

func (p *person) post(path string, form url.Values) reply {
	p.Helper()
	return p.do(http.MethodPost, path, strings.NewReader(form.Encode()), map[string]string{"Content-Type": "application/x-www-form-urlencoded"})
}

// run starts a run and returns its ID.
func (p *person) run(form url.Values) core.RunID {
	p.Helper()
	r := p.post("/p/shop/run", form)
	if r.status != http.StatusSeeOther {
		p.Fatalf("start a run: %d %s", r.status, r.text)
	}
	return core.RunID(r.header.Get("Location")[len("/p/shop/runs/"):])
}
