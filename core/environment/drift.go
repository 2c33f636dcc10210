package environment

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/seed-b96de936/troop/core"
	"github.com/seed-b96de936/troop/core/ansible"
	"github.com/seed-b96de936/troop/core/remote"
	"github.com/seed-b96de936/troop/core/terraform"
)

// driftWait is the timeout for checking the installed files of a host.
const driftWait = 20 * time.Second

// Drift compares the environment with what was last applied, and changes nothing: Terraform refreshes the resources,
// installed files are compared with their recorded checksums, and Ansible runs the playbook in check mode on the hosts
// that answer.
func (e *Environment) Drift(ctx context.Context) (*core.Drift, error) {
	s, err := e.open()
	if err != nil {
		return nil, err
	}
	check := driftCheck{
		site: s, lost: map[core.HostName]bool{},
		report: &core.Drift{Environment: e.conf.Name, Hosts: []core.HostDrift{}, Resources: []core.Difference{}},
	}
	for _, h := range s.hosts {
		check.report.Hosts = append(check.report.Hosts, core.HostDrift{Host: h.Name, Role: h.Role, Differences: []core.Difference{}})
	}
	if e.conf.Terraform != nil {
		w, err := e.terraform(ctx)
		if err != nil {
			return nil, err
		}
		plan, err := w.Drift(ctx)
		if err != nil {
			return nil, err
		}
		check.resources(plan.Drift)
		for _, c := range plan.Computed {
			check.report.Computed = append(check.report.Computed, c.Differences()...)
		}
	}
	check.installed(ctx)
	if e.conf.Ansible != nil {
		if err := check.configured(ctx, ansible.Run{Playbook: e.conf.Ansible.Playbook}); err != nil {
			return nil, err
		}
	}
	check.judge()
	return check.report, context.Cause(ctx)
}

// driftCheck collects the report. A host without a status has answered so far.
type driftCheck struct {
	site   *site
	report *core.Drift
	lost   map[core.HostName]bool // hosts with a resource that is missing
}

func (c *driftCheck) host(name core.HostName) *core.HostDrift {
	i := slices.IndexFunc(c.report.Hosts, func(h core.HostDrift) bool { return h.Host == name })
	if i < 0 {
		return nil
	}
	return &c.report.Hosts[i]
}

// resources adds Terraform's findings.
func (c *driftCheck) resources(changes []terraform.Change) {
	for _, change := range changes {
		all, gone := change.Differences(), change.Action == terraform.Destroy
		if h := c.host(change.Host); h != nil {
			h.Differences = append(h.Differences, all...)
			c.lost[h.Host] = c.lost[h.Host] || gone
		} else {
			c.report.Resources = append(c.report.Resources, all...)
		}
	}
}

// installed finds files on every host that have changed since a stage installed them. This also finds the hosts that do
// not answer.
func (c *driftCheck) installed(ctx context.Context) {
	ctx, cancel := context.WithTimeoutCause(ctx, driftWait, fmt.Errorf("no answer within %s", driftWait))
	defer cancel()
	var wg sync.WaitGroup
	for i, h := range c.site.hosts {
		found := &c.report.Hosts[i]
		wg.Go(func() {
			_, err := c.site.ssh.HostKey(h) // a first connection would pin the key, which changes state
			var altered []string
			if err == nil {
				altered, err = c.site.ansible.Altered(ctx, h)
			}
			if err != nil {
				found.Status, found.Reason = core.HostUnreachable, err.Error()
				if remote.Exited(err) {
					found.Status = core.HostUnchecked
				}
			}
			for _, line := range altered {
				found.Differences = append(found.Differences, core.Difference{Layer: "installed", What: line})
			}
		})
	}
	wg.Wait()
}

// configured runs the playbook in check mode on the hosts that answer.
func (c *driftCheck) configured(ctx context.Context, run ansible.Run) error {
	c.report.Pending = c.site.ansible.Pending(run)
	run.Check = true
	for _, h := range c.report.Hosts {
		if h.Status == "" {
			run.Hosts = append(run.Hosts, h.Host)
		}
	}
	if len(run.Hosts) == 0 {
		return nil
	}
	_, err := c.site.ansible.Run(ctx, run, func(t core.TaskResult) {
		if h := c.host(t.Host); h != nil && t.Status == "changed" {
			h.Differences = append(h.Differences, core.Difference{Layer: "ansible", What: t.Task, Detail: t.Message, Path: t.Path})
		}
	})
	failed, ok := errors.AsType[*ansible.Error](err)
	if !ok || len(failed.Failed) == 0 {
		return err
	}
	for _, t := range failed.Failed {
		if h := c.host(t.Host); h != nil {
			h.Status, h.Reason = core.HostUnchecked, fmt.Sprintf("task %q: %s (%s)", t.Task, t.Message, t.Path)
			if t.Status == "unreachable" {
				h.Status, h.Reason = core.HostUnreachable, t.Message
			}
		}
	}
	return nil
}

// judge sets every host's final status. A host that does not answer and has a missing resource is gone.
func (c *driftCheck) judge() {
	for i := range c.report.Hosts {
		h := &c.report.Hosts[i]
		switch {
		case h.Status == core.HostUnreachable && c.lost[h.Host]:
			h.Status = core.HostGone
		case h.Status != "":
		case len(h.Differences) > 0:
			h.Status = core.HostDrifted
		default:
			h.Status = core.HostUnchanged
		}
	}
}

// stopAtDrift checks for drift before a run changes anything, if the manifest says so, and then warns or fails as the
// manifest says. A forced run goes on and reverts the drift.
func (e *Environment) stopAtDrift(ctx context.Context, force bool, emit func(core.Event)) error {
	if e.conf.Terraform == nil || e.conf.Terraform.Review.Drift == "" {
		return nil
	}
	say := func(line string) { emit(core.Event{Kind: core.KindLog, Summary: line}) }
	if _, err := e.Hosts(); errors.As(err, new(*core.NotFoundError)) {
		say("drift: not checked, there are no hosts yet")
		return nil
	}
	report, err := e.Drift(ctx)
	if err != nil {
		return fmt.Errorf("check for drift: %w", err)
	}
	if report.Pending != "" {
		say("drift: differences from the playbook are not reported, since this run may apply them: " + report.Pending)
		ignorePending(report)
	}
	warn := func(host core.HostName, line string) {
		emit(core.Event{Kind: core.KindLog, Severity: core.Warning, Host: host, Summary: "drift: " + line})
	}
	for _, h := range report.Drifted() {
		if h.Reason != "" {
			warn(h.Host, fmt.Sprintf("%s: %s", h.Status, h.Reason))
		}
		for _, d := range h.Differences {
			warn(h.Host, d.String())
		}
	}
	for _, d := range report.Resources {
		warn("", d.String())
	}
	say(report.String())
	if e.conf.Terraform.Review.Drift == core.StopAtDrift && !report.Empty() && !force {
		return fmt.Errorf("%s; see troop drift%s; to revert it: troop run%[2]s --force", report, e.Arguments())
	}
	return nil
}

// ignorePending drops differences that may be configuration changes not applied yet.
func ignorePending(report *core.Drift) {
	for i := range report.Hosts {
		h := &report.Hosts[i]
		h.Differences = slices.DeleteFunc(h.Differences, func(d core.Difference) bool { return d.Layer == "ansible" })
		if len(h.Differences) == 0 && h.Status == core.HostDrifted {
			h.Status = core.HostUnchanged
		}
	}
}
