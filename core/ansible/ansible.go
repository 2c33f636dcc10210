// Package ansible configures the hosts of one environment: it writes the inventory, runs playbooks with go-ansible and
// reports the result of each task on each host as a core.TaskResult. It is the only package that imports go-ansible.
// core/environment imports it, to configure hosts and to run playbooks for plugins.
package ansible

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/apenella/go-ansible/v2/pkg/execute"
	"github.com/apenella/go-ansible/v2/pkg/playbook"

	"github.com/seed-b96de936/troop/core"
	"github.com/seed-b96de936/troop/core/remote"
)

// Config is shared by all runs in one environment.
type Config struct {
	Dir       string         // the environment's folder; this package owns its subfolders ansible and fingerprints
	Manifest  string         // the manifest's folder, to resolve "./x.yml"
	Playbooks fs.FS          // playbooks that ship with troop
	SSH       *remote.Client // for its key and pinned host keys; every host's key must be pinned, see Wait
	Hosts     []core.Host
	Vars      map[string]any // extra variables of every run
	// Holder returns the number of the environment's holder: hosts refuse a smaller one than they have obeyed. nil: none.
	Holder func() (int64, error)

	VaultPassword []string // command that prints the password of a team's vaults; empty: as the user's environment says
	Requirements  string   // absolute path of a team's requirements.yml; empty: none
}

// Runner runs playbooks. It is safe for concurrent use, but does not keep runs from touching the same files at once.
type Runner struct {
	conf    Config
	shipped tree

	mu      sync.Mutex
	sockets *sockets // nil before the first run
}

// Run describes one run of a playbook.
type Run struct {
	Name     string          // of its fingerprint; empty: the playbook's name without extension
	Playbook string          // a bare name: ships with troop; "./x.yml" or an absolute path: a team's own
	Hosts    []core.HostName // empty: all
	Vars     map[string]any  // extra variables; override those of Config
	Check    bool            // change nothing; "changed" means "would change", and the message names the files
	Retries  int             // how often to retry the failed hosts
	Inputs   []core.Digest   // other inputs, such as binaries that the playbook copies
	Healthy  string          // optional shell command that succeeds on a correctly configured host
}

// Counts is the number of tasks on one host by result.
type Counts struct{ OK, Changed, Failed, Skipped, Unreachable int }

// Recap holds the counts of a run by host; of a retried host, those of the last attempt.
type Recap map[core.HostName]Counts

// Changed returns the number of changed tasks on all hosts.
func (r Recap) Changed() int {
	n := 0
	for _, c := range r {
		n += c.Changed
	}
	return n
}

// New returns a Runner, which the caller must close. It writes nothing yet.
func New(conf Config) (*Runner, error) {
	dir, err := filepath.Abs(conf.Dir)
	if err != nil {
		return nil, fmt.Errorf("open environment folder: %w", err)
	}
	conf.Dir = dir
	shipped, err := readTree(conf.Playbooks)
	if err != nil {
		return nil, fmt.Errorf("read playbooks: %w", err)
	}
	return &Runner{conf: conf, shipped: shipped}, nil
}

// Close closes the connections that are kept open between runs. All runs must have ended.
func (r *Runner) Close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.sockets == nil {
		return nil
	}
	err := r.sockets.close()
	r.sockets = nil
	return err
}

// Run runs a playbook to its end and passes each task's result to each, in order, from one goroutine; each may be nil. A
// failed task is an *Error. When ctx ends, Ansible is interrupted, then killed, and Run returns the context's cause.
func (r *Runner) Run(ctx context.Context, run Run, each func(core.TaskResult)) (Recap, error) {
	if each == nil {
		each = func(core.TaskResult) {}
	}
	if !run.Check {
		if err := r.drop(run); err != nil {
			return nil, err
		}
	}
	recap := Recap{}
	for attempt := 0; ; attempt++ {
		part, err := r.once(ctx, run, each)
		maps.Copy(recap, part)
		var failed *Error
		if err == nil || attempt >= run.Retries || !errors.As(err, &failed) || len(failed.Failed) == 0 {
			return recap, err
		}
		run.Hosts = failed.Hosts()
	}
}

func (r *Runner) once(ctx context.Context, run Run, each func(core.TaskResult)) (Recap, error) {
	if err := context.Cause(ctx); err != nil {
		return nil, err
	}
	file, err := r.find(run.Playbook)
	if err != nil {
		return nil, err
	}
	limit, err := r.limit(run.Hosts)
	if err != nil {
		return nil, err
	}
	ansiblePlaybook, err := Find()
	if err != nil {
		return nil, err
	}
	w, err := r.workspace(run)
	if err != nil {
		return nil, fmt.Errorf("prepare playbook %s: %w", run.Playbook, err)
	}
	defer w.close()
	w.config = w.configFor(file, r.conf.Manifest)
	if w.galaxy, err = r.galaxy(ctx); err != nil {
		return nil, fmt.Errorf("prepare playbook %s: %w", run.Playbook, err)
	}

	events, err := listen(w.events, r.place, func() { _ = os.Remove(w.vars) }, each)
	if err != nil {
		return nil, fmt.Errorf("prepare playbook %s: %w", run.Playbook, err)
	}
	options, err := r.conf.SSH.Options(ctx, r.conf.Hosts...)
	if err != nil {
		return nil, err
	}
	var out, errOut tail
	program := &executable{env: w.environment(options, r.conf.Manifest), dir: filepath.Dir(file)}
	err = execute.NewDefaultExecute(
		execute.WithCmd(playbook.NewAnsiblePlaybookCmd(
			playbook.WithBinary(ansiblePlaybook),
			playbook.WithPlaybooks(file),
			playbook.WithPlaybookOptions(&playbook.AnsiblePlaybookOptions{
				Inventory: w.inventory, ExtraVarsFile: []string{"@" + w.vars}, Limit: limit, Check: run.Check, Diff: run.Check,
			}),
		)),
		execute.WithExecutable(program),
		execute.WithOutput(verbatim{}),
		execute.WithWrite(&out),
		execute.WithWriteError(&errOut),
	).Execute(ctx)
	result := events.finish()
	if ctx.Err() != nil {
		return result.recap(), fmt.Errorf("run playbook %s: %w", run.Playbook, context.Cause(ctx))
	}
	if err == nil {
		err = program.err
	}
	if err == nil && result.stats != nil {
		return result.recap(), nil
	}
	return result.recap(), failure(run.Playbook, result, err, &errOut, &out)
}

// find returns the path of a playbook.
func (r *Runner) find(name string) (string, error) {
	if !filepath.IsAbs(name) && !strings.HasPrefix(name, "./") && !strings.HasPrefix(name, "../") {
		if _, ok := r.shipped.files[name]; !ok || filepath.Ext(name) != ".yml" {
			return "", &core.NotFoundError{
				What: "playbook", Name: name,
				Remedy: "troop ships with " + strings.Join(r.shipped.playbooks(), ", ") + "; a file of your own starts with ./",
			}
		}
		dir, err := r.shipped.unpack(filepath.Join(r.conf.Dir, "ansible"))
		if err != nil {
			return "", fmt.Errorf("unpack playbooks: %w", err)
		}
		return filepath.Join(dir, name), nil
	}
	if !filepath.IsAbs(name) {
		name = filepath.Join(r.conf.Manifest, name)
	}
	name, err := filepath.Abs(name)
	if err != nil {
		return "", fmt.Errorf("find playbook: %w", err)
	}
	if _, err := os.Stat(name); err != nil {
		return "", &core.NotFoundError{What: "playbook", Name: name, Remedy: "a bare name, such as site.yml, is a playbook that ships with troop"}
	}
	return name, nil
}

// place shortens a task's file:line: to playbooks/… if it ships with troop, else to a path relative to the manifest's
// folder.
func (r *Runner) place(path string) string {
	if rest, ok := strings.CutPrefix(path, r.shipped.dir(filepath.Join(r.conf.Dir, "ansible"))+"/"); ok {
		return "playbooks/" + rest
	}
	if rest, ok := strings.CutPrefix(path, r.conf.Manifest+"/"); ok && r.conf.Manifest != "" {
		return rest
	}
	return path
}

// limit writes host names as an Ansible host pattern.
func (r *Runner) limit(names []core.HostName) (string, error) {
	pattern := make([]string, 0, len(names))
	for _, n := range names {
		if !slices.ContainsFunc(r.conf.Hosts, func(h core.Host) bool { return h.Name == n }) {
			return "", &core.NotFoundError{What: "host", Name: string(n)}
		}
		pattern = append(pattern, string(n))
	}
	return strings.Join(pattern, ","), nil
}

// hosts returns the hosts of a run.
func (r *Runner) hosts(run Run) []core.Host {
	if len(run.Hosts) == 0 {
		return r.conf.Hosts
	}
	return slices.DeleteFunc(slices.Clone(r.conf.Hosts), func(h core.Host) bool { return !slices.Contains(run.Hosts, h.Name) })
}
