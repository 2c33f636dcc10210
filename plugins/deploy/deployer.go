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
	production []state.Seat
	canary     []state.Seat

	service  state.Service
	known    bool          // to the environment
	services []state.Route // that the environment knows

	want    state.Desired
	version int64 // of want in the shared state; 0: there is none

	good     string                         // the good release when this deploy began
	previous map[state.Seat]state.Placement // what seats served before this deploy switched them; it still runs there
	away     map[string]string              // hosts that cannot be reached and are left out, with the reason
	since    int64                          // version of the last order before this deploy
	ordered  atomic.Bool                    // an operator ordered an abort
}

// newDeployer reads the hosts and the desired state of the stage's service.
func newDeployer(ctx context.Context, c *config, job *sdk.Job) (*deployer, error) {
	name, err := serviceName(c, job)
	if err != nil {
		return nil, err
	}
	return newDeployerOf(ctx, c, name, job)
}

// newDeployerOf is newDeployer for a service that may be another one than the stage's.
func newDeployerOf(ctx context.Context, c *config, name string, job *sdk.Job) (*deployer, error) {
	id, err := identity(c)
	if err != nil {
		return nil, err
	}
	d := &deployer{c: c, job: job, name: name, id: id, previous: map[state.Seat]state.Placement{}, away: map[string]string{}}
	hosts, err := job.Hosts(ctx)
	if err != nil {
		return nil, err
	}
	for _, h := range hosts {
		if h.Has(state.PoolProduction) {
			d.production = append(d.production, state.Seat{Host: string(h.Name), Pool: state.PoolProduction})
		}
		if h.Has(state.PoolCanary) {
			d.canary = append(d.canary, state.Seat{Host: string(h.Name), Pool: state.PoolCanary})
		}
		if h.Has(roleRouter) {
			if d.router.Name != "" {
				return nil, sdk.Failf("the environment has the routers %s and %s; a deploy needs exactly one", d.router.Name, h.Name)
			}
			d.router = h
		}
	}
	for _, seats := range [][]state.Seat{d.production, d.canary} {
		slices.SortFunc(seats, func(x, y state.Seat) int { return strings.Compare(x.Host, y.Host) })
	}
	if d.router.Name == "" || len(d.production) == 0 {
		return nil, sdk.Failf("the environment needs a host of the role router and one of the role production")
	}
	return d, d.read(ctx)
}

// serviceName is the service's name: the stage's, if the manifest says no other.
func serviceName(c *config, job *sdk.Job) (string, error) {
	_, name, _ := strings.Cut(string(job.Info.Stage), ".")
	if c.Service.Name != "" {
		name = c.Service.Name
	}
	if !unixName.MatchString(name) {
		return "", sdk.BadAttr("service.name", "the stage's name %q cannot name a unit; set service.name", name)
	}
	return name, nil
}

// split returns the seats of each pool, in their order.
func split(seats []state.Seat) (canary, production []state.Seat) {
	for _, s := range seats {
		if s.Pool == state.PoolCanary {
			canary = append(canary, s)
		} else {
			production = append(production, s)
		}
	}
	return canary, production
}

func (d *deployer) all() []state.Seat { return slices.Concat(d.canary, d.production) }

// present returns those of the seats that are not left out.
func (d *deployer) present(seats []state.Seat) []state.Seat {
	return slices.DeleteFunc(slices.Clone(seats), func(s state.Seat) bool { return d.away[s.Host] != "" })
}

// hosts are those of seats, each once.
func hosts(seats []state.Seat) []sdk.HostName {
	var names []sdk.HostName
	for _, s := range seats {
		if name := sdk.HostName(s.Host); !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return names
}

// list names seats for people: by their hosts, and by their pools where a host has both.
func (d *deployer) list(seats ...state.Seat) string {
	var names []string
	for _, s := range seats {
		name := s.Host
		if slices.Contains(d.canary, state.Seat{Host: s.Host, Pool: state.PoolCanary}) && slices.Contains(d.production, state.Seat{Host: s.Host, Pool: state.PoolProduction}) {
			name += " (" + s.Pool + ")"
		}
		names = append(names, name)
	}
	return strings.Join(names, ", ")
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
