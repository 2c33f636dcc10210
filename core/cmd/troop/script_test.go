package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"filippo.io/age"
	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3mem"
	"github.com/rogpeppe/go-internal/testscript"

	"github.com/seed-b96de936/troop/core/preflight/fakeaws"
	"github.com/seed-b96de936/troop/core/vault"
	"github.com/seed-b96de936/troop/plugins/sdk/bucket/buckettest"
	"github.com/seed-b96de936/troop/plugins/sdk/proc"
)

func TestMain(m *testing.M) {
	proc.Main()
	testscript.Main(tests{m}, map[string]func(){"troop": main})
}

type tests struct{ *testing.M }

func (t tests) Run() int {
	defer func() {
		if dir, err := scratch(); err == nil {
			_ = os.RemoveAll(dir)
		}
	}()
	return t.M.Run()
}

// documented are the folders of the plugins that have a reference page, the stages in the order of a pipeline.
var documented = []string{
	"../../../plugins/build", "../../../plugins/test", "../../../plugins/analysis", "../../../plugins/deploy",
	"../../../plugins/doctor", "../../../plugins/maintenance", "../../../examples/plugins/licences",
}

// scratch is a folder for all tests of this process; it goes with the last one.
var scratch = sync.OnceValues(func() (string, error) { return os.MkdirTemp("", "troop-script") })

// plugins builds the plugins of documented, and the dummy, once, with the flags of the Makefile.
var plugins = sync.OnceValues(func() (string, error) {
	dir, err := scratch()
	if err != nil {
		return "", err
	}
	out := filepath.Join(dir, "plugins") + "/"
	folders := append([]string{"../../../plugins/sdk/sdktest/dummy"}, documented...)
	build := exec.Command("go", append([]string{"build", "-trimpath", "-buildvcs=false", "-ldflags", "-s -w", "-o", out}, folders...)...)
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if text, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build plugins: %w: %s", err, text)
	}
	for _, folder := range folders {
		name := filepath.Base(folder)
		if err := os.Rename(out+name, out+"troop-plugin-"+name); err != nil {
			return "", err
		}
	}
	return out, nil
})

// amazon is an account with two hosts of an environment production.
func amazon() *fakeaws.Account {
	a := fakeaws.New("eu-central-1")
	for _, id := range []string{"i-0aaaaaaaaaaaaaaa1", "i-0aaaaaaaaaaaaaaa2"} {
		a.Instances = append(a.Instances, fakeaws.Instance{
			ID: id, Type: "t3.small", State: "running", Cores: 1, Threads: 2, Tags: []fakeaws.Tag{{Key: "troop:environment", Value: "production"}},
		})
	}
	return a
}

// TestScripts runs the command lines in testdata/*.txtar. In them, PLUGINS is a folder with the plugins of this
// tree, which are also in ~/.troop/plugins, and REPO is this checkout. The command s3 starts a server with the
// bucket "states" in it; else the AWS SDK asks an account of our own.
func TestScripts(t *testing.T) {
	dir, err := plugins()
	if err != nil {
		t.Fatal(err)
	}
	repo, err := filepath.Abs("../../..")
	if err != nil {
		t.Fatal(err)
	}
	goEnv, err := exec.Command("go", "env", "GOCACHE", "GOMODCACHE", "GOFLAGS").Output()
	if err != nil {
		t.Fatal(err)
	}
	env := strings.Split(string(goEnv), "\n")
	testscript.Run(t, testscript.Params{
		Dir:           "testdata",
		UpdateScripts: os.Getenv("UPDATE") != "",
		Cmds:          map[string]func(*testscript.TestScript, bool, []string){"s3": s3, "objects": objects, "gateway": gateway(t), "seal": seal},
		Setup: func(e *testscript.Env) error {
			home := filepath.Join(e.WorkDir, ".home")
			e.Vars = append(e.Vars,
				"HOME="+home, "XDG_CACHE_HOME="+filepath.Join(dir, "..", "cache"), "PLUGINS="+filepath.Clean(dir), "REPO="+repo,
				"GOCACHE="+env[0], "GOMODCACHE="+env[1], "GOFLAGS="+env[2], "CGO_ENABLED=0",
				"GIT_CONFIG_GLOBAL=/dev/null", "GIT_AUTHOR_NAME=test", "GIT_AUTHOR_EMAIL=test@localhost",
				"GIT_COMMITTER_NAME=test", "GIT_COMMITTER_EMAIL=test@localhost",
			)
			for name, value := range amazon().Serve(e.Defer) {
				e.Vars = append(e.Vars, name+"="+value)
			}
			if err := os.MkdirAll(filepath.Join(home, ".troop"), 0o755); err != nil {
				return err
			}
			return os.Symlink(filepath.Clean(dir), filepath.Join(home, ".troop", "plugins"))
		},
	})
}

// s3 serves the state of a module, and the conditional writes that its lock needs, until the script ends. While the script
// has a file s3-away, it answers as S3 does when it is away.
func s3(ts *testscript.TestScript, _ bool, _ []string) {
	backend := s3mem.New()
	ts.Check(backend.CreateBucket("states"))
	there, away := gofakes3.New(backend).Server(), ts.MkAbs("s3-away")
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, err := os.Stat(away); err == nil {
			http.Error(w, "away", http.StatusServiceUnavailable)
			return
		}
		there.ServeHTTP(w, r)
	}))
	ts.Defer(server.Close)
	backends.Store(server.URL, gofakes3.Backend(backend))
	ts.Setenv("AWS_ENDPOINT_URL_S3", server.URL)
	ts.Setenv("AWS_ACCESS_KEY_ID", "test")
	ts.Setenv("AWS_SECRET_ACCESS_KEY", "test")
	ts.Setenv("AWS_EC2_METADATA_DISABLED", "true")
}

// gateway [CLOCK] gives the script a store on a real S3 server, one for all scripts: its address is in STORE, the folder of
// its bucket in BUCKET. With CLOCK, the machine's clock is that far behind the server's.
func gateway(t *testing.T) func(*testscript.TestScript, bool, []string) {
	t.Helper()
	start := sync.OnceValue(func() *buckettest.Server { return buckettest.Gateway(t) })
	return func(ts *testscript.TestScript, _ bool, args []string) {
		server := start()
		for name, value := range buckettest.Environ() {
			ts.Setenv(name, value)
		}
		ts.Setenv("BUCKET", filepath.Join(server.Dir, server.Bucket))
		ts.Setenv("STORE", server.Endpoint)
		if len(args) == 0 {
			return
		}
		clock, err := time.ParseDuration(args[0])
		ts.Check(err)
		line := server.Line(t)
		line.Do(func(*http.Request) buckettest.Trouble { return buckettest.Trouble{Clock: clock} })
		ts.Setenv("STORE", line.Endpoint)
	}
}

// seal FILE KEY TARGET encrypts a file for an SSH key, as age does.
func seal(ts *testscript.TestScript, _ bool, args []string) {
	recipient, err := vault.ParseKey(ts.ReadFile(args[1]))
	ts.Check(err)
	var sealed bytes.Buffer
	w, err := age.Encrypt(&sealed, recipient)
	ts.Check(err)
	_, err = io.WriteString(w, ts.ReadFile(args[0]))
	ts.Check(errors.Join(err, w.Close()))
	ts.Check(os.WriteFile(ts.MkAbs(args[2]), sealed.Bytes(), 0o600))
}

// backends are what the servers of s3 hold, by their address.
var backends sync.Map

// objects FILE writes the keys and the content of all that the server of s3 has to a file.
func objects(ts *testscript.TestScript, _ bool, args []string) {
	found, _ := backends.Load(ts.Getenv("AWS_ENDPOINT_URL_S3"))
	backend := found.(gofakes3.Backend)
	list, err := backend.ListBucket("states", &gofakes3.Prefix{}, gofakes3.ListBucketPage{})
	ts.Check(err)
	var all strings.Builder
	for _, o := range list.Contents {
		object, err := backend.GetObject("states", o.Key, nil)
		ts.Check(err)
		b, err := io.ReadAll(object.Contents)
		ts.Check(err)
		fmt.Fprintf(&all, "%s\n%s\n", o.Key, b)
	}
	ts.Check(os.WriteFile(args[0], []byte(all.String()), 0o600))
}
