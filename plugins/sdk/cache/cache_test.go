package cache_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/seed-b96de936/troop/plugins/sdk"
	"github.com/seed-b96de936/troop/plugins/sdk/cache"
	"github.com/seed-b96de936/troop/plugins/sdk/proc"
	"github.com/seed-b96de936/troop/plugins/sdk/sdktest"
)

type config struct {
	Command []string      `hcl:"command"`
	Cache   *cache.Config `hcl:"cache,block"`
}

// stage restores, runs its command and saves, as the build and the test stage do.
var stage = sdk.Stage[config]{
	Name: "dummy", Version: "1", Capabilities: []sdk.Capability{sdk.Workspace},
	Check: func(c *config) error { return c.Cache.Check("cache") },
	Run: func(ctx context.Context, c *config, job *sdk.Job) error {
		kept, err := cache.Open(c.Cache, job)
		if err != nil {
			return err
		}
		if err := kept.Restore(ctx, job); err != nil {
			return err
		}
		if err := job.Exec(ctx, sdk.Command{Args: c.Command}); err != nil {
			return sdk.Failf("%v", err)
		}
		kept.Save(ctx, job)
		return nil
	},
}

func TestMain(m *testing.M) {
	proc.Main()
	m.Run()
}

func TestCheck(t *testing.T) {
	for body, want := range map[string]string{
		`cache {
  paths = ["../x"]
  key = "1"
}`: `want ~/PATH or the path of a folder inside the source, got "../x"`,
		`cache {
  paths = ["~/../x"]
  key = "1"
}`: "want ~/PATH",
		`cache {
  paths = ["/var"]
  key = "1"
}`: "want ~/PATH",
		`cache {
  paths = ["."]
  key = "1"
}`: "want ~/PATH",
		`cache {
  paths = []
  key = "1"
}`: "empty list",
		`cache {
  paths = ["~/.npm", "vendor"]
  key = "1"
}`: "",
	} {
		err := sdktest.Check(t, stage, "command = [\"true\"]\n"+body)
		if got := fmt.Sprint(err); want == "" && err != nil || !strings.Contains(got, want) {
			t.Errorf("%s: got %v, want %q", body, err, want)
		}
	}
}

// world is a stage with a home folder and a store of its own. run gives it a new workspace, as each commit has.
type world struct {
	t     *testing.T
	state string
}

func newWorld(t *testing.T) *world {
	t.Setenv("HOME", t.TempDir())
	return &world{t, t.TempDir()}
}

func (w *world) run(key, script string) sdktest.Result {
	w.t.Helper()
	return w.runWith(key, script, "")
}

func (w *world) runWith(key, script, more string) sdktest.Result {
	w.t.Helper()
	return sdktest.Run(w.t, stage, fmt.Sprintf("command = [\"sh\", \"-euc\", %q]\ncache {\n  paths = [\"~/.dl/x\", \"deps\"]\n  key = %q\n%s}", script, key, more),
		sdktest.Options{Info: sdk.RunInfo{Workspace: w.t.TempDir(), StateDir: w.state}})
}

func (w *world) must(key, script string) sdktest.Result {
	w.t.Helper()
	r := w.run(key, script)
	if r.Err != nil {
		w.t.Fatalf("%s: %v\n%s", script, r.Err, strings.Join(r.Logs, "\n"))
	}
	return r
}

const (
	download = `mkdir -p ~/.dl/x/sub deps/bin; echo one > ~/.dl/x/sub/one; echo 2 > deps/two; chmod 755 deps/two; ln -s ../two deps/bin/two; mkdir deps/empty; chmod 555 deps/empty`
	look     = `test "$(cat ~/.dl/x/sub/one)" = one; test "$(deps/two; cat deps/bin/two)" = 2; test -x deps/two; test -L deps/bin/two; test "$(stat -c %a deps/empty)" = 555`
)

func TestKeepsAndRestores(t *testing.T) {
	w := newWorld(t)
	w.must("a", strings.Replace(download, "echo 2", `printf 'echo >/dev/null\n2' | sed s/..echo/echo/ >/dev/null; echo 2`, 1))
	if err := os.RemoveAll(filepath.Join(os.Getenv("HOME"), ".dl")); err != nil {
		t.Fatal(err)
	}
	w.must("a", strings.Replace(look, "deps/two; cat", "cat", 1))
	w.must("b", `test ! -e deps`) // another key has nothing of it in the source
}

// TestHomeIsShared: a file that is in the home folder already stays as it is, and one that is not is added.
func TestHomeIsShared(t *testing.T) {
	w := newWorld(t)
	w.must("a", `mkdir -p ~/.dl/x; echo old > ~/.dl/x/index; echo kept > ~/.dl/x/other`)
	w.must("a", `test "$(cat ~/.dl/x/index)" = old; echo new > ~/.dl/x/index; rm ~/.dl/x/other`)
	w.must("a", `test "$(cat ~/.dl/x/index)" = new; test "$(cat ~/.dl/x/other)" = kept`)
}

// TestFailureKeepsNothing: what a command has left that failed is not kept.
func TestFailureKeepsNothing(t *testing.T) {
	w := newWorld(t)
	if r := w.run("a", "mkdir deps; echo half > deps/x; exit 1"); r.Err == nil {
		t.Fatal("passed")
	}
	w.must("a", "test ! -e deps")
}

// TestDamage: content that is not what was kept is not restored, not even in part, and downloaded again.
func TestDamage(t *testing.T) {
	for name, damage := range map[string]string{
		"content": `for f in "$S"/cache/files/*/*; do echo x >> "$f"; done`,
		"lost":    `rm -r "$S"/cache/files/*`,
		"entry":   `for f in "$S"/cache/entries/*; do echo '{"Files":[{"Name":"../../x"}]}' > "$f"; done`,
		"no JSON": `for f in "$S"/cache/entries/*; do : > "$f"; done`,
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.must("a", "mkdir deps; echo 2 > deps/two")
			c := exec.CommandContext(t.Context(), "sh", "-euc", damage)
			c.Env = append(os.Environ(), "S="+w.state)
			if out, err := c.CombinedOutput(); err != nil {
				t.Fatalf("%v: %s", err, out)
			}
			r := w.must("a", `test ! -e deps; test -z "$(ls -A)"; mkdir deps; echo 2 > deps/two`)
			if len(r.Warnings) != 1 || !strings.Contains(r.Warnings[0], "cannot be restored") {
				t.Errorf("warnings %q", r.Warnings)
			}
			w.must("a", `test "$(cat deps/two)" = 2`)
		})
	}
}

// TestCommitsOwnFolder: a folder that the commit has is not replaced.
func TestCommitsOwnFolder(t *testing.T) {
	w := newWorld(t)
	w.must("a", "mkdir deps; echo kept > deps/x")
	work := t.TempDir()
	if err := os.Mkdir(filepath.Join(work, "deps"), 0o755); err != nil {
		t.Fatal(err)
	}
	r := sdktest.Run(t, stage, "command = [\"test\", \"!\", \"-e\", \"deps/x\"]\ncache {\n  paths = [\"~/.dl/x\", \"deps\"]\n  key = \"a\"\n}",
		sdktest.Options{Info: sdk.RunInfo{Workspace: work, StateDir: w.state}})
	if r.Err != nil {
		t.Error(r.Err)
	}
}

// TestLimit: the key that was not used for longest goes first, with the content that nothing else needs.
func TestLimit(t *testing.T) {
	w := newWorld(t)
	limited := func(key, script string) sdktest.Result { return w.runWith(key, script, "limit = \"25KiB\"\n") }
	fill := func(key string) string {
		return "mkdir deps; head -c 10000 /dev/zero | tr '\\0' " + key + " > deps/x; echo same > deps/same"
	}
	for _, key := range []string{"a", "b"} {
		limited(key, fill(key))
	}
	if r := limited("a", "test -e deps/x"); r.Err != nil { // used: b is the oldest now
		t.Fatal(r.Err)
	}
	limited("c", fill("c"))
	for key, kept := range map[string]bool{"a": true, "b": false, "c": true} {
		if r := limited(key, "test -e deps/x"); (r.Err == nil) != kept {
			t.Errorf("key %s: %v", key, r.Err)
		}
	}
	var size int64
	files, _ := filepath.Glob(filepath.Join(w.state, "cache", "files", "*", "*"))
	for _, f := range files {
		info, err := os.Stat(f)
		if err != nil {
			t.Fatal(err)
		}
		size += info.Size()
	}
	if size > 25<<10 || len(files) != 3 {
		t.Errorf("%d files of %d bytes are kept", len(files), size)
	}
	r := limited("d", "mkdir deps; head -c 30000 /dev/zero > deps/x")
	if r.Err != nil || len(r.Warnings) != 1 || !strings.Contains(r.Warnings[0], "more than 25KiB") {
		t.Errorf("%v %q", r.Err, r.Warnings)
	}
}

// TestTwoAtOnce: runs that restore, save and evict at the same time never see half of anything.
func TestTwoAtOnce(t *testing.T) {
	w := newWorld(t)
	var all sync.WaitGroup
	for i := range 6 {
		all.Go(func() {
			key := fmt.Sprint("k", i%3)
			// Each run finds the whole folder of its key, or none, and makes it.
			script := `if test -e deps; then test "$(cat deps/* | wc -c)" = 20000; else mkdir deps; for i in 1 2 3 4; do head -c 5000 /dev/zero | tr '\0' "$(echo ` + key + ` | tail -c 2)" > deps/$i; done; fi; test -z "$(ls -A | grep -v '^deps$' || true)"`
			for range 5 {
				if r := w.runWith(key, script, "limit = \"12kB\"\n"); r.Err != nil {
					t.Errorf("%s: %v %v", key, r.Err, r.Logs)
				}
				if r := w.runWith(key, script, "limit = \"1MiB\"\n"); r.Err != nil {
					t.Errorf("%s: %v %v", key, r.Err, r.Logs)
				}
			}
		})
	}
	all.Wait()
}

// TestKill: a process that is killed while it saves leaves a store that the next one reads and cleans.
func TestKill(t *testing.T) {
	if os.Getenv("CACHE_TEST_STATE") != "" {
		w := &world{t, os.Getenv("CACHE_TEST_STATE")}
		w.run("a", "mkdir deps; for i in $(seq 300); do head -c 20000 /dev/urandom > deps/$i; done")
		return
	}
	w := newWorld(t)
	for range 3 {
		c := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestKill$")
		c.Env = append(os.Environ(), "CACHE_TEST_STATE="+w.state)
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		for { // until it has kept some files, but hardly all
			if files, _ := filepath.Glob(filepath.Join(w.state, "cache", "files", "*", "*")); len(files) > 20 {
				break
			}
		}
		_ = c.Process.Signal(syscall.SIGKILL)
		_ = c.Wait()
		w.must("b", `test ! -e deps; mkdir deps; echo 2 > deps/two`)
		r := w.must("a", `if test -e deps; then test "$(cat deps/* | wc -c)" = 6000000; fi`)
		if len(r.Warnings) > 0 {
			t.Errorf("warnings %q", r.Warnings)
		}
		if left, _ := filepath.Glob(filepath.Join(w.state, "cache", "new", "*")); len(left) > 0 {
			t.Errorf("%v is left", left)
		}
		if err := os.RemoveAll(filepath.Join(w.state, "cache")); err != nil {
			t.Fatal(err)
		}
	}
}
