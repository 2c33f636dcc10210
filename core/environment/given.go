package environment

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/seed-b96de936/troop/core"
	"github.com/seed-b96de936/troop/core/ansible"
	"github.com/seed-b96de936/troop/core/remote"
	"github.com/seed-b96de936/troop/core/terraform"
	"github.com/seed-b96de936/troop/playbooks"
)

// join joins the hosts of the manifest and those of Terraform.
func (e *Environment) join(given, made []core.Host) ([]core.Host, error) {
	for _, h := range made {
		if slices.ContainsFunc(given, func(g core.Host) bool { return g.Name == h.Name }) {
			return nil, fmt.Errorf("two hosts of environment %s are called %s: one of its module and one of the manifest; give one of them another name", e.conf.Name, h.Name)
		}
	}
	all := slices.Concat(given, made)
	slices.SortFunc(all, func(a, b core.Host) int { return cmp.Compare(a.Name, b.Name) })
	return all, nil
}

// withGiven adds the hosts of the manifest to a plan, which may be nil.
func (e *Environment) withGiven(plan *terraform.Plan) *terraform.Plan {
	if plan == nil || plan.Destroy {
		return plan
	}
	plan.Given = nil
	for _, h := range e.conf.Hosts {
		plan.Given = append(plan.Given, fmt.Sprintf("%s (%s) %s", h.Name, strings.Join(h.InRoles(), ", "), h.Address))
	}
	for _, h := range e.dropped() {
		plan.Given = append(plan.Given, fmt.Sprintf("! %s is not in the manifest any more: troop release-host %[1]s%s", h.Name, e.Arguments()))
	}
	return plan
}

// errGiven says that there is nothing to destroy.
func (e *Environment) errGiven() error {
	return fmt.Errorf("all hosts of environment %s are given, and troop destroys none of them; to take off a host what troop has put there: troop release-host HOST%s",
		e.conf.Name, e.Arguments())
}

// dropped are hosts of the last apply that the manifest gave then and does not give any more.
func (e *Environment) dropped() []core.Host {
	hosts, err := e.Hosts()
	if err != nil {
		return nil
	}
	return slices.DeleteFunc(slices.Clone(hosts), func(h core.Host) bool {
		return h.Given == nil || slices.ContainsFunc(e.conf.Hosts, func(g core.Host) bool { return g.Name == h.Name })
	})
}

// checkGiven refuses to forget a host that still has what troop has put there.
func (e *Environment) checkGiven() error {
	var errs []error
	for _, h := range e.dropped() {
		errs = append(errs, fmt.Errorf("%s is not in the manifest any more, and what troop has put there still is; take it off: troop release-host %[1]s%s", h.Name, e.Arguments()))
	}
	return errors.Join(errs...)
}

// inspect checks given hosts before they are configured for the first time. What is in the way ends the configuration
// before its first task.
func (e *Environment) inspect(ctx context.Context, s *site) error {
	var fresh []core.Host
	for _, h := range s.hosts {
		if h.Given != nil && s.configured[h.Name] != identity(h) && s.away[h.Name] == nil {
			fresh = append(fresh, h)
		}
	}
	var errs []error
	c := checks{environment: e, before: func(string) {}, found: &Preflight{}, after: func(check core.Check) {
		if check.Status == core.Failed {
			errs = append(errs, fmt.Errorf("%s: %s; %s", check.Name, check.Detail, check.Remedy))
		}
	}}
	if err := c.servers(ctx, fresh); err != nil || len(errs) > 0 {
		return errors.Join(append(errs, err)...)
	}
	for _, h := range fresh {
		if err := s.script(ctx, h, "before.sh", h.User); err != nil {
			return err
		}
	}
	return nil
}

// script runs a script of the role base as root.
func (s *site) script(ctx context.Context, h core.Host, name string, args ...string) error {
	text, err := playbooks.FS.ReadFile("roles/base/files/" + name)
	if err != nil {
		return err
	}
	words := []string{"sh", "-s", "--"}
	for _, a := range args {
		words = append(words, remote.Quote(a))
	}
	_, err = s.ssh.RunRoot(ctx, h, strings.Join(words, " "), bytes.NewReader(text))
	return err
}

// installed are the packages that the roles install.
func (e *Environment) installed() []string {
	packages := []string{"haproxy", "redis-server", "redis-tools", "postgresql", "python3-aiosmtpd", "nodejs", "zstd"}
	if a := e.conf.Ansible; a != nil {
		own, _ := a.Variables["app_packages"].([]any)
		for _, p := range own {
			packages = append(packages, fmt.Sprint(p))
		}
	}
	return packages
}

// ReleaseHost takes off a given host what troop has put there, and forgets it. gone: it is only forgotten, since nobody can
// reach it any more. The caller must hold Lock.
func (e *Environment) ReleaseHost(ctx context.Context, name string, gone bool) error {
	h, err := e.Host(name)
	if err != nil {
		return err
	}
	if h.Given == nil {
		return fmt.Errorf("%s was made by Terraform and goes with troop destroy%s; only a host that the manifest gives can be released", name, e.Arguments())
	}
	s, err := e.open()
	if err != nil {
		return err
	}
	if !gone {
		if err := s.ssh.Wait(ctx, []core.Host{h}, e.wait(givenWait), nil); err != nil {
			return fmt.Errorf("%w; if the server is gone for good: troop release-host %s%s --gone", err, name, e.Arguments())
		}
		if err := s.script(ctx, h, "remove.sh", append([]string{h.User}, e.installed()...)...); err != nil {
			return fmt.Errorf("release %s: %w; what is left goes with the same command again", name, err)
		}
	}
	return e.forgetHost(s, h)
}

// forgetHost forgets all about one host.
func (e *Environment) forgetHost(s *site, h core.Host) error {
	rest := slices.DeleteFunc(slices.Clone(s.hosts), func(o core.Host) bool { return o.Name == h.Name })
	if len(rest) == 0 {
		return e.forget()
	}
	configured, err := e.configured(rest)
	if err == nil {
		err = e.writeConfigured(configured)
	}
	return errors.Join(err, s.ssh.Unpin(h), ansible.Forget(e.dir), e.keep(rest))
}

// Meet pins the keys of given hosts that nobody has pinned yet: one that the user's own known_hosts has, or that agree agrees
// to. A host that cannot be asked stays unknown, and what reaches it next says why.
func (e *Environment) Meet(ctx context.Context, agree func(question string) error) error {
	client, err := e.SSH()
	if err != nil {
		return err
	}
	answers := make([]error, len(e.conf.Hosts))
	var wg sync.WaitGroup
	for i, h := range e.conf.Hosts {
		if _, err := client.HostKey(h); err == nil {
			continue
		}
		wg.Go(func() { _, answers[i] = client.Run(ctx, h, "true", nil) })
	}
	wg.Wait()
	for i, h := range e.conf.Hosts {
		unknown, ok := errors.AsType[*remote.UnknownHostError](answers[i])
		if !ok {
			continue
		}
		if err := agree(fmt.Sprintf("%s (%s) shows the host key %s. Is it this server's?", h.Name, h.Address, remote.Fingerprint(unknown.Key))); err != nil {
			return fmt.Errorf("%w: %w", err, unknown)
		}
		if err := e.Trust(h, unknown.Key); err != nil {
			return err
		}
		e.o.Log(fmt.Sprintf("%s: the host key %s is pinned", h.Name, remote.Fingerprint(unknown.Key)))
	}
	return nil
}
