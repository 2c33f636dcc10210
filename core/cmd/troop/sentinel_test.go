package main

import (
	"archive/zip"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/creack/pty"
	"github.com/klauspost/compress/zstd"
)

// sentinels are secrets that no other text holds, one for each way that a secret takes into a manifest.
var sentinels = map[string]string{
	"env":            "sentinel-from-the-environment",
	"env-lines":      "-----BEGIN SENTINEL-E-----\nsentinel-env-first-line\nsentinel-env-second-line\n-----END SENTINEL-E-----\n",
	"file":           "sentinel-from-a-file",
	"file-lines":     "-----BEGIN SENTINEL-F-----\nsentinel-file-first-line\nsentinel-file-second-line\n-----END SENTINEL-F-----\n",
	"command":        "sentinel \"from\" a <command>",
	"command-lines":  "-----BEGIN SENTINEL-C-----\r\nsentinel-command-first-line\r\nsentinel-command-second-line\r\n",
	"variable":       "sentinel-from-a-variable",
	"parameter":      "sentinel-from-parameter-store",
	"secretsmanager": "sentinel-from-secrets-manager",
}

const sentinelManifest = `
pipeline "sentinel" {
  source { path = "." }
}

variable "token" { sensitive = true }

secret "file" { file = "../vault/file" }
secret "file_lines" { file = "../vault/file-lines" }
secret "command" { command = ["cat", "../vault/command"] }
secret "command_lines" { command = ["cat", "../vault/command-lines"] }
secret "parameter" { aws_parameter = "/sentinel" }
secret "secretsmanager" {
  aws_secret = "sentinel"
  key        = "value"
}

locals {
  all = {
    ENV         = env.SENTINEL_ENV
    ENV_LINES   = env.SENTINEL_ENV_LINES
    FILE        = secret.file
    FILE_LINES  = secret.file_lines
    CMD         = secret.command
    CMD_LINES   = secret.command_lines
    VARIABLE    = var.token
    PARAMETER   = secret.parameter
    MANAGER     = secret.secretsmanager
  }
}

environment "local" {
  terraform {
    module    = "./infra"
    variables = { tokens = local.all }
  }
}

stage "build" "app" {
  command = ["sh", "-c", "env; env >&2; for v in \"$ENV_LINES\" \"$FILE_LINES\" \"$CMD_LINES\"; do echo \"$v\"; done; echo built > out.txt; sleep 0.3"]
  env     = local.all
  package {}
}

stage "test" "unit" {
  needs      = [stage.build.app]
  on_failure = "continue"
  command    = ["sh", "-c", "printf '<testsuite tests=\"1\" failures=\"1\"><testcase name=\"%s\" file=\"a.js\"><failure message=\"%s\">%s</failure></testcase></testsuite>' \"$ENV\" \"$FILE\" \"$FILE_LINES\" > junit.xml; exit 1"]
  env        = local.all
  reports { junit = "junit.xml" }
}

stage "dummy" "talks" {
  for_each   = local.all_names
  on_failure = "continue"
  log        = ["it is ${local.all[each.key]}", jsonencode(local.all[each.key]), "split: ${join(" ", split("", local.all[each.key]))}"]
  print      = local.all[each.key]
  finding    = local.all[each.key]
  fail       = "because of ${local.all[each.key]}"
}

locals { all_names = ["ENV", "ENV_LINES", "FILE", "FILE_LINES", "CMD", "CMD_LINES", "VARIABLE", "PARAMETER", "MANAGER"] }

stage "dummy" "panics" {
  on_failure = "continue"
  panic      = "with ${env.SENTINEL_ENV} and ${secret.command_lines}"
}

stage "dummy" "crashes" {
  on_failure = "continue"
  crash      = "with ${secret.file} and ${secret.file_lines}"
}

stage "dummy" "notifies" {
  on_failure = "continue"
  notify     = "shop.${secret.parameter}"
  error      = "error ${var.token} ${env.SENTINEL_ENV_LINES}"
}

stage "dummy" "stops" {
  needs = [stage.test.unit, stage.dummy.talks, stage.dummy.panics, stage.dummy.crashes, stage.dummy.notifies]
  exec  = ["sh", "-c", "echo last words; exit 1"]
  fail  = "at last ${secret.file}"
}

notify "webhook" "ops" {
  url = "http://user:${urlencode(secret.command)}@${var.hook}/${secret.file}"
  on  = ["run.failed", "info", "warning"]
}

variable "hook" {}
`

// Sentinel plants secrets of every kind, lets every part of a run say them aloud, and looks for them in all that
// troop leaves behind or shows: files, terminals, command lines, messages to people.
func TestSentinel(t *testing.T) {
	w := newSentinels(t)
	w.watchProcesses(t)

	for _, args := range [][]string{{}, {"-v"}, {"--json"}, {"-q"}} {
		if out := w.troop(t, append([]string{"run"}, args...), 1); len(out) == 0 && !slices.Contains(args, "-q") {
			t.Errorf("run %v said nothing", args)
		}
	}
	if out := w.terminal(t, "run"); !strings.Contains(out, "dummy.stops") {
		t.Errorf("the terminal does not show the run: %q", out)
	}
	for _, args := range [][]string{
		{"validate", "--json"}, {"runs"}, {"show"}, {"why"}, {"logs"}, {"logs", "--json"}, {"show", "--json"}, {"why", "--json"}, {"runs", "--json"},
		{"graph"}, {"plan", "--env", "local"}, {"plan", "--env", "local", "--json"}, {"apply", "--env", "local", "--yes"},
	} {
		w.troop(t, args, map[string]int{"plan": 2}[args[0]])
	}
	if out := w.troop(t, []string{"logs"}, 0); strings.Count(out, "***") < 40 {
		t.Errorf("the log hardly has a masked secret: the stages did not say them:\n%s", out)
	}

	// Mistakes whose answers like to quote a value.
	for stage, status := range map[string]int{
		`stage "dummy" "a" { sleep = env.SENTINEL_ENV }`:                2,
		`stage "dummy" "a" { sleep = env.SENTINEL_ENV_LINES }`:          2,
		`stage "dummy" "a" { flood = env.SENTINEL_ENV }`:                2,
		`stage "dummy" "a" { timeout = env.SENTINEL_ENV }`:              2,
		`stage "dummy" "a" { flood = parseint(env.SENTINEL_ENV, 10) }`:  2,
		`stage "dummy" "a" { invalid = env.SENTINEL_ENV }`:              2,
		`stage "dummy" "a" { log = [{ a = "b" }[env.SENTINEL_ENV]] }`:   2,
		`stage "dummy" "a" { flood = parseint(secret.file_lines, 10) }`: 2, // validate does not read it
	} {
		w.write(t, "shop/bad.pipeline.hcl", "pipeline \"bad\" {\n  source { path = \".\" }\n}\nsecret \"file_lines\" { file = \"../vault/file-lines\" }\n"+stage+"\n")
		w.troop(t, []string{"validate", "--json", "bad.pipeline.hcl"}, -1)
		w.troop(t, []string{"run", "bad.pipeline.hcl"}, status)
	}

	w.searchFiles(t)
	w.stopProcesses(t)
	for _, m := range w.messages() {
		w.search(t, "a message to people", []byte(m))
	}
	if len(w.messages()) == 0 {
		t.Error("nobody was told of the runs")
	}
}

// sentinelWorld is a project with sentinels in it.
type sentinelWorld struct {
	dir     string // holds shop/, the project, and vault/, where files and commands find secrets
	env     []string
	plugins string

	mu    sync.Mutex
	told  []string
	procs map[string]bool // command lines
	stop  chan struct{}
	done  chan struct{}
}

func newSentinels(t *testing.T) *sentinelWorld {
	t.Helper()
	dir, err := plugins()
	if err != nil {
		t.Fatal(err)
	}
	w := &sentinelWorld{dir: t.TempDir(), plugins: filepath.Clean(dir), procs: map[string]bool{}}
	hook := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		w.mu.Lock()
		defer w.mu.Unlock()
		w.told = append(w.told, string(body))
		if len(w.told)%2 == 0 { // so that its address would be told, too
			rw.WriteHeader(http.StatusBadRequest)
		}
	}))
	t.Cleanup(hook.Close)
	cloud := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		rw.Header().Set("Content-Type", "application/x-amz-json-1.1")
		answer := map[string]any{"Parameter": map[string]string{"Value": sentinels["parameter"]}}
		if strings.HasPrefix(r.Header.Get("X-Amz-Target"), "secretsmanager.") {
			answer = map[string]any{"SecretString": fmt.Sprintf(`{"value": %q}`, sentinels["secretsmanager"])}
		}
		_ = json.NewEncoder(rw).Encode(answer)
	}))
	t.Cleanup(cloud.Close)
	home := filepath.Join(w.dir, "home")
	w.env = append(os.Environ(),
		"HOME="+home, "GIT_CONFIG_GLOBAL=/dev/null", "TF_CLI_CONFIG_FILE=/dev/null", "TERM=xterm-256color",
		"SENTINEL_ENV="+sentinels["env"], "SENTINEL_ENV_LINES="+sentinels["env-lines"], "TROOP_VAR_token="+sentinels["variable"],
		"TROOP_VAR_hook="+strings.TrimPrefix(hook.URL, "http://"),
		"AWS_ENDPOINT_URL_SSM="+cloud.URL, "AWS_ENDPOINT_URL_SECRETS_MANAGER="+cloud.URL, "AWS_REGION=us-east-1",
		"AWS_ACCESS_KEY_ID=AKIAEXAMPLE", "AWS_SECRET_ACCESS_KEY=example", "AWS_CONFIG_FILE=/dev/null", "AWS_SHARED_CREDENTIALS_FILE=/dev/null",
	)
	for _, name := range []string{"file", "file-lines", "command", "command-lines"} {
		w.write(t, "vault/"+name, sentinels[name])
	}
	w.write(t, "shop/pipeline.hcl", sentinelManifest)
	w.write(t, "shop/infra/main.tf", `
variable "tokens" {
  type      = map(string)
  sensitive = true
}
resource "terraform_data" "host" {
  lifecycle {
    precondition {
      condition     = length(var.tokens) == 9
      error_message = "tokens are missing"
    }
  }
}
output "hosts" {
  value = { web-1 = { role = "production", address = "127.0.0.1", private_address = "127.0.0.1", user = "root", port = 1 } }
}
`)
	w.write(t, "shop/.gitignore", ".troop/\n")
	sh := exec.CommandContext(t.Context(), "sh", "-euc", "git init -q -b main; git add -A; git -c user.name=a -c user.email=a@localhost commit -q -m first")
	sh.Dir = w.dir + "/shop"
	if out, err := sh.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return w
}

func (w *sentinelWorld) write(t *testing.T, name, text string) {
	t.Helper()
	file := filepath.Join(w.dir, name)
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func (w *sentinelWorld) command(t *testing.T, args []string) *exec.Cmd {
	t.Helper()
	c := exec.CommandContext(t.Context(), "troop", append([]string{"--plugin-dir", w.plugins}, args...)...)
	c.Dir, c.Env = w.dir+"/shop", w.env
	return c
}

// troop searches all that a command prints, and wants its exit status; -1: any.
func (w *sentinelWorld) troop(t *testing.T, args []string, status int) string {
	t.Helper()
	c := w.command(t, args)
	out, err := c.CombinedOutput()
	if got := c.ProcessState.ExitCode(); got != status && status >= 0 {
		t.Errorf("troop %v: exit status %d (%v), want %d\n%s", args, got, err, status, out)
	}
	w.search(t, fmt.Sprintf("the output of troop %v", args), out)
	return string(out)
}

// terminal is troop on a terminal, where lines are drawn again and again.
func (w *sentinelWorld) terminal(t *testing.T, args ...string) string {
	t.Helper()
	c := w.command(t, args)
	f, err := pty.StartWithSize(c, &pty.Winsize{Rows: 40, Cols: 200})
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	out, _ := io.ReadAll(f) // a closed terminal is EIO
	_ = c.Wait()
	w.search(t, "the terminal", out)
	return string(out)
}

// needles are the lines of a secret: each alone must not be found.
func needles(secret string) []string {
	var lines []string
	for line := range strings.FieldsFuncSeq(secret, func(r rune) bool { return r == '\n' || r == '\r' }) {
		quoted, _ := json.Marshal(line)
		lines = append(lines, line, strings.Trim(string(quoted), `"`))
	}
	return lines
}

func (w *sentinelWorld) search(t *testing.T, where string, text []byte) {
	t.Helper()
	for name, secret := range sentinels {
		for _, needle := range needles(secret) {
			if i := bytes.Index(text, []byte(needle)); i >= 0 {
				t.Errorf("%s holds the secret %q: …%s…", where, name, text[max(0, i-120):min(len(text), i+len(needle)+40)])
				return
			}
		}
	}
}

// searchFiles looks through the project but for what holds secrets by its nature, also into archives.
func (w *sentinelWorld) searchFiles(t *testing.T) {
	t.Helper()
	files, archives := 0, 0
	err := filepath.WalkDir(w.dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !d.Type().IsRegular() {
			return err
		}
		name, _ := filepath.Rel(w.dir, path)
		if strings.HasPrefix(name, "vault/") || (strings.Contains(name, "/src/") && filepath.Base(name) == "junit.xml") {
			return nil // what a stage's own command writes into the workspace is its own
		}
		files++
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		w.search(t, name, text)
		if z, err := zip.NewReader(bytes.NewReader(text), int64(len(text))); err == nil {
			archives++
			for _, f := range z.File {
				r, err := f.Open()
				if err != nil {
					return err
				}
				inner, err := io.ReadAll(r)
				if err != nil {
					return err
				}
				w.search(t, name+"!"+f.Name, inner)
			}
		}
		if z, err := zstd.NewReader(bytes.NewReader(text)); err == nil {
			if inner, err := io.ReadAll(z); err == nil {
				archives++
				w.search(t, name+", unpacked", inner)
			}
			z.Close()
		}
		return nil
	})
	if err != nil || files < 20 || archives == 0 {
		t.Errorf("searched %d files, %d archives: %v", files, archives, err)
	}
}

// watchProcesses collects the command lines of every process of this machine until stopProcesses.
func (w *sentinelWorld) watchProcesses(t *testing.T) {
	t.Helper()
	w.stop, w.done = make(chan struct{}), make(chan struct{})
	go func() {
		defer close(w.done)
		for {
			select {
			case <-w.stop:
				return
			case <-time.After(5 * time.Millisecond):
			}
			lists, _ := filepath.Glob("/proc/[0-9]*/cmdline")
			for _, list := range lists {
				if line, err := os.ReadFile(list); err == nil {
					w.procs[string(line)] = true
				}
			}
		}
	}()
}

func (w *sentinelWorld) stopProcesses(t *testing.T) {
	t.Helper()
	close(w.stop)
	<-w.done
	seen := false
	for line := range w.procs {
		seen = seen || strings.Contains(line, "sleep\x000.3")
		w.search(t, "a command line", []byte(line))
	}
	if !seen {
		t.Error("not even the commands of the stages were seen among the processes")
	}
}

func (w *sentinelWorld) messages() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.told)
}
