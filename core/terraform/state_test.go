package terraform_test

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3mem"

	"github.com/seed-b96de936/troop/core"
	"github.com/seed-b96de936/troop/core/terraform"
	"github.com/seed-b96de936/troop/plugins/sdk/tooltest"
)

// hosts is a module whose hosts exist only in the state. It needs only Terraform's built-in provider.
const hosts = `
variable "hosts" { type = map(string) }
variable "token" {
  type      = string
  default   = "hunter2"
  sensitive = true
}
variable "wait" { default = "true" }
resource "terraform_data" "host" {
  for_each = var.hosts
  input    = { role = each.value, token = var.token }
  provisioner "local-exec" { command = var.wait }
}
output "hosts" {
  value = { for name, role in var.hosts : name => {
    role = role, address = "127.0.0.1", user = "root", host_key = terraform_data.host[name].id
  } }
}
`

// bucket is the test's bucket.
const bucket = "states"

// s3 is an in-process S3 server with conditional writes, which locks need.
func s3(t *testing.T) (backend gofakes3.Backend, config string) {
	t.Helper()
	backend = s3mem.New()
	if err := backend.CreateBucket(bucket); err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(gofakes3.New(backend).Server())
	t.Cleanup(server.Close)
	t.Setenv("AWS_ACCESS_KEY_ID", "test")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "test")
	return backend, fmt.Sprintf(`
terraform {
  backend "s3" {
    bucket                      = %q
    key                         = "lab.tfstate"
    region                      = "us-east-1"
    use_lockfile                = true
    use_path_style              = true
    skip_credentials_validation = true
    skip_requesting_account_id  = true
    skip_metadata_api_check     = true
    endpoints                   = { s3 = %q }
  }
}
`, bucket, server.URL)
}

// programEnv says which program applies the modules of a test: terraform or tofu.
const programEnv = "TROOP_TEST_PROGRAM"

// both runs a test with Terraform and with OpenTofu.
func both(t *testing.T, test func(*testing.T)) {
	t.Helper()
	for _, program := range []string{"terraform", "tofu"} {
		t.Run(program, func(t *testing.T) {
			t.Setenv(programEnv, program)
			if program == "tofu" {
				tooltest.InPath(t, program)
			}
			test(t)
		})
	}
}

// module writes a module with a backend configuration.
func module(t *testing.T, config string) engine {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "main.tf"), []byte(hosts+config), 0o600); err != nil {
		t.Fatal(err)
	}
	return engine{Dir: filepath.Join(t.TempDir(), "terraform"), Module: dir, What: "troop test", Program: cmp.Or(os.Getenv(programEnv), "terraform")}
}

// with returns a workspace with some hosts of one role.
func (e engine) with(t *testing.T, names ...string) *terraform.Workspace {
	t.Helper()
	all := map[string]any{}
	for _, name := range names {
		all[name] = "production"
	}
	e.Variables = map[string]any{"hosts": all}
	w, err := e.open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func plan(t *testing.T, w *terraform.Workspace) *terraform.Plan {
	t.Helper()
	p, err := w.Plan(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func apply(t *testing.T, w *terraform.Workspace) {
	t.Helper()
	if err := w.Apply(t.Context(), plan(t, w), nil); err != nil {
		t.Fatal(err)
	}
}

func state(t *testing.T, w *terraform.Workspace) *terraform.State {
	t.Helper()
	s, err := w.State(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// inState returns the names of a state's hosts.
func inState(s *terraform.State) []string {
	var names []string
	for _, r := range s.Resources {
		names = append(names, string(r.Host))
	}
	return names
}

func copies(t *testing.T, e engine) []terraform.Copy {
	t.Helper()
	all, err := terraform.Copies(e.Dir)
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// TestState tests a state's life cycle, local and in S3.
func TestState(t *testing.T) { both(t, testStates) }

func testStates(t *testing.T) {
	t.Helper()
	for name, config := range map[string]func(*testing.T) string{
		"local": func(*testing.T) string { return "" },
		"path": func(*testing.T) string {
			return "terraform {\n  backend \"local\" { path = \"elsewhere.tfstate\" }\n}\n"
		},
		"s3": func(t *testing.T) string { _, config := s3(t); return config },
	} {
		t.Run(name, func(t *testing.T) { testState(t, module(t, config(t))) })
	}
}

func testState(t *testing.T, e engine) {
	if s := state(t, e.with(t, "a")); s.Lineage != "" || len(s.Resources) != 0 {
		t.Errorf("before the first apply: %+v", s)
	}
	apply(t, e.with(t, "a"))
	if all := copies(t, e); len(all) != 0 {
		t.Errorf("there was no state to copy: %+v", all)
	}
	first := state(t, e.with(t))
	e.Run = "01JTEST"
	apply(t, e.with(t, "a", "b"))
	e.Run = ""
	second := state(t, e.with(t))
	if got := inState(second); !slices.Equal(got, []string{"a", "b"}) {
		t.Errorf("hosts in the state: %v", got)
	}
	if r := second.Resources[0]; r.Address != `terraform_data.host["a"]` || r.Role != "production" ||
		!reflect.DeepEqual(r.Values["input"], map[string]any{"role": "production", "token": "(sensitive)"}) {
		t.Errorf("resource %+v", r)
	}

	all := copies(t, e)
	if len(all) != 1 || all[0].Number != 1 || all[0].Before.Run != "01JTEST" || all[0].Before.What != "troop test" ||
		!slices.Equal(all[0].Hosts, []core.HostName{"a"}) || all[0].Serial != first.Serial || all[0].Resources != 1 {
		t.Errorf("copies %+v", all)
	}
	copied, err := e.with(t).Copied(t.Context(), 1)
	if err != nil || !terraform.Diff(copied, first).Empty() {
		t.Errorf("copy %+v, want %+v, %v", copied, first, err)
	}
	d := terraform.Diff(copied, second)
	if len(d.Changes) != 1 || d.Changes[0].Action != terraform.Create || d.Changes[0].Host != "b" || !slices.Equal(d.Outputs, []string{"hosts"}) {
		t.Errorf("difference %+v", d)
	}
	if d := terraform.Diff(second, copied); len(d.Changes) != 1 || d.Changes[0].Action != terraform.Destroy {
		t.Errorf("difference the other way round %+v", d)
	}

	if err := e.with(t).Restore(t.Context(), 7); !errors.As(err, new(*core.NotFoundError)) {
		t.Errorf("restore of a copy that there is not: %v", err)
	}
	if err := e.with(t).Restore(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	if all = copies(t, e); len(all) != 2 || all[0].Number != 2 || all[0].Resources != 2 || all[0].Serial != second.Serial {
		t.Errorf("the restore has set aside %+v", all)
	}
	restored := state(t, e.with(t))
	if !terraform.Diff(restored, first).Empty() || restored.Serial <= second.Serial {
		t.Errorf("restored %+v, want %+v with a serial above %d", restored, first, second.Serial)
	}
	p := plan(t, e.with(t, "a", "b"))
	if len(p.Changes) != 1 || p.Changes[0].Host != "b" || p.Changes[0].Action != terraform.Create {
		t.Errorf("plan after the restore: %+v", p.Changes)
	}
	if err := e.with(t).Restore(t.Context(), 2); err != nil { // undo the restore
		t.Fatal(err)
	}
	if p := plan(t, e.with(t, "a", "b")); !p.Empty() {
		t.Errorf("plan after the restore was taken back: %+v", p)
	}
}

// A state moves into a backend and back, as it is.
func TestMigrate(t *testing.T) { both(t, testMigrate) }

func testMigrate(t *testing.T) {
	t.Helper()
	backend, config := s3(t)
	e := module(t, "")
	apply(t, e.with(t, "a"))
	local := state(t, e.with(t))
	rewrite := func(config string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(e.Module, "main.tf"), []byte(hosts+config), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	move := func() {
		t.Helper()
		if _, err := e.with(t, "a").Plan(t.Context()); !errors.As(err, new(*terraform.MovedError)) {
			t.Fatalf("a plan before the move: %v", err)
		}
		before := len(copies(t, e))
		err := e.with(t).Migrate(t.Context(), func(m terraform.Migration) error {
			if m.Lineage != local.Lineage || m.Serial < local.Serial || m.Resources != 1 || m.From == m.To {
				t.Errorf("what is to move: %+v", m)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		if after := copies(t, e); len(after) != before+1 || after[0].Lineage != local.Lineage {
			t.Errorf("copies: %+v", after)
		}
		moved := state(t, e.with(t))
		if moved.Serial < local.Serial || moved.Lineage != local.Lineage || !terraform.Diff(local, moved).Empty() {
			t.Errorf("moved: %+v, want %+v", moved, local)
		}
		if err := e.with(t).Migrate(t.Context(), nil); !errors.Is(err, terraform.ErrNotMoved) {
			t.Errorf("a second move: %v", err)
		}
	}
	rewrite(config)
	move()
	if _, err := os.Stat(filepath.Join(e.Dir, "terraform.tfstate")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the local state is still there: %v", err)
	}
	rewrite("")
	move()
	if p := plan(t, e.with(t, "a")); !p.Empty() {
		t.Errorf("a plan after the moves: %+v", p)
	}

	// A newer state in the bucket, or another one, is not overwritten.
	rewrite(config)
	never := func(terraform.Migration) error { return errors.New("it asks") }
	object, err := backend.GetObject(bucket, "lab.tfstate", nil)
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(object.Contents)
	if err != nil {
		t.Fatal(err)
	}
	for old, change := range map[string][2]string{
		"is newer":    {`"serial": ?`, `"serial": 1`}, // OpenTofu leaves the blank out
		"its lineage": {local.Lineage, "00000000-0000-0000-0000-000000000000"},
	} {
		changed := regexp.MustCompile(change[0]).ReplaceAllString(string(text), change[1])
		if _, err := backend.DeleteObject(bucket, "lab.tfstate"); err != nil { // with its checksum
			t.Fatal(err)
		}
		if _, err := backend.PutObject(bucket, "lab.tfstate", map[string]string{}, strings.NewReader(changed), int64(len(changed)), nil); err != nil {
			t.Fatal(err)
		}
		if err := e.with(t).Migrate(t.Context(), never); err == nil || !strings.Contains(err.Error(), old) {
			t.Errorf("%s: %v", old, err)
		}
	}
}

// A backend without its bucket has a remedy.
func TestNoBucket(t *testing.T) { both(t, testNoBucket) }

func testNoBucket(t *testing.T) {
	t.Helper()
	_, config := s3(t)
	e := module(t, strings.Replace(config, strconv.Quote(bucket), `"elsewhere"`, 1))
	_, err := e.with(t, "a").Plan(t.Context())
	if missing, ok := errors.AsType[*terraform.BucketError](err); !ok || missing.Name != "elsewhere" || !strings.Contains(err.Error(), "aws s3 mb s3://elsewhere") {
		t.Errorf("got %v", err)
	}
}

// Newer parts of Terraform's language pass through: a check that fails is a warning, an ephemeral variable is in no file and
// the apply has it, and hosts may be sensitive.
func TestNewerLanguage(t *testing.T) {
	e := module(t, "")
	text := strings.Replace(hosts, "output \"hosts\" {", "output \"hosts\" {\n  sensitive = true", 1) + `
variable "once" {
  ephemeral = true
}
check "replicas" {
  assert {
    condition     = var.once == ""
    error_message = "the check says no"
  }
}
output "later" {
  value      = terraform_data.host["a"].id
  sensitive  = true
}
`
	if err := os.WriteFile(filepath.Join(e.Module, "main.tf"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	w := e.with(t, "a")
	w.Variables["once"] = "ephemeral-sentinel"
	var logged []string
	w.Log = func(line string) { logged = append(logged, line) }
	kept := func() {
		t.Helper()
		if err := filepath.WalkDir(e.Dir, func(path string, d fs.DirEntry, err error) error {
			if err != nil || !d.Type().IsRegular() {
				return err
			}
			text, err := os.ReadFile(path)
			if strings.Contains(string(text), "ephemeral-sentinel") {
				t.Errorf("%s holds the ephemeral value", path)
			}
			return err
		}); err != nil {
			t.Error(err)
		}
	}
	p := plan(t, w)
	kept()
	if !slices.ContainsFunc(logged, func(s string) bool { return strings.Contains(s, "the check says no") }) {
		t.Errorf("the check is not told: %q", logged)
	}
	if !slices.ContainsFunc(p.Warnings, func(s string) bool { return strings.HasPrefix(s, "check.replicas: ") }) {
		t.Errorf("the plan does not warn of the check: %q", p.Warnings)
	}
	if err := w.Apply(t.Context(), p, nil); err != nil {
		t.Fatal(err)
	}
	if all, err := w.Hosts(t.Context()); err != nil || len(all) != 1 {
		t.Errorf("hosts %v, %v", all, err)
	}
	if again := plan(t, w); !again.Empty() {
		t.Errorf("a second plan: %+v", again)
	}
	kept()
	if s := state(t, w); s.Outputs["hosts"] != "(sensitive)" {
		t.Errorf("outputs %v", s.Outputs)
	}
}

// What Terraform would take from the environment is said to be ignored.
func TestIgnoredIsSaid(t *testing.T) {
	e := module(t, "")
	t.Setenv("TF_WORKSPACE", "elsewhere")
	t.Setenv("TF_VAR_token", "hunter3")
	var logged []string
	w, err := terraform.Open(t.Context(), terraform.Options{
		Dir: e.Dir, Module: os.DirFS(e.Module), Environment: "lab", What: e.What, Variables: map[string]any{"hosts": map[string]any{"a": "production"}},
		Log: func(line string) { logged = append(logged, line) },
	})
	if err != nil {
		t.Fatal(err)
	}
	const want = "TF_VAR_token and TF_WORKSPACE in the environment is ignored: variables and state are those of the manifest"
	if !slices.Contains(logged, want) {
		t.Errorf("said %q, want %q", logged, want)
	}
	p := plan(t, w)
	if err := w.Apply(t.Context(), p, nil); err != nil {
		t.Fatal(err)
	}
	if again := plan(t, e.with(t, "a")); !again.Empty() {
		t.Errorf("a second plan: %s", again.Summary())
	}
	if _, err := os.Stat(filepath.Join(e.Dir, "terraform.tfstate.d")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("another workspace was used: %v", err)
	}
}

// A plan that only imports, moves or forgets is something to change, and its apply does it.
func TestStateOnly(t *testing.T) { both(t, testStateOnly) }

func testStateOnly(t *testing.T) {
	t.Helper()
	for name, tt := range map[string]struct{ before, after, want string }{
		"import": {"", "resource \"terraform_data\" \"taken\" {}\nimport {\n  to = terraform_data.taken\n  id = \"an-id\"\n}\n", "1 to import"},
		"move": {
			"resource \"terraform_data\" \"old\" {}\n",
			"resource \"terraform_data\" \"new\" {}\nmoved {\n  from = terraform_data.old\n  to   = terraform_data.new\n}\n", "1 to move",
		},
		"forget": {
			"resource \"terraform_data\" \"old\" {}\n",
			"removed {\n  from = terraform_data.old\n  lifecycle {\n    destroy = false\n  }\n}\n", "1 to forget",
		},
	} {
		t.Run(name, func(t *testing.T) {
			e := module(t, tt.before)
			apply(t, e.with(t, "a"))
			if err := os.WriteFile(filepath.Join(e.Module, "main.tf"), []byte(hosts+tt.after), 0o600); err != nil {
				t.Fatal(err)
			}
			w := e.with(t, "a")
			p := plan(t, w)
			if p.Empty() || p.Summary() != tt.want {
				t.Fatalf("got %q, want %q", p.Summary(), tt.want)
			}
			if err := w.Apply(t.Context(), p, nil); err != nil {
				t.Fatal(err)
			}
			if again := plan(t, w); !again.Empty() {
				t.Errorf("a second plan: %s", again.Summary())
			}
		})
	}
}

// TestChangedAttribute checks that a difference names sensitive attributes and hides their values.
func TestChangedAttribute(t *testing.T) {
	e := module(t, "")
	apply(t, e.with(t, "a"))
	w := e.with(t, "a")
	w.Variables["token"] = "hunter3"
	apply(t, w)
	copied, err := w.Copied(t.Context(), 1)
	if err != nil {
		t.Fatal(err)
	}
	d := terraform.Diff(copied, state(t, w))
	if len(d.Changes) != 1 || len(d.Changes[0].Attributes) == 0 || d.Changes[0].Attributes[0].Name != "input" {
		t.Fatalf("difference %+v", d)
	}
	if text := fmt.Sprintf("%+v", d); strings.Contains(text, "hunter") {
		t.Errorf("the difference shows a secret: %s", text)
	}
}

func TestRestoreRefusesAnotherState(t *testing.T) {
	e := module(t, "")
	apply(t, e.with(t, "a"))
	apply(t, e.with(t, "a", "b"))
	if err := os.Remove(filepath.Join(e.Dir, "terraform.tfstate")); err != nil {
		t.Fatal(err)
	}
	apply(t, e.with(t, "c"))
	if err := e.with(t).Restore(t.Context(), 1); err == nil || !strings.Contains(err.Error(), "copy 1 is of another state") {
		t.Errorf("got %v", err)
	}
	if got := inState(state(t, e.with(t))); !slices.Equal(got, []string{"c"}) {
		t.Errorf("hosts in the state: %v", got)
	}
}

// slow starts to apply host b beside host a in a separate process, and returns once Terraform runs.
func slow(t *testing.T, e engine) (engineProcess *exec.Cmd) {
	t.Helper()
	started := filepath.Join(t.TempDir(), "started")
	pid := filepath.Join(t.TempDir(), "pid")
	e.Run = "01JKILLED"
	e.Variables = map[string]any{
		"hosts": map[string]any{"a": "production", "b": "production"},
		"wait":  fmt.Sprintf("echo $$ >%s; touch %s; exec sleep 60", pid, started),
	}
	cmd, _ := e.start(t)
	t.Cleanup(func() { // children of a killed Terraform survive it
		b, err := os.ReadFile(pid)
		if err != nil {
			return
		}
		if n, err := strconv.Atoi(strings.TrimSpace(string(b))); err == nil {
			_ = syscall.Kill(n, syscall.SIGKILL)
		}
	})
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
		if _, err := os.Stat(started); err == nil {
			return cmd
		}
		if time.Now().After(deadline) {
			t.Fatal("terraform never came to host b")
		}
	}
}

// programIn returns the PID of a program in a folder, or 0.
func programIn(t *testing.T, dir, program string) int {
	t.Helper()
	all, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range all {
		exe, _ := os.Readlink(p + "/exe")
		cwd, _ := os.Readlink(p + "/cwd")
		if filepath.Base(exe) == program && cwd == dir {
			pid, err := strconv.Atoi(filepath.Base(p))
			if err != nil {
				t.Fatal(err)
			}
			return pid
		}
	}
	return 0
}

// TestKilledWithTheLock kills Terraform, or its parent, while the state in S3 is locked.
func TestKilledWithTheLock(t *testing.T) { both(t, testKilledWithTheLock) }

func testKilledWithTheLock(t *testing.T) {
	t.Helper()
	for _, victim := range []string{"program", "engine"} {
		t.Run(victim, func(t *testing.T) {
			_, config := s3(t)
			e := module(t, config)
			apply(t, e.with(t, "a"))
			cmd := slow(t, e)

			lock, err := e.with(t).Locked(t.Context())
			if err != nil || lock == nil || lock.Abandoned || lock.Holder == nil || lock.Holder.PID != cmd.Process.Pid || lock.Holder.Run != "01JKILLED" {
				t.Errorf("while it works: %+v, %v", lock, err)
			}
			pid := cmd.Process.Pid
			if victim == "program" {
				if pid = programIn(t, e.Dir, e.Program); pid == 0 {
					t.Fatalf("%s does not run", e.Program)
				}
			}
			if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
				t.Fatal(err)
			}
			if err := cmd.Wait(); err == nil {
				t.Fatal("the apply has succeeded")
			}
			for programIn(t, e.Dir, e.Program) != 0 {
				time.Sleep(10 * time.Millisecond)
			}

			lock, err = e.with(t).Locked(t.Context())
			if err != nil || lock == nil || !lock.Abandoned || lock.ID == "" || lock.Holder.Run != "01JKILLED" || lock.Holder.PID != cmd.Process.Pid {
				t.Fatalf("lock %+v, %v", lock, err)
			}
			if err := e.with(t).Restore(t.Context(), 1); !errors.As(err, new(*terraform.LockedError)) {
				t.Errorf("restore past a lock: %v", err)
			}
			// One approved plan repairs everything.
			w := e.with(t, "a", "b")
			p := plan(t, w)
			if p.Empty() || p.Lock == nil || p.Lock.ID != lock.ID {
				t.Errorf("plan %+v", p)
			}
			if again, err := w.Locked(t.Context()); err != nil || again == nil || again.ID != lock.ID {
				t.Errorf("a plan has freed the lock: %+v, %v", again, err)
			}
			p = plan(t, w)
			if err := w.Apply(t.Context(), p, nil); err != nil {
				t.Fatal(err)
			}
			if lock, err := w.Locked(t.Context()); err != nil || lock != nil {
				t.Errorf("after that: %+v, %v", lock, err)
			}
			if got := inState(state(t, w)); !slices.Equal(got, []string{"a", "b"}) {
				t.Errorf("hosts in the state: %v", got)
			}
			if p := plan(t, w); !p.Empty() {
				t.Errorf("plan after that: %+v", p)
			}
		})
	}
}

// TestLockOfAnotherFolder shares a state between two folders: a lock held by a live command of the other folder is not
// mistaken for one left by a killed command of this folder.
func TestLockOfAnotherFolder(t *testing.T) {
	_, config := s3(t)
	mine := module(t, config)
	theirs := mine
	theirs.Dir = filepath.Join(t.TempDir(), "terraform")
	apply(t, mine.with(t, "a"))
	cmd := slow(t, mine)
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	for programIn(t, mine.Dir, mine.Program) != 0 {
		time.Sleep(10 * time.Millisecond)
	}
	lock, err := theirs.with(t).Locked(t.Context())
	if err != nil || lock == nil || lock.Abandoned {
		t.Fatalf("seen from the other folder: %+v, %v", lock, err)
	}
	if err := theirs.with(t).Unlock(t.Context(), *lock); err != nil {
		t.Fatal(err)
	}
	cmd = slow(t, theirs)
	_, err = mine.with(t, "a", "b").Plan(t.Context())
	if locked, ok := errors.AsType[*terraform.LockedError](err); !ok || locked.Abandoned {
		t.Errorf("plan beside a living apply: %v", err)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
}

// TestLockOfOthers leaves a lock taken elsewhere alone until an operator frees it.
func TestLockOfOthers(t *testing.T) {
	backend, config := s3(t)
	e := module(t, config)
	w := e.with(t, "a")
	apply(t, w)
	who := "root@elsewhere"
	lock := `{"ID":"60ec3bdf-1111-2222-3333-444444444444","Operation":"OperationTypeApply","Who":"` + who +
		`","Version":"1.11.4","Created":"2026-01-01T00:00:00Z","Path":"states/lab.tfstate"}`
	_, err := backend.PutObject(bucket, "lab.tfstate.tflock", map[string]string{}, strings.NewReader(lock), int64(len(lock)), nil)
	if err != nil {
		t.Fatal(err)
	}
	_, err = w.Plan(t.Context())
	locked, ok := errors.AsType[*terraform.LockedError](err)
	if !ok || locked.Abandoned || locked.Who != who || !strings.Contains(err.Error(), "troop state unlock --env lab") {
		t.Fatalf("plan: %v", err)
	}
	found, err := w.Locked(t.Context())
	if err != nil || found == nil || found.ID != "60ec3bdf-1111-2222-3333-444444444444" || found.Abandoned ||
		!found.Since.Equal(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)) {
		t.Fatalf("lock %+v, %v", found, err)
	}
	other := *found
	other.ID = "60ec3bdf-5555-2222-3333-444444444444"
	if err := w.Unlock(t.Context(), other); err == nil {
		t.Error("a lock was freed by the ID of another one")
	}
	if err := w.Unlock(t.Context(), *found); err != nil {
		t.Fatal(err)
	}
	if p := plan(t, w); !p.Empty() {
		t.Errorf("plan %+v", p)
	}
}

// TestCutOffState simulates a local state truncated by a killed Terraform.
func TestCutOffState(t *testing.T) { both(t, testCutOffState) }

func testCutOffState(t *testing.T) {
	t.Helper()
	for name, rest := range map[string]string{"empty": "", "half": `{"version": 4, "resou`} {
		t.Run(name, func(t *testing.T) {
			e := module(t, "")
			apply(t, e.with(t, "a"))
			before := state(t, e.with(t))
			file := filepath.Join(e.Dir, "terraform.tfstate")

			cmd := slow(t, e)
			if err := cmd.Process.Kill(); err != nil {
				t.Fatal(err)
			}
			_ = cmd.Wait()
			for programIn(t, e.Dir, e.Program) != 0 {
				time.Sleep(10 * time.Millisecond)
			}
			if err := os.WriteFile(file, []byte(rest), 0o600); err != nil {
				t.Fatal(err)
			}
			if _, err := e.with(t).State(t.Context()); !errors.As(err, new(*terraform.DamagedError)) {
				t.Errorf("a damaged state is read: %v", err)
			}
			p := plan(t, e.with(t, "a", "b"))
			if len(p.Changes) != 1 || p.Changes[0].Host != "b" {
				t.Errorf("plan %+v", p.Changes)
			}
			if s := state(t, e.with(t)); !terraform.Diff(before, s).Empty() {
				t.Errorf("the state before the apply is not back: %+v", s)
			}

			// Without a killed apply, an operator must decide.
			if err := os.WriteFile(file, []byte(rest), 0o600); err != nil {
				t.Fatal(err)
			}
			if _, err := e.with(t).Plan(t.Context()); !errors.As(err, new(*terraform.DamagedError)) {
				t.Errorf("a plan with a damaged state: %v", err)
			}
			if err := e.with(t).Restore(t.Context(), 1); err != nil {
				t.Fatal(err)
			}
			if s := state(t, e.with(t)); !terraform.Diff(before, s).Empty() {
				t.Errorf("the copy is not back: %+v", s)
			}
		})
	}
}
