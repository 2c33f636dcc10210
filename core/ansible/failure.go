package ansible

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/seed-b96de936/troop/core"
	"github.com/seed-b96de936/troop/plugins/sdk/proc"
)

// Error says why a playbook failed: the hosts and tasks, or Ansible's own message if no task ran.
type Error struct {
	Playbook string
	Failed   []core.TaskResult // last failure of each host, sorted by host
	Detail   string            // Ansible's message if Failed is empty
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

// Hosts returns the hosts on which the playbook failed.
func (e *Error) Hosts() []core.HostName {
	names := make([]core.HostName, 0, len(e.Failed))
	for _, f := range e.Failed {
		names = append(names, f.Host)
	}
	return names
}

// failure returns the error of a failed run. Rescued tasks do not count; Ansible's statistics tell them apart.
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
	_, text, found := strings.Cut(stderr.String(), "ERROR! ")
	if !found {
		if text = lastLines(stderr.String(), 10); text == "" {
			text = lastLines(stdout.String(), 10)
		}
	}
	e.Detail = strings.TrimSpace(text)
	if e.Detail == "" {
		e.Detail = fmt.Sprintf("ansible-playbook ended early: %v", err)
	}
	return e
}

// tail is a writer that keeps the last bytes.
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
