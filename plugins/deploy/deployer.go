package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/seed-b96de936/troop/plugins/sdk"
)

// deployer moves an environment from one desired state to the next. Every step leaves a state that can serve, so
// that a deploy may be killed anywhere: the next one reads the desired state and goes on from there.
type deployer struct {
	c    *config
	job  *sdk.Job
	name string // of the service
	id   string // identity of the agent that this plugin would install

	router     sdk.Host
	production []string
	canary     []string

	want    desired
	version int64 // of want in the shared state
}

// newDeployer reads the hosts and the desired state.
func newDeployer(ctx context.Context, c *config, job *sdk.Job) (*deployer, error) {
	_, name, _ := strings.Cut(string(job.Info.Stage), ".")
	if c.Service.Name != "" {
		name = c.Service.Name
	}
	if !unixName.MatchString(name) {
		return nil, sdk.BadAttr("service.name", "the stage's name %q is no name for a unit; name the service", name)
	}
	id, err := identity(c)
	if err != nil {
		return nil, err
	}
	d := &deployer{c: c, job: job, name: name, id: id}
	hosts, err := job.Hosts(ctx)
	if err != nil {
		return nil, err
	}
	for _, h := range hosts {
		switch h.Role {
		case poolProduction:
			d.production = append(d.production, string(h.Name))
		case poolCanary:
			d.canary = append(d.canary, string(h.Name))
		case roleRouter:
			if d.router.Name != "" {
				return nil, sdk.Failf("the environment has the routers %s and %s; a deploy needs exactly one", d.router.Name, h.Name)
			}
			d.router = h
		}
	}
	slices.Sort(d.production)
	slices.Sort(d.canary)
	if d.router.Name == "" || len(d.production) == 0 {
		return nil, sdk.Failf("the environment needs a host of the role router and one of the role production")
	}
	return d, d.read(ctx)
}

// read takes over the desired state and fits it to the hosts that exist.
func (d *deployer) read(ctx context.Context) error {
	e, err := d.state(ctx, keyDesired)
	if err != nil {
		return err
	}
	d.version = e.Version
	d.want = desired{Phase: phaseRest}
	if len(e.Value) > 0 {
		if err := json.Unmarshal(e.Value, &d.want); err != nil {
			return fmt.Errorf("read desired state: %w", err)
		}
	}
	if d.want.Service != "" && d.want.Service != d.name {
		return sdk.Failf("the router of this environment already serves %s; give %s an environment of its own", d.want.Service, d.name)
	}
	d.want.Service = d.name
	if d.want.Releases == nil {
		d.want.Releases = map[string]release{}
	}
	hosts := map[string]placement{}
	for pool, names := range map[string][]string{poolProduction: d.production, poolCanary: d.canary} {
		for _, n := range names {
			p := d.want.Hosts[n]
			p.Pool = pool
			hosts[n] = p
		}
	}
	d.want.Hosts = hosts
	return nil
}

// write makes want the desired state.
func (d *deployer) write(ctx context.Context) error {
	return d.patiently(ctx, func() error {
		e, err := d.job.SetState(ctx, keyDesired, encode(d.want))
		if err == nil {
			d.version = e.Version
		}
		return err
	})
}

// state reads one value of the shared state.
func (d *deployer) state(ctx context.Context, key string) (e sdk.Entry, err error) {
	err = d.patiently(ctx, func() error {
		e, err = d.job.State(ctx, key)
		return err
	})
	return e, err
}

// patience is how long the shared state may be out of reach before a deploy gives up. The router keeps what stands.
const patience = 30 * time.Second

// patiently repeats f while it fails.
func (d *deployer) patiently(ctx context.Context, f func() error) error {
	began := time.Now()
	for {
		err := f()
		if err == nil || ctx.Err() != nil || time.Since(began) > patience {
			return err
		}
		d.job.Warnf("%v; trying again", err)
		sleep(ctx, time.Second)
	}
}

// readActual returns how the router stands.
func (d *deployer) readActual(ctx context.Context) (actual, error) {
	var a actual
	return a, d.readInto(ctx, keyActual, &a)
}

// readTraffic returns what the router counted.
func (d *deployer) readTraffic(ctx context.Context) (traffic, error) {
	var t traffic
	return t, d.readInto(ctx, keyTraffic, &t)
}

func (d *deployer) readInto(ctx context.Context, key string, v any) error {
	e, err := d.state(ctx, key)
	if err != nil || len(e.Value) == 0 {
		return err
	}
	if err := json.Unmarshal(e.Value, v); err != nil {
		return fmt.Errorf("read state %s: %w", key, err)
	}
	return nil
}

const (
	lookTime  = 50 * time.Millisecond // between two looks at the shared state
	agentTime = 20 * time.Second      // for the agent to appear, or a slot to be found healthy
	freshTime = 10 * time.Second      // an older report is none; hosts' clocks may differ by less
)

// ensureAgent installs the agent unless the very same one reports from the router.
func (d *deployer) ensureAgent(ctx context.Context) error {
	t, err := d.readTraffic(ctx)
	if err != nil {
		return err
	}
	if t.Agent == d.id && time.Since(t.Time).Abs() < freshTime {
		return nil
	}
	d.job.Logf("putting the agent on %s", d.router.Name)
	if err := d.job.InstallAgent(ctx, d.router.Name); err != nil {
		return err
	}
	_, err = d.freshTraffic(ctx)
	return err
}

// freshTraffic returns a count that the router made after this call. Reports are told apart by the router's clock.
func (d *deployer) freshTraffic(ctx context.Context) (traffic, error) {
	before, err := d.readTraffic(ctx)
	if err != nil {
		return traffic{}, err
	}
	for began := time.Now(); time.Since(began) < agentTime; {
		now, err := d.readTraffic(ctx)
		if err != nil {
			return traffic{}, err
		}
		if now.Time.After(before.Time) {
			return now, nil
		}
		if sleep(ctx, lookTime); ctx.Err() != nil {
			return traffic{}, context.Cause(ctx)
		}
	}
	return traffic{}, fmt.Errorf("the agent on %s does not report; see: journalctl -u 'troop-agent@*' on that host", d.router.Name)
}

// settle waits until the router does what is desired.
func (d *deployer) settle(ctx context.Context) error {
	if err := d.write(ctx); err != nil {
		return err
	}
	began := time.Now()
	for {
		a, err := d.readActual(ctx)
		if err != nil {
			return err
		}
		if a.Desired >= d.version && a.Settled {
			return nil
		}
		if wait := agentTime + d.c.drain(); time.Since(began) > wait {
			if a.Desired < d.version {
				return fmt.Errorf("the agent on %s did not answer within %s", d.router.Name, wait)
			}
			return fmt.Errorf("the router did not settle within %s: %s", wait, orElse(a.Problem, "requests are still in flight"))
		}
		if sleep(ctx, lookTime); ctx.Err() != nil {
			return context.Cause(ctx)
		}
	}
}

func orElse(s, other string) string {
	if s == "" {
		return other
	}
	return s
}

// serves reports whether a host serves a release and is healthy.
func (d *deployer) serves(a actual, host, id string) bool {
	p, h := d.want.Hosts[host], a.Hosts[host]
	return id != "" && p.Release == id && h.Slot == p.Slot && h.Up
}

// lacking returns those hosts that do not serve a release.
func (d *deployer) lacking(ctx context.Context, hosts []string, id string) ([]string, error) {
	a, err := d.readActual(ctx)
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(slices.Clone(hosts), func(h string) bool { return d.serves(a, h, id) }), nil
}

// install fills the idle slots of hosts with a release, all at once, and starts them there. Nothing that serves is
// touched.
func (d *deployer) install(ctx context.Context, hosts []string, r release) error {
	vars := map[string]any{
		"release_step": "install", "release_service": r.Service, "release_id": r.ID, "release_commit": r.Commit,
		"release_command": r.Command, "release_health": r.Health, "release_user": r.User,
		"release_slots": d.slots(hosts, placement.idle),
	}
	// What the manifest says now is this release's only when the identity says so. Otherwise the hosts have it whole
	// from the time when it was made.
	if r.identity(d.c.Service.Environment) == r.ID {
		a, err := d.job.Artifact(ctx, sdk.Digest(r.Artifact))
		if err != nil {
			return err
		}
		vars["release_archive"] = a.Path
		environment := map[string]string{} // Ansible takes no null for a dictionary
		maps.Copy(environment, d.c.Service.Environment)
		vars["release_environment"] = environment
	}
	d.job.Logf("release %s goes into the idle slot of %s", r, strings.Join(hosts, ", "))
	results, err := d.job.Playbook(ctx, sdk.PlaybookRun{Name: "release.yml", Hosts: sdk.HostNames(hosts...), Vars: vars})
	if err != nil && ctx.Err() == nil {
		return d.explain(results, err)
	}
	return err
}

// explain makes one sentence of a failed installation: for each host what its last failed task said first. What a
// release said itself goes to the log.
func (d *deployer) explain(results []sdk.TaskResult, err error) error {
	failed := map[string]string{}
	for _, r := range results {
		if r.Status == "failed" || r.Status == "unreachable" {
			failed[string(r.Host)] = r.Message
		}
	}
	if len(failed) == 0 {
		return err
	}
	var reasons []string
	for _, host := range slices.Sorted(maps.Keys(failed)) {
		reason, rest, _ := strings.Cut(failed[host], "\n")
		reasons = append(reasons, host+": "+strings.TrimSpace(reason))
		for line := range strings.Lines(rest) {
			d.job.Warnf("%s: %s", host, line)
		}
	}
	return errors.New(strings.Join(reasons, "; "))
}

func (d *deployer) slots(hosts []string, slot func(placement) string) map[string]string {
	m := map[string]string{}
	for _, h := range hosts {
		m[h] = slot(d.want.Hosts[h])
	}
	return m
}

// turn makes the idle slots of hosts, filled with a release before, those that serve.
func (d *deployer) turn(ctx context.Context, hosts []string, r release) error {
	for _, h := range hosts {
		p := d.want.Hosts[h]
		d.want.Hosts[h] = placement{Pool: p.Pool, Slot: p.idle(), Release: r.ID}
	}
	if err := d.settle(ctx); err != nil {
		return fmt.Errorf("turn %s to release %s: %w", strings.Join(hosts, ", "), r, err)
	}
	d.job.Logf("%s: now on release %s", strings.Join(hosts, ", "), r)
	return nil
}

// bring makes hosts serve a release: canary hosts at once, production one by one.
func (d *deployer) bring(ctx context.Context, hosts []string, r release) error {
	if len(hosts) == 0 {
		return nil
	}
	if err := d.install(ctx, hosts, r); err != nil {
		return err
	}
	canary, rest := d.split(hosts)
	if len(canary) > 0 {
		if err := d.turn(ctx, canary, r); err != nil {
			return err
		}
	}
	for i, h := range rest {
		d.job.Progress(float64(i), float64(len(rest)), h)
		if err := d.turn(ctx, []string{h}, r); err != nil {
			return err
		}
	}
	return nil
}

func (d *deployer) split(hosts []string) (canary, production []string) {
	for _, h := range hosts {
		if d.want.Hosts[h].Pool == poolCanary {
			canary = append(canary, h)
		} else {
			production = append(production, h)
		}
	}
	return canary, production
}

func (d *deployer) all() []string { return slices.Concat(d.canary, d.production) }

// tidy stops the slots that serve no more and removes old releases. What fails here harms nobody.
func (d *deployer) tidy(ctx context.Context) {
	protect := slices.Sorted(maps.Keys(d.want.Releases))
	r := d.want.Releases[d.want.Good]
	_, err := d.job.Playbook(ctx, sdk.PlaybookRun{Name: "release.yml", Hosts: sdk.HostNames(d.all()...), Vars: map[string]any{
		"release_step": "settle", "release_service": d.name, "release_user": orElse(r.User, d.name),
		"release_slots":   d.slots(d.all(), func(p placement) string { return p.Slot }),
		"release_protect": protect,
	}})
	if err != nil && ctx.Err() == nil {
		d.job.Warnf("the old slots could not be stopped: %v", err)
	}
}

// rest ends every deploy: both pools serve the good release with the weights w.
func (d *deployer) rest(ctx context.Context, w weights) error {
	d.want.Phase, d.want.Weights = phaseRest, w
	d.want.open(time.Now().UTC())
	d.want.forget()
	return d.settle(ctx)
}

// putBack makes the good release serve everywhere again, and says what it did. Before anything else the canary
// gets no more traffic.
func (d *deployer) putBack(ctx context.Context) (string, error) {
	d.want.Phase, d.want.Open = phaseAborting, false
	if err := d.write(ctx); err != nil {
		return "", err
	}
	good, ok := d.want.Releases[d.want.Good]
	if !ok {
		for h, p := range d.want.Hosts {
			d.want.Hosts[h] = placement{Pool: p.Pool}
		}
		d.want.Phase, d.want.Candidate = phaseRest, ""
		d.want.forget()
		if err := d.settle(ctx); err != nil {
			return "", err
		}
		d.tidy(ctx)
		return "no release was good before, so none serves", nil
	}
	var back []string
	for _, h := range d.all() {
		if d.want.Hosts[h].Release != good.ID {
			back = append(back, h)
		}
	}
	if err := d.bring(ctx, back, good); err != nil {
		return "", err
	}
	d.want.Candidate = ""
	if err := d.rest(ctx, d.c.weights()); err != nil {
		return "", err
	}
	d.tidy(ctx)
	if len(back) == 0 {
		return fmt.Sprintf("nothing had to be put back, release %s serves", good), nil
	}
	return fmt.Sprintf("%s put back to release %s, weights %s", strings.Join(back, ", "), good, d.want.Weights), nil
}
