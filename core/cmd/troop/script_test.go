package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/seed-b96de936/troop/core/preflight/fakeaws"
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

// shipped are the plugins of this tree.
var shipped = []string{"build", "test", "analysis", "deploy", "doctor", "maintenance"}

// scratch is a folder for all tests of this process; it goes with the last one.
var scratch = sync.OnceValues(func() (string, error) { return os.MkdirTemp("", "troop-script") })

// plugins builds the plugins of this tree, and the dummy, once, with the flags of the Makefile.
var plugins = sync.OnceValues(func() (string, error) {
	dir, err := scratch()
	if err != nil {
		return "", err
	}
	out := filepath.Join(dir, "plugins") + "/"
	args := []string{"build", "-ldflags", "-s -w", "-o", out, "../../../plugins/sdk/sdktest/dummy"}
	for _, p := range shipped {
		args = append(args, "../../../plugins/"+p)
	}
	build := exec.Command("go", args...)
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if text, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build plugins: %w: %s", err, text)
	}
	for _, p := range append([]string{"dummy"}, shipped...) {
		if err := os.Rename(out+p, out+"troop-plugin-"+p); err != nil {
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
// tree, which are also in ~/.troop/plugins, and REPO is this checkout. The AWS SDK asks an account of our own.
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
