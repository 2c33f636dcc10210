package ansible_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/seed-b96de936/troop/core"
	"github.com/seed-b96de936/troop/core/ansible"
	"github.com/seed-b96de936/troop/core/remote"
	"github.com/seed-b96de936/troop/playbooks"
)

// environment returns a Runner. All playbooks but far.yml use a local connection.
func environment(t *testing.T, names ...core.HostName) (*ansible.Runner, ansible.Config) {
	t.Helper()
	conf := ansible.Config{Dir: filepath.Join(t.TempDir(), "an environment"), Playbooks: playbooks.FS}
	var err error
	if conf.Manifest, err = filepath.Abs("testdata"); err != nil {
		t.Fatal(err)
	}
	if conf.SSH, err = remote.New(conf.Dir); err != nil {
		t.Fatal(err)
	}
	for i, n := range names {
		conf.Hosts = append(conf.Hosts, core.Host{
			Name: n, Role: strings.TrimSuffix(string(n), "-1"), Address: "127.0.0.1", PrivateAddress: fmt.Sprintf("10.0.0.%d", 10+i), Port: 1, User: "root",
		})
	}
	return runner(t, conf), conf
}

func runner(t *testing.T, conf ansible.Config) *ansible.Runner {
	t.Helper()
	r, err := ansible.New(conf)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	})
	return r
}

func TestRun(t *testing.T) {
	t.Parallel()
	r, conf := environment(t, "web-1")
	vars := map[string]any{
		"secret":  "{{ not a template }}",
		"nested":  map[string]any{"list": []string{"a", "{{ nor this }}"}},
		"unicode": "ü😀\"\\",
	}
	var got strings.Builder
	var facts map[string]any
	recap, err := r.Run(t.Context(), ansible.Run{Playbook: "./everything.yml", Vars: vars}, func(x core.TaskResult) {
		fmt.Fprintf(&got, "%s %s: %s (%s) %s\n", x.Host, x.Status, x.Task, x.Path, x.Message)
		if x.Facts != nil {
			facts = x.Facts
		}
		if x.Elapsed <= 0 {
			t.Errorf("task %q took %s", x.Task, x.Elapsed)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "everything.golden", got.String())
	if facts["stdout"] != "one two" {
		t.Errorf("facts of the task that registers troop_result = %v", facts)
	}
	if want := (ansible.Counts{OK: 4, Changed: 3, Skipped: 1}); recap["web-1"] != want || recap.Changed() != 3 {
		t.Errorf("recap = %+v, want %+v", recap["web-1"], want)
	}
	if err := filepath.WalkDir(conf.Dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		if strings.Contains(string(b), "not a template") {
			t.Errorf("%s holds a variable's value after the run", path)
		}
		return err
	}); err != nil {
		t.Error(err)
	}
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", name)
	if os.Getenv("UPDATE") != "" {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s differs; got:\n%s\nwant:\n%s", name, got, want)
	}
}

// Whoever has lost the environment runs no playbook.
func TestRunOfALostHolder(t *testing.T) {
	t.Parallel()
	_, conf := environment(t, "web-1")
	lost := &core.LostError{Environment: "lab"}
	conf.Holder = func() (int64, error) { return 0, lost }
	_, err := runner(t, conf).Run(t.Context(), ansible.Run{Playbook: "./everything.yml"}, func(x core.TaskResult) { t.Errorf("%+v", x) })
	if !errors.Is(err, lost) {
		t.Error(err)
	}
}

func TestRunRetriesFailedHostsAlone(t *testing.T) {
	t.Parallel()
	r, conf := environment(t, "web-1", "router-1", "storage-1")
	recap, err := r.Run(t.Context(), ansible.Run{Playbook: "./fails.yml", Retries: 1, Vars: map[string]any{"folder": conf.Dir}}, nil)
	var failed *ansible.Error
	if !errors.As(err, &failed) || len(failed.Failed) != 1 {
		t.Fatalf("error = %v", err)
	}
	want := `run playbook ./fails.yml: storage-1: task "Insist" failed: exit status 1: attempt 2 is too early (fails.yml:10)`
	if err.Error() != want {
		t.Errorf("error = %q\nwant    %q", err, want)
	}
	if recap["web-1"].Failed != 0 || recap["storage-1"].Failed != 1 || recap["router-1"].Changed != 1 {
		t.Errorf("recap = %+v", recap)
	}
	if b, err := os.ReadFile(filepath.Join(conf.Dir, "router-1")); err != nil || string(b) != "x\n" {
		t.Errorf("the host that did not fail was tried again: %q, %v", b, err)
	}
}

func TestRunErrors(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		run  ansible.Run
		want string
	}{
		"syntax":      {ansible.Run{Playbook: "./broken.yml"}, `couldn't resolve module/action 'ansible.builtin.nonsense'`},
		"unreachable": {ansible.Run{Playbook: "./far.yml"}, `web-1: task "Reach the host" unreachable: .*Connection refused.*\(far.yml:6\)`},
		"no file":     {ansible.Run{Playbook: "./none.yml"}, `testdata/none.yml not found`},
		"no playbook": {ansible.Run{Playbook: "none.yml"}, `playbook none.yml not found; troop ships with .*agent.yml.*site.yml`},
		"no host":     {ansible.Run{Playbook: "./far.yml", Hosts: []core.HostName{"web-9"}}, `host web-9 not found`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r, _ := environment(t, "web-1")
			_, err := r.Run(t.Context(), test.run, nil)
			if err == nil || !regexp.MustCompile(`(?s)`+test.want).MatchString(err.Error()) {
				t.Errorf("error = %v\nwant %s", err, test.want)
			}
		})
	}
}

func TestRunCancelled(t *testing.T) {
	t.Parallel()
	r, conf := environment(t, "web-1")
	enough := errors.New("the user has had enough")
	ctx, cancel := context.WithCancelCause(t.Context())
	seconds := fmt.Sprintf("97.%d", os.Getpid()) // identifies it in the process list
	var stopped time.Time
	_, err := r.Run(ctx, ansible.Run{Playbook: "./slow.yml", Vars: map[string]any{"seconds": seconds}}, func(core.TaskResult) {
		time.AfterFunc(500*time.Millisecond, func() { stopped = time.Now(); cancel(enough) })
	})
	if !errors.Is(err, enough) {
		t.Errorf("error = %v", err)
	}
	if took := time.Since(stopped); took > 8*time.Second {
		t.Errorf("Run returned %s after it was cancelled", took)
	}
	if out, err := exec.Command("pgrep", "-af", "sleep "+seconds).Output(); err == nil {
		t.Errorf("still running: %s", out)
	}
	if left, _ := filepath.Glob(filepath.Join(conf.Dir, "ansible", "run-*", "playbook-*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestCheckNamesFilesAndWritesNone(t *testing.T) {
	t.Parallel()
	r, _ := environment(t, "web-1")
	folder := t.TempDir()
	if err := os.WriteFile(filepath.Join(folder, "one"), []byte("by hand"), 0o600); err != nil {
		t.Fatal(err)
	}
	var got []string
	recap, err := r.Run(t.Context(), ansible.Run{Playbook: "./files.yml", Check: true, Vars: map[string]any{"folder": folder}}, func(x core.TaskResult) {
		got = append(got, x.Task+": "+strings.ReplaceAll(x.Message, folder, "…"))
	})
	if err != nil || recap.Changed() != 4 {
		t.Errorf("recap = %+v, %v", recap, err)
	}
	want := []string{"Writes one: …/one", "Makes several: …/three, …/two", "Makes one: /nowhere/at/all", "Hides one: the result is hidden, since it may hold a secret (no_log)"}
	if !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
	if left, err := os.ReadDir(folder); err != nil || len(left) != 1 {
		t.Errorf("check mode made %v, %v", left, err)
	}
}

func TestHostsHaveGroupsAndVariables(t *testing.T) {
	t.Parallel()
	_, conf := environment(t, "web-1", "web-2", "web-3")
	for i := range conf.Hosts {
		conf.Hosts[i].Role = "production"
	}
	conf.Hosts[0].Tags = []string{"blue", "team=web-shop"}
	conf.Hosts[0].Vars = map[string]any{"workers": 4, "motd": "{{ x }}", "troop_role": "router"}
	conf.Hosts[1].Tags = []string{"blue"}
	recap, err := runner(t, conf).Run(t.Context(), ansible.Run{Playbook: "./hosts.yml"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if len(recap) != 1 || recap["web-1"].OK != 1 {
		t.Errorf("recap = %+v, want web-1 alone", recap)
	}
}

func TestFactsAreGatheredOnce(t *testing.T) {
	t.Parallel()
	r, conf := environment(t, "web-1")
	var got []string
	for range 2 {
		if _, err := r.Run(t.Context(), ansible.Run{Playbook: "./facts.yml"}, func(x core.TaskResult) { got = append(got, x.Task) }); err != nil {
			t.Fatal(err)
		}
	}
	if want := []string{"Gathering Facts", "Has them", "Has them"}; !slices.Equal(got, want) {
		t.Errorf("tasks = %q, want %q", got, want)
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	if left, _ := filepath.Glob(filepath.Join(conf.Dir, "ansible", "run-*")); len(left) > 0 {
		t.Errorf("facts outlive the Runner: %v", left)
	}
}
