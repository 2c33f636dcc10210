//go:build lab

package e2e

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/seed-b96de936/troop/core"
)

// world is a test's own project and lab.
type world struct {
	dir      string // the git work tree
	bin      string
	manifest string
	env      []string // of troop, beyond environ
	hosts    map[string]core.Host
}

// newWorld copies the example into a new repository. The lab is destroyed when the test ends.
func newWorld(t testing.TB, edit func(manifest string) string) *world {
	t.Helper()
	return makeWorld(t, "The storefront", func(w *world) { w.storefront(t, edit) })
}

var tlsBlock = regexp.MustCompile(`(?s)  tls \{.*?\n  \}\n`)

// storefront copies the example, without HTTPS: its authority is the demo's.
func (w *world) storefront(t testing.TB, edit func(manifest string) string) {
	t.Helper()
	sh(t, filepath.Dir(w.bin), "git archive HEAD:examples/storefront | tar -x -C "+w.dir)
	w.write(t, "pipeline.hcl", tlsBlock.ReplaceAllString(edit(w.read(t, "pipeline.hcl")), ""))
}

// makeWorld makes a repository with the files that fill writes. The lab is destroyed when the test ends.
func makeWorld(t testing.TB, subject string, fill func(*world)) *world {
	t.Helper()
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	w := &world{bin: filepath.Join(root, "bin"), dir: t.TempDir()}
	w.manifest = filepath.Join(w.dir, "pipeline.hcl")
	fill(w)
	w.write(t, ".gitignore", "node_modules/\nreports/\n.troop/\ncase-*.hcl\n")
	sh(t, w.dir, "git init -q -b main && git config user.name test && git config user.email test@localhost")
	w.commit(t, subject)
	t.Cleanup(func() {
		if out, code := w.troop(t, "destroy", w.manifest, "--env", "lab", "--yes"); code != 0 {
			t.Errorf("destroy: exit status %d\n%s", code, out)
		}
	})
	return w
}

func (w *world) read(t testing.TB, name string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(w.dir, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func (w *world) write(t testing.TB, name, text string) {
	t.Helper()
	file := filepath.Join(w.dir, name)
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// replace edits a file of the project.
func (w *world) replace(t testing.TB, name, old, replacement string) {
	t.Helper()
	text := w.read(t, name)
	if !strings.Contains(text, old) {
		t.Fatalf("%s does not hold %q", name, old)
	}
	w.write(t, name, strings.Replace(text, old, replacement, 1))
}

func (w *world) commit(t testing.TB, subject string) {
	t.Helper()
	sh(t, w.dir, "git add -A && git commit -q --no-verify -m '"+subject+"'")
}

// revert drops the last commit.
func (w *world) revert(t testing.TB) {
	t.Helper()
	sh(t, w.dir, "git reset -q --hard HEAD~1")
}

// environ is troop's process environment: mail goes to the server on the lab's storage host.
func environ() []string {
	return append(os.Environ(), "OPS_SMTP_URL=smtp://storage-1:1025/?from=troop@lab.example&to=ops@lab.example", "NO_COLOR=1")
}

// troop runs a troop command and returns its output and exit status.
func (w *world) troop(t testing.TB, args ...string) (string, int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	defer cancel()
	c := exec.CommandContext(ctx, filepath.Join(w.bin, "troop"), args...)
	c.Dir, c.Env = w.dir, append(environ(), w.env...)
	out, err := c.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatalf("troop %s: %v", strings.Join(args, " "), err)
	}
	return string(out), c.ProcessState.ExitCode()
}

// results is must without standard error.
func (w *world) results(t testing.TB, args ...string) string {
	t.Helper()
	out, code := w.output(t, args...)
	if code != 0 {
		t.Fatalf("troop %s: exit status %d", strings.Join(args, " "), code)
	}
	return out
}

// output is troop without standard error.
func (w *world) output(t testing.TB, args ...string) (string, int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	c := exec.CommandContext(ctx, filepath.Join(w.bin, "troop"), args...)
	c.Dir, c.Env = w.dir, append(environ(), w.env...)
	out, err := c.Output()
	if exit := new(exec.ExitError); err != nil && !errors.As(err, &exit) {
		t.Fatalf("troop %s: %v", strings.Join(args, " "), err)
	}
	return string(out), c.ProcessState.ExitCode()
}

// must is troop; the command must succeed.
func (w *world) must(t testing.TB, args ...string) string {
	t.Helper()
	start := time.Now()
	out, code := w.troop(t, args...)
	if code != 0 {
		t.Fatalf("troop %s: exit status %d\n%s", strings.Join(args, " "), code, tail(out, 60))
	}
	t.Logf("troop %s: %.1f s", args[0], time.Since(start).Seconds())
	return out
}

// run runs the pipeline for the current commit.
func (w *world) run(t testing.TB, args ...string) (string, int) {
	t.Helper()
	start := time.Now()
	out, code := w.troop(t, append([]string{"run", w.manifest, "--env", "lab"}, args...)...)
	t.Logf("run: exit status %d after %.1f s", code, time.Since(start).Seconds())
	return out, code
}

// learn reads the environment's hosts.
func (w *world) learn(t testing.TB) {
	t.Helper()
	out := w.results(t, "hosts", w.manifest, "--env", "lab", "--json")
	w.hosts = map[string]core.Host{}
	var list []core.Host
	if err := json.Unmarshal([]byte(out), &list); err != nil {
		t.Fatalf("troop hosts --json: %v\n%s", err, out)
	}
	for _, h := range list {
		w.hosts[string(h.Name)] = h
	}
}

// on runs a shell command on a host and returns its output.
func (w *world) on(t testing.TB, host, command string) string {
	t.Helper()
	out, err := w.try(t, host, command)
	if err != nil {
		t.Fatalf("%s: %s: %v\n%s", host, command, err, out)
	}
	return strings.TrimSpace(out)
}

func (w *world) try(t testing.TB, host, command string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	c := exec.CommandContext(ctx, filepath.Join(w.bin, "troop"), "ssh", w.manifest, "--env", "lab", host, "--", command)
	c.Dir, c.Env = w.dir, append(environ(), w.env...)
	out, err := c.CombinedOutput()
	return string(out), err
}

// kill kills a host's machine with SIGKILL.
func (w *world) kill(t testing.TB, host string) {
	t.Helper()
	n, err := strconv.Atoi(strings.TrimSpace(sh(t, w.dir, `jq -r '.resources[] | select(.type == "lab_host") | .instances[] |
		select(.index_key == "`+host+`") | .attributes.pid' .troop/lab/terraform/terraform.tfstate`)))
	if err != nil {
		t.Fatalf("the machine of %s: %v", host, err)
	}
	if err := syscall.Kill(n, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
}

// events returns the environment's events by kind since a time.
func (w *world) events(t testing.TB, since time.Time, kinds string) []core.Event {
	t.Helper()
	out := w.results(t, "events", w.manifest, "--env", "lab", "--json", "--kind", kinds, "--since", time.Since(since).Round(time.Millisecond).String())
	var events []core.Event
	for line := range strings.Lines(out) {
		var e core.Event
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Fatalf("troop events --json: %v: %s", err, line)
		}
		events = append(events, e)
	}
	return events
}

// url returns the URL of a path on the router.
func (w *world) url(path string) string { return "http://" + w.hosts["router-1"].Address + path }

// pools counts the answers of n sequential requests by pool; failures count as "error".
func (w *world) pools(n int) map[string]int {
	count := map[string]int{}
	for range n {
		count[get(w.url("/"))]++
	}
	return count
}

var client = &http.Client{Timeout: 20 * time.Second}

// get returns the pool that answered, or an error.
func get(url string) string {
	res, err := client.Get(url)
	if err != nil {
		return "error: " + err.Error()
	}
	defer res.Body.Close()
	_, _ = io.Copy(io.Discard, res.Body)
	if res.StatusCode != http.StatusOK {
		return fmt.Sprintf("status %d from %s", res.StatusCode, res.Header.Get("X-Troop-Pool"))
	}
	return res.Header.Get("X-Troop-Pool")
}

// log writes a log of the application that is large enough to be moved to the storage host.
func (w *world) log(t testing.TB, host, name string) {
	t.Helper()
	w.on(t, host, "head -c 6000000 /dev/urandom | base64 > /tmp/x && chown storefront: /tmp/x && mv /tmp/x /var/log/storefront/"+name)
}

// stored reports whether the storage host has a host's file.
func (w *world) stored(t testing.TB, host, name string) func() bool {
	return func() bool {
		out, _ := w.try(t, "storage-1", "ls /srv/backups/backup-"+host+"/files")
		return regexp.MustCompile(name + `.*\.json`).MatchString(out)
	}
}

// load sends 50 requests a second to the front page until stopped, and counts the answers.
func (w *world) load() (stop func() map[string]int) {
	return load(50, func() string { return get(w.url("/")) })
}

// load asks at a rate until stopped, and counts the answers.
func load(rate int, ask func() string) (stop func() map[string]int) {
	var mu sync.Mutex
	count := map[string]int{}
	done := make(chan struct{})
	var all sync.WaitGroup
	all.Go(func() {
		tick := time.NewTicker(10 * time.Millisecond)
		defer tick.Stop()
		for sent, began := 0, time.Now(); ; { // a busy machine is late for some, and then sends several
			select {
			case <-done:
				return
			case <-tick.C:
			}
			for ; sent < int(time.Since(began).Seconds()*float64(rate)); sent++ {
				all.Go(func() {
					got := ask()
					mu.Lock()
					defer mu.Unlock()
					count[got]++
				})
			}
		}
	})
	return func() map[string]int {
		close(done)
		all.Wait()
		return count
	}
}

// eventually waits until a condition holds.
func eventually(t testing.TB, within time.Duration, what string, holds func() bool) time.Duration {
	t.Helper()
	start := time.Now()
	for !holds() {
		if time.Since(start) > within {
			t.Fatalf("not within %s: %s", within, what)
		}
		time.Sleep(100 * time.Millisecond)
	}
	return time.Since(start)
}

func sh(t testing.TB, dir, command string) string {
	t.Helper()
	c := exec.Command("bash", "-euo", "pipefail", "-c", command)
	c.Dir = dir
	out, err := c.CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", command, err, out)
	}
	return string(out)
}

func tail(text string, lines int) string {
	all := strings.Split(strings.TrimRight(text, "\n"), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}

func contains(t testing.TB, text string, wants ...string) {
	t.Helper()
	for _, want := range wants {
		if !regexp.MustCompile(want).MatchString(text) {
			t.Errorf("no %q in:\n%s", want, tail(text, 40))
		}
	}
}

// lab is the module's name for the world's lab.
func (w *world) lab() string { return short(filepath.Join(w.dir, ".troop", "lab", "terraform"), 8) }

func short(text string, n int) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:])[:n]
}

// cut takes a host off the network, or brings it back: its machine runs, so Terraform sees nothing.
func (w *world) cut(t testing.TB, host, state string) {
	t.Helper()
	sh(t, "/", "ip link set t"+w.lab()+"-"+short(host, 5)+" "+state)
}

// traces lists the kernel objects of a world's lab on this machine by kind. Other labs may exist.
func (w *world) traces(t testing.TB) map[string][]string {
	t.Helper()
	return w.tracesOf(t, w.lab())
}

func (w *world) tracesOf(t testing.TB, id string) map[string][]string {
	t.Helper()
	found := map[string][]string{}
	for kind, command := range map[string]string{
		"mount":     "cat /proc/mounts",
		"link":      "ip -o link",
		"namespace": "ip netns list",
		"loop":      "losetup -l -n -O BACK-FILE",
		"cgroup":    "find /sys/fs/cgroup -maxdepth 4 -type d",
		"machine":   "ps -eo args | grep [s]ystemd-nspawn || true",
		"folder":    "find /var/lib/troop /run/systemd/nspawn -maxdepth 3 2>/dev/null || true",
	} {
		for line := range strings.Lines(sh(t, "/", command)) {
			if strings.Contains(line, id) || strings.Contains(line, w.dir) {
				found[kind] = append(found[kind], strings.TrimSpace(line))
			}
		}
	}
	return found
}

// processes lists the processes whose command line or working folder names a folder.
func processes(t testing.TB, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir("/proc")
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, e := range entries {
		cmdline, err := os.ReadFile(filepath.Join("/proc", e.Name(), "cmdline"))
		if err != nil || len(cmdline) == 0 {
			continue
		}
		cwd, _ := os.Readlink(filepath.Join("/proc", e.Name(), "cwd"))
		environ, _ := os.ReadFile(filepath.Join("/proc", e.Name(), "environ"))
		line := string(bytes.ReplaceAll(cmdline, []byte{0}, []byte{' '}))
		// The hosts themselves run between commands.
		if strings.Contains(line, "systemd-nspawn") {
			continue
		}
		if strings.Contains(line, dir) || strings.HasPrefix(cwd, dir) || bytes.Contains(environ, []byte(dir)) {
			found = append(found, e.Name()+" "+line)
		}
	}
	return found
}
