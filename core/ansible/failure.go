package ansible

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/seed-b96de936/troop/core"
	"github.com/seed-b96de936/troop/plugins/sdk/proc"
)

// Error says why a playbook failed: on which hosts, in which tasks; or what Ansible said when it did not come to a task.
type Error struct {
	Playbook string
	Failed   []core.TaskResult // the last one of each host, sorted by host
	Detail   string            // when Failed is empty
}

func (e *Error) Error() string {
	if len(e.Failed) == 0 {
		return fmt.Sprintf("run playbook %s: %s", e.Playbook, e.Detail)
	}
	lines := make([]string, 0, len(e.Failed))
	for _, f := range e.Failed {
		lines = append(lines, fmt.Sprintf("%s: task %q %s: %s (%s)", f.Host, f.Task, f.Status, f.Message, f.Path))
	}
	return fmt.Sprintf("run playbook %s: %s", e.Playbook, strings.Join(lines, "\n"))
}

// Hosts are those on which the playbook failed.
func (e *Error) Hosts() []core.HostName {
	names := make([]core.HostName, 0, len(e.Failed))
	for _, f := range e.Failed {
		names = append(names, f.Host)
	}
	return names
}

// failure makes the error of a run that ended badly. A failed task that was rescued is not the reason: Ansible's
// statistics tell.
func failure(name string, o outcome, err error, stderr, stdout *tail) error {
	e := &Error{Playbook: name}
	for _, r := range slices.Backward(o.results) {
		s := o.stats[string(r.Host)]
		if o.stats != nil && s["failures"]+s["unreachable"] == 0 {
			continue
		}
		if !slices.Contains(e.Hosts(), r.Host) {
			e.Failed = append(e.Failed, r)
		}
	}
	slices.SortFunc(e.Failed, func(a, b core.TaskResult) int { return strings.Compare(string(a.Host), string(b.Host)) })
	if len(e.Failed) > 0 {
		return e
	}
	if exit := new(proc.ExitError); err != nil && !errors.As(err, &exit) {
		return fmt.Errorf("run playbook %s: %w", name, err) // ansible-playbook did not start
	}
	_, said, found := strings.Cut(stderr.String(), "ERROR! ")
	if !found {
		if said = lastLines(stderr.String(), 10); said == "" {
			said = lastLines(stdout.String(), 10)
		}
	}
	e.Detail = strings.TrimSpace(said)
	if e.Detail == "" {
		e.Detail = fmt.Sprintf("ansible-playbook ended early: %v", err)
	}
	return e
}

// tail keeps the last bytes written.
type tail struct{ b []byte }

const tailSize = 64 << 10

func (t *tail) Write(p []byte) (int, error) {
	t.b = append(t.b, p...)
	if over := len(t.b) - tailSize; over > 0 {
		t.b = slices.Delete(t.b, 0, over)
	}
	return len(p), nil
}

func (t *tail) String() string { return string(t.b) }
