package ansible

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/google/renameio/v2"

	"github.com/seed-b96de936/troop/core"
	"github.com/seed-b96de936/troop/core/remote"
)

// onHosts is the folder of fingerprints on a host.
const onHosts = "/etc/troop/fingerprints/"

// Fingerprint is the digest of everything that a run's effect depends on: playbooks, inventory, variables, inputs.
func (r *Runner) Fingerprint(run Run) (core.Digest, error) {
	file, err := r.find(run.Playbook)
	if err != nil {
		return "", err
	}
	hosts, err := inventory(r.conf.Hosts)
	if err != nil {
		return "", err
	}
	vars, err := extraVars(r.conf.Vars, run.Vars)
	if err != nil {
		return "", err
	}
	limit, err := r.limit(slices.Sorted(slices.Values(run.Hosts)))
	if err != nil {
		return "", err
	}
	own := ""
	if !strings.HasPrefix(file, r.conf.Dir+string(filepath.Separator)) {
		if own, err = teamTree(file, r.conf.Manifest); err != nil {
			return "", fmt.Errorf("read playbook %s: %w", run.Playbook, err)
		}
	}
	parts := [][]byte{[]byte(r.shipped.digest), []byte(run.Playbook), []byte(own), hosts, vars, []byte(limit)}
	if r.conf.Requirements != "" {
		required, err := os.ReadFile(r.conf.Requirements)
		if err != nil {
			return "", err
		}
		parts = append(parts, required)
	}
	for _, d := range run.Inputs {
		parts = append(parts, []byte(d))
	}
	return core.DigestAll(parts...), nil
}

// teamTree is the digest of a team's playbook, of the files that Ansible looks for beside it, and of its roles elsewhere.
func teamTree(file, manifest string) (string, error) {
	dir := filepath.Dir(file)
	all := tree{files: map[string][]byte{}}
	content, err := os.ReadFile(file)
	if err != nil {
		return "", err
	}
	all.files[filepath.Base(file)] = content
	for _, config := range []string{filepath.Join(dir, "ansible.cfg"), filepath.Join(manifest, "ansible.cfg")} {
		if text, err := os.ReadFile(config); err == nil {
			all.files[config] = text
		}
	}
	for _, sub := range []string{"roles", "tasks", "handlers", "vars", "group_vars", "host_vars", "files", "templates", "library", "filter_plugins", "action_plugins"} {
		t, err := readTree(os.DirFS(filepath.Join(dir, sub)))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return "", err
		}
		all.files[sub] = []byte(t.digest)
	}
	roles, err := rolesTree(file, manifest)
	return string(core.DigestAll([]byte(all.sum()), []byte(roles))), err
}

// Unchanged reports whether a run can be skipped, with the reason. It can if its fingerprint is that of the last success
// recorded here, and every host has that fingerprint and passes the health check.
func (r *Runner) Unchanged(ctx context.Context, run Run) (ok bool, why string) {
	want, why := r.recorded(run)
	if why != "" {
		return false, why
	}
	check := "cat " + onHosts + remote.Quote(run.name())
	if run.Healthy != "" {
		check += " && { " + run.Healthy + "\n} >/dev/null"
	}
	err := r.onEach(ctx, run, func(h core.Host) error {
		got, err := r.conf.SSH.RunRoot(ctx, h, check, nil)
		if err == nil && string(got) != string(want) {
			err = fmt.Errorf("%s has another configuration", h.Name)
		}
		return err
	})
	if err != nil {
		return false, err.Error()
	}
	return true, fmt.Sprintf("playbooks, inventory and variables have not changed since the last run, and all hosts have it (%.12s)", want.Hex())
}

// Pending says why a run may change hosts even if they have not changed; "": it would not. It compares the run's
// fingerprint with the last one recorded here and contacts no host.
func (r *Runner) Pending(run Run) (why string) {
	_, why = r.recorded(run)
	return why
}

// recorded returns the fingerprint of a run, or why it differs from that of the last success.
func (r *Runner) recorded(run Run) (want core.Digest, why string) {
	want, err := r.Fingerprint(run)
	if err != nil {
		return "", err.Error()
	}
	have, err := os.ReadFile(r.record(run))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "", "no finished run is recorded"
	case err != nil:
		return "", err.Error()
	case string(have) != string(want):
		return "", "playbooks, inventory or variables have changed"
	}
	return want, ""
}

// Record stores a successful run's fingerprint here and on the hosts.
func (r *Runner) Record(ctx context.Context, run Run) error {
	want, err := r.Fingerprint(run)
	if err != nil {
		return err
	}
	file := remote.Quote(onHosts + run.name())
	note := fmt.Sprintf("mkdir -p %s && cat > %s.new && chmod 0644 %[2]s.new && mv %[2]s.new %[2]s", onHosts, file)
	err = r.onEach(ctx, run, func(h core.Host) error {
		_, err := r.conf.SSH.RunRoot(ctx, h, note, strings.NewReader(string(want)))
		return err
	})
	if err != nil {
		return fmt.Errorf("record fingerprint: %w", err)
	}
	if err := os.MkdirAll(filepath.Dir(r.record(run)), 0o700); err != nil {
		return fmt.Errorf("record fingerprint: %w", err)
	}
	if err := renameio.WriteFile(r.record(run), []byte(want), 0o600); err != nil {
		return fmt.Errorf("record fingerprint: %w", err)
	}
	return nil
}

// drop removes the record of a run: until the new run ends, the state of the hosts is unknown.
func (r *Runner) drop(run Run) error {
	if err := os.Remove(r.record(run)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("drop fingerprint: %w", err)
	}
	return nil
}

// Forget removes all records of an environment's folder, after its hosts were destroyed.
func Forget(dir string) error {
	if err := os.RemoveAll(fingerprintsIn(dir)); err != nil {
		return fmt.Errorf("forget fingerprints: %w", err)
	}
	return nil
}

func fingerprintsIn(dir string) string { return filepath.Join(dir, "fingerprints") }

func (r *Runner) record(run Run) string {
	return filepath.Join(fingerprintsIn(r.conf.Dir), run.name())
}

func (run Run) name() string {
	if run.Name != "" {
		return run.Name
	}
	return strings.TrimSuffix(filepath.Base(run.Playbook), filepath.Ext(run.Playbook))
}

// onEach calls do for all hosts of a run concurrently and returns the first error in host order.
func (r *Runner) onEach(ctx context.Context, run Run, do func(core.Host) error) error {
	hosts := r.hosts(run)
	errs := make([]error, len(hosts))
	var wg sync.WaitGroup
	for i, h := range hosts {
		wg.Go(func() { errs[i] = do(h) })
	}
	wg.Wait()
	if err := context.Cause(ctx); err != nil {
		return err
	}
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}
