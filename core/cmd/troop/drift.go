package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/crypto/ssh"

	"github.com/seed-b96de936/troop/core"
	"github.com/seed-b96de936/troop/core/ansible"
	"github.com/seed-b96de936/troop/core/terraform"
)

// driftReport is how an environment differs from what was last applied to it.
type driftReport struct {
	Environment string `json:"environment"`
	// Pending says what has changed here since the hosts were last configured: a difference may be that, too.
	Pending   string       `json:"pending,omitempty"`
	Hosts     []hostDrift  `json:"hosts"`
	Resources []difference `json:"resources"` // that belong to no host
}

// hostDrift is what is not as it was on one host.
type hostDrift struct {
	Host        core.HostName `json:"host"`
	Role        string        `json:"role"`
	Status      hostStatus    `json:"status"`
	Reason      string        `json:"reason,omitempty"` // why it could not be looked at
	Differences []difference  `json:"differences"`

	lost bool // Terraform misses a resource of it
}

type hostStatus string

// What can be said of a host. One that cannot be looked at counts as drift: nobody knows what it is.
const (
	asApplied   hostStatus = "ok"
	drifted     hostStatus = "drifted"
	gone        hostStatus = "gone"
	unreachable hostStatus = "unreachable"
	unchecked   hostStatus = "failed" // it answers, and the check ends early
)

// difference is one thing that is not as it was.
type difference struct {
	Layer  string `json:"layer"` // terraform, ansible, or installed: by a stage
	What   string `json:"what"`
	Detail string `json:"detail,omitempty"`
	Path   string `json:"path,omitempty"` // of the task that says how it should be
}

func (d difference) String() string {
	s := d.What
	if d.Detail != "" {
		s += ": " + d.Detail
	}
	if d.Path != "" {
		s += " (" + d.Path + ")"
	}
	return s
}

// drifted are the hosts on which something is not as it was.
func (r *driftReport) drifted() []hostDrift {
	return slices.DeleteFunc(slices.Clone(r.Hosts), func(h hostDrift) bool { return h.Status == asApplied })
}

func (r *driftReport) empty() bool { return len(r.drifted()) == 0 && len(r.Resources) == 0 }

// String sums it up.
func (r *driftReport) String() string {
	if r.empty() {
		return fmt.Sprintf("environment %s: no drift on %d hosts", r.Environment, len(r.Hosts))
	}
	var parts []string
	for _, h := range r.drifted() {
		parts = append(parts, fmt.Sprintf("%s is %s", h.Host, h.Status))
	}
	if n := len(r.Resources); n > 0 {
		parts = append(parts, fmt.Sprintf("%d changes to what belongs to no host", n))
	}
	return fmt.Sprintf("environment %s has drifted: %s", r.Environment, strings.Join(parts, ", "))
}

func (a *app) driftCmd() *cobra.Command {
	return &cobra.Command{
		Use: "drift [MANIFEST]", Short: "Show what has changed on the hosts since the last apply (exit status 2: something)",
		Long: `Drift compares an environment with what was last applied to it, and changes nothing: Terraform refreshes its
view of the resources, Ansible runs the environment's playbook in check mode, and what stages have installed is
compared with their notes. A host that does not answer is drift, too.

Exit status: 0 no drift, 1 the comparison failed, 2 drift.`,
		RunE: func(c *cobra.Command, args []string) error {
			p, conf, err := a.loadEnvironment(args)
			if err != nil {
				return err
			}
			if _, err := readHosts(environmentDir(p.Pipeline, conf.Name)); err != nil {
				return noHosts(conf.Name, err)
			}
			release, err := lockEnvironment(c.Context(), p, conf.Name, "troop drift", "", a.note)
			if err != nil {
				return err
			}
			defer func() { _ = release() }()
			report, err := findDrift(c.Context(), p.Pipeline, conf, a.note)
			if err != nil {
				return err
			}
			a.showDrift(report)
			if !report.empty() {
				return changes
			}
			return nil
		},
	}
}

func (a *app) showDrift(r *driftReport) {
	a.ui.JSON(r)
	if r.Pending != "" {
		a.ui.Printf("a difference may be a change that waits for an apply: %s", r.Pending)
	}
	for _, h := range r.drifted() {
		line := fmt.Sprintf("%s (%s): %s", h.Host, h.Role, h.Status)
		if h.Reason != "" {
			line += ": " + h.Reason
		}
		a.ui.Printf("%s", line)
		for _, d := range h.Differences {
			a.ui.Printf("  %-9s  %s", d.Layer, d)
		}
	}
	for _, d := range r.Resources {
		a.ui.Printf("%s", d)
	}
	a.ui.Printf("%s", r)
}

// findDrift compares the hosts of an environment with what was last applied. The caller holds its lock.
func findDrift(ctx context.Context, p *core.Pipeline, conf core.Environment, say func(string)) (*driftReport, error) {
	e, err := openEnvironment(p, conf)
	if err != nil {
		return nil, err
	}
	defer e.close()
	report := &driftReport{Environment: conf.Name, Hosts: []hostDrift{}, Resources: []difference{}}
	for _, h := range e.hosts {
		report.Hosts = append(report.Hosts, hostDrift{Host: h.Name, Role: h.Role, Differences: []difference{}})
	}
	if conf.Terraform != nil {
		if err := report.refresh(ctx, p, conf, say); err != nil {
			return nil, err
		}
	}
	report.look(ctx, e)
	if conf.Ansible != nil {
		if err := report.check(ctx, e); err != nil {
			return nil, err
		}
	}
	for i := range report.Hosts {
		report.Hosts[i].judge()
	}
	return report, context.Cause(ctx)
}

func (r *driftReport) host(name core.HostName) *hostDrift {
	i := slices.IndexFunc(r.Hosts, func(h hostDrift) bool { return h.Host == name })
	if i < 0 {
		return nil
	}
	return &r.Hosts[i]
}

func (h *hostDrift) add(d difference) { h.Differences = append(h.Differences, d) }

// judge gives a host that could be looked at its status, and says of one that Terraform misses that it is gone.
func (h *hostDrift) judge() {
	switch {
	case h.Status == unreachable && h.lost:
		h.Status = gone
	case h.Status != "":
	case len(h.Differences) > 0:
		h.Status = drifted
	default:
		h.Status = asApplied
	}
}

// refresh asks Terraform.
func (r *driftReport) refresh(ctx context.Context, p *core.Pipeline, conf core.Environment, say func(string)) error {
	w, err := workspace(ctx, p, conf, say)
	if err != nil {
		return err
	}
	plan, err := w.Drift(ctx)
	if err != nil {
		return err
	}
	for _, c := range plan.Drift {
		all := []difference{}
		for _, at := range c.Attributes {
			all = append(all, difference{Layer: "terraform", What: c.Address, Detail: fmt.Sprintf("%s: %s → %s", at.Name, at.Before, at.After)})
		}
		if c.Action == terraform.Destroy {
			all = []difference{{Layer: "terraform", What: c.Address, Detail: "it is gone"}}
		}
		if h := r.host(c.Host); h != nil {
			h.Differences = append(h.Differences, all...)
			h.lost = h.lost || c.Action == terraform.Destroy
		} else {
			r.Resources = append(r.Resources, all...)
		}
	}
	return nil
}

// patience is how long a host may take to say what is installed on it.
const patience = 20 * time.Second

// look asks every host what is no longer as a stage has installed it; so it learns which hosts answer.
func (r *driftReport) look(ctx context.Context, e *environment) {
	ctx, cancel := context.WithTimeoutCause(ctx, patience, fmt.Errorf("no answer within %s", patience))
	defer cancel()
	var wg sync.WaitGroup
	for i := range e.hosts {
		h, found := e.hosts[i], &r.Hosts[i]
		wg.Go(func() {
			// A key that is not pinned would be pinned by the first contact.
			_, err := e.ssh.HostKey(h)
			var altered []string
			if err == nil {
				altered, err = e.ansible.Altered(ctx, h)
			}
			if err != nil {
				found.Status, found.Reason = unreachable, err.Error()
				if errors.As(err, new(*ssh.ExitError)) {
					found.Status = unchecked
				}
			}
			for _, line := range altered {
				found.add(difference{Layer: "installed", What: line})
			}
		})
	}
	wg.Wait()
}

// check runs the environment's playbook in check mode on the hosts that answer.
func (r *driftReport) check(ctx context.Context, e *environment) error {
	run := ansible.Run{Playbook: e.conf.Ansible.Playbook}
	r.Pending = e.ansible.Pending(run)
	run.Check = true
	for _, h := range r.Hosts {
		if h.Status == "" {
			run.Hosts = append(run.Hosts, h.Host)
		}
	}
	if len(run.Hosts) == 0 {
		return nil
	}
	_, err := e.ansible.Run(ctx, run, func(t core.TaskResult) {
		if h := r.host(t.Host); h != nil && t.Status == "changed" {
			h.add(difference{Layer: "ansible", What: t.Task, Detail: t.Message, Path: t.Path})
		}
	})
	failed, ok := errors.AsType[*ansible.Error](err)
	if !ok || len(failed.Failed) == 0 {
		return err
	}
	for _, t := range failed.Failed {
		if h := r.host(t.Host); h != nil {
			h.Status, h.Reason = unchecked, fmt.Sprintf("task %q: %s (%s)", t.Task, t.Message, t.Path)
			if t.Status == "unreachable" {
				h.Status, h.Reason = unreachable, t.Message
			}
		}
	}
	return nil
}

// gate looks for drift before a run changes anything, when the manifest asks for it, and ends the run when the
// manifest says so; a forced run goes on and brings back what was applied. The caller holds the environment's lock.
func gate(ctx context.Context, p *core.Pipeline, conf core.Environment, force bool, emit func(core.Event)) error {
	if conf.Terraform == nil || conf.Terraform.Review.Drift == "" {
		return nil
	}
	say := func(line string) { emit(core.Event{Kind: core.KindLog, Summary: line}) }
	if _, err := readHosts(environmentDir(p, conf.Name)); errors.Is(err, os.ErrNotExist) {
		say("drift: not looked for, since there are no hosts yet")
		return nil
	}
	report, err := findDrift(ctx, p, conf, say)
	if err != nil {
		return fmt.Errorf("look for drift: %w", err)
	}
	if report.Pending != "" {
		say("drift: what differs from the playbook is left to this run: " + report.Pending)
		report.settle()
	}
	for _, h := range report.drifted() {
		if h.Reason != "" {
			emit(core.Event{Kind: core.KindLog, Severity: core.Warning, Host: h.Host, Summary: fmt.Sprintf("drift: %s: %s", h.Status, h.Reason)})
		}
		for _, d := range h.Differences {
			emit(core.Event{Kind: core.KindLog, Severity: core.Warning, Host: h.Host, Summary: "drift: " + d.String()})
		}
	}
	for _, d := range report.Resources {
		emit(core.Event{Kind: core.KindLog, Severity: core.Warning, Summary: "drift: " + d.String()})
	}
	say(report.String())
	if conf.Terraform.Review.Drift == core.StopAtDrift && !report.empty() && !force {
		return fmt.Errorf("%s; see troop drift --env %s, and bring back what was applied with troop run --env %[2]s --force", report, conf.Name)
	}
	return nil
}

// settle leaves out what may be a change of the configuration that is yet to be made.
func (r *driftReport) settle() {
	for i := range r.Hosts {
		h := &r.Hosts[i]
		h.Differences = slices.DeleteFunc(h.Differences, func(d difference) bool { return d.Layer == "ansible" })
		if len(h.Differences) == 0 && h.Status == drifted {
			h.Status = asApplied
		}
	}
}
