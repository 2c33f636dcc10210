package main

import (
	"context"
	"maps"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/seed-b96de936/troop/plugins/deploy/state"
	"github.com/seed-b96de936/troop/plugins/sdk"
)

// roleRouter is the role of the host that the agent runs on.
const roleRouter = "router"

// deployer moves an environment from one desired state to the next. After every step the hosts can serve, so a deploy
// may be killed at any point: the next one reads the desired state and continues from there.
type deployer struct {
	c    *config
	job  *sdk.Job
	name string // of the service
	id   string // identity of the agent that this plugin would install

	router     sdk.Host
	production []string
	canary     []string

	want    state.Desired
	version int64 // of want in the shared state

	good     string                     // the good release when this deploy began
	previous map[string]state.Placement // what hosts served before this deploy switched them; it still runs there
	away     map[string]string          // hosts that cannot be reached and are left out, with the reason
	since    int64                      // version of the last order before this deploy
	ordered  atomic.Bool                // an operator ordered an abort
}

// newDeployer reads the hosts and the desired state.
func newDeployer(ctx context.Context, c *config, job *sdk.Job) (*deployer, error) {
	_, name, _ := strings.Cut(string(job.Info.Stage), ".")
	if c.Service.Name != "" {
		name = c.Service.Name
	}
	if !unixName.MatchString(name) {
		return nil, sdk.BadAttr("service.name", "the stage's name %q cannot name a unit; set service.name", name)
	}
	id, err := identity(c)
	if err != nil {
		return nil, err
	}
	d := &deployer{c: c, job: job, name: name, id: id, previous: map[string]state.Placement{}, away: map[string]string{}}
	hosts, err := job.Hosts(ctx)
	if err != nil {
		return nil, err
	}
	for _, h := range hosts {
		if h.Has(state.PoolProduction) {
			d.production = append(d.production, string(h.Name))
		}
		if h.Has(state.PoolCanary) {
			d.canary = append(d.canary, string(h.Name))
		}
		if h.Has(roleRouter) {
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

func (d *deployer) split(hosts []string) (canary, production []string) {
	for _, h := range hosts {
		if d.want.Hosts[h].Pool == state.PoolCanary {
			canary = append(canary, h)
		} else {
			production = append(production, h)
		}
	}
	return canary, production
}

func (d *deployer) all() []string { return slices.Concat(d.canary, d.production) }

// present returns those of the hosts that are not left out.
func (d *deployer) present(hosts []string) []string {
	return slices.DeleteFunc(slices.Clone(hosts), func(h string) bool { return d.away[h] != "" })
}

// everywhere says where a release serves that serves wherever it can.
func (d *deployer) everywhere() string {
	if len(d.away) == 0 {
		return "every host"
	}
	return "every host but " + strings.Join(slices.Sorted(maps.Keys(d.away)), ", ") + ", which cannot be reached"
}

func orElse(s, other string) string {
	if s == "" {
		return other
	}
	return s
}
