package main

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"

	"github.com/seed-b96de936/troop/plugins/sdk"

	"github.com/seed-b96de936/troop/plugins/deploy/state"
	"github.com/seed-b96de936/troop/plugins/deploy/traffic"
	"github.com/seed-b96de936/troop/plugins/deploy/verdict"
)

type config struct {
	Artifact     string      `hcl:"artifact" doc:"Digest of the archive to release: the output of a build stage."`
	Irreversible bool        `hcl:"irreversible,optional" doc:"No earlier release can run after this one, for example because it changed the data. Nothing goes back then: an abort or a failed verdict leaves every host as it is and closes the canary, and a rollback is refused."`
	Service      service     `hcl:"service,block" doc:"What runs on the application hosts."`
	Canary       canary      `hcl:"canary,block" doc:"How a release is judged before it is promoted."`
	Production   *production `hcl:"production,block" doc:"How production is updated."`
}

type service struct {
	Name        string            `hcl:"name,optional" doc:"Name of the unit, of the folder under /opt and of the logs; the stage's name by default."`
	Command     []string          `hcl:"command" doc:"Program and arguments, started in the folder of the release. It listens on the port in PORT."`
	Health      string            `hcl:"health" default:"\"/healthz\"" doc:"Path that answers 200 when the release can serve. Must equal app_health in the environment's ansible variables (/healthz by default), which the router checks."`
	Environment map[string]string `hcl:"environment,optional" sensitive:"true" doc:"Environment variables, beyond PORT, REDIS_URL, OFREP_ENDPOINT, LOG_DIR, RELEASE and VERSION."`
	User        string            `hcl:"user,optional" doc:"System user of the service; the service's name by default."`
}

type canary struct {
	Weights       map[string]int `hcl:"weights" default:"{ production = 2, canary = 1 }" doc:"Shares of the traffic, as whole numbers."`
	Watch         sdk.Duration   `hcl:"watch" default:"\"30s\"" doc:"How long the canary is watched before the verdict; with steps, in each step."`
	Steps         []int          `hcl:"steps,optional" doc:"Shares of the traffic in per cent, each above the one before, that the canary gets one after the other while it is watched, such as [1, 5, 33]. The weights hold without steps, and after the deploy."`
	Hold          bool           `hcl:"hold,optional" doc:"Hold a release that passed on the canary until somebody says troop deploy promote."`
	Windows       []string       `hcl:"windows,optional" doc:"When a release may go on to production by itself, such as \"Mon-Fri 09:00-16:00 Europe/Berlin\" (without a time zone: UTC). Outside of them it is held. By default always."`
	MinRequests   int64          `hcl:"min_requests" default:"50" doc:"Requests that the canary must answer for a verdict."`
	NoTraffic     string         `hcl:"no_traffic" doc:"What to do when the canary got too few requests: promote, hold or abort."`
	FailOn        []string       `hcl:"fail_on" default:"[\"5xx\", \"unanswered\"]" doc:"What is a failure: statuses such as 404, classes such as 5xx, and unanswered. Turns that the canary could not take always are."`
	MaxErrorRate  float64        `hcl:"max_error_rate" default:"0.02" doc:"How far the share of failed requests may exceed production's, from 0 to 1."`
	LatencyFactor float64        `hcl:"latency_factor" default:"1.15" doc:"Limit of the canary's times, as a multiple of production's: to the first and to the last byte, at the median and the 95th and 99th percentile."`
	Alerts        []string       `hcl:"alerts" default:"[\"host\", \"process\", \"release\"]" doc:"Prefixes of the alert kinds of a canary host that close the canary: those that say something of the release. Others, such as storage, journal or provider, are somebody else's trouble."`
	LatencySlack  sdk.Duration   `hcl:"latency_slack" default:"\"5ms\"" doc:"Difference to production's times that never fails the canary."`
	WarmUp        *sdk.Duration  `hcl:"warm_up" doc:"How long the canary's times do not count, since a program that just started is slower; a sixth of watch by default. Failures count from the beginning."`
}

type production struct {
	Drain sdk.Duration `hcl:"drain" default:"\"30s\"" doc:"How long the old slot may finish its requests."`
	Guard sdk.Duration `hcl:"guard" default:"\"0s\"" doc:"How long the deploy goes on watching a release that it has promoted. If more of its requests fail than of production's before, by more than canary.max_error_rate, it goes back by itself; the former release runs on until then."`
}

const defaultDrain = 30 * time.Second

func (c *config) drain() time.Duration {
	if c.Production == nil {
		return defaultDrain
	}
	return c.Production.Drain.Std()
}

// steps are the weights while the canary is watched, one after the other.
func (c *config) steps() []state.Weights {
	if len(c.Canary.Steps) == 0 {
		return []state.Weights{c.weights()}
	}
	var all []state.Weights
	for _, share := range c.Canary.Steps {
		all = append(all, state.Weights{Production: 100 - share, Canary: share})
	}
	return all
}

// warmUp is how long the canary's times do not count.
func (c *canary) warmUp() time.Duration {
	if c.WarmUp == nil {
		return c.Watch.Std() / 6
	}
	return c.WarmUp.Std()
}

// notIdle says why a canary with too few requests for a verdict is not one of an idle service; empty: it is.
func (c *canary) notIdle(v card) string {
	switch {
	case v.Production >= c.MinRequests:
		return fmt.Sprintf("production was given %d", v.Production)
	case 2*v.Failed > v.Canary:
		return fmt.Sprintf("it did not serve %d of them", v.Failed)
	}
	return ""
}

// guard is how long a promoted release is watched.
func (c *config) guard() time.Duration {
	if c.Production == nil {
		return 0
	}
	return c.Production.Guard.Std()
}

func (c *config) weights() state.Weights {
	return state.Weights{Production: c.Canary.Weights["production"], Canary: c.Canary.Weights["canary"]}
}

func (c *config) limits() verdict.Limits {
	return verdict.Limits{
		MinRequests:   c.Canary.MinRequests,
		MaxErrorRate:  c.Canary.MaxErrorRate,
		LatencyFactor: c.Canary.LatencyFactor,
		LatencySlack:  c.Canary.LatencySlack.Std(),
	}
}

// release describes an archive and how the manifest runs it.
func (s *service) release(name, artifact string) state.Release {
	r := state.Release{Artifact: artifact, Service: name, User: orElse(s.User, name), Command: s.Command, Health: s.Health}
	r.ID = r.Identity(s.Environment)
	return r
}

// What to do after an inconclusive verdict.
const (
	noTrafficPromote = "promote"
	noTrafficHold    = "hold"
	noTrafficAbort   = "abort"
)

var (
	unixName     = regexp.MustCompile(`^[a-z][a-z0-9-]{0,30}$`)
	variableName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)
)

// check validates the configuration. Values that are not known yet are zero and pass.
func check(c *config) error {
	var errs []error
	bad := func(path, format string, args ...any) { errs = append(errs, sdk.BadAttr(path, format, args...)) }

	for path, name := range map[string]string{"service.name": c.Service.Name, "service.user": c.Service.User} {
		if name != "" && !unixName.MatchString(name) {
			bad(path, "want a-z, 0-9 and -, at most 31 characters, beginning with a letter; got %q", name)
		}
	}
	if c.Service.User == "root" {
		bad("service.user", "a release does not run as root; name another user")
	}
	if c.Service.Command != nil && (len(c.Service.Command) == 0 || c.Service.Command[0] == "") {
		bad("service.command", "name a program, such as [\"node\", \"start.js\"]")
	}
	if h := c.Service.Health; h != "" && (!strings.HasPrefix(h, "/") || strings.ContainsAny(h, " \t\r\n")) {
		bad("service.health", "want a path such as /healthz, got %q", h)
	}
	for name := range c.Service.Environment {
		if !variableName.MatchString(name) {
			bad("service.environment", "%q is not a name of an environment variable", name)
		}
	}
	if c.Canary.Weights != nil {
		if err := checkWeights(c.Canary.Weights); err != nil {
			bad("canary.weights", "%v", err)
		}
	}
	switch c.Canary.NoTraffic {
	case "", noTrafficPromote, noTrafficHold, noTrafficAbort:
	default:
		bad("canary.no_traffic", "want promote, hold or abort, got %q", c.Canary.NoTraffic)
	}
	for i, share := range c.Canary.Steps {
		if share < 1 || share > 99 || i > 0 && share <= c.Canary.Steps[i-1] {
			bad("canary.steps", "want per cents from 1 to 99, each above the one before, got %v", c.Canary.Steps)
			break
		}
	}
	for _, w := range c.Canary.Windows {
		if _, err := parseWindow(w); err != nil {
			bad("canary.windows", "%v", err)
		}
	}
	if _, err := traffic.ParseCriteria(c.Canary.FailOn); err != nil {
		bad("canary.fail_on", "%v", err)
	}
	if w, watch := c.Canary.WarmUp, c.Canary.Watch.Std(); w != nil && watch != 0 && w.Std() >= watch {
		bad("canary.warm_up", "want less than watch, which is %s, got %s", watch, w.Std())
	}
	if c.Canary.MinRequests < 0 {
		bad("canary.min_requests", "want 0 or more, got %d", c.Canary.MinRequests)
	}
	if r := c.Canary.MaxErrorRate; r < 0 || r > 1 {
		bad("canary.max_error_rate", "want a share from 0 to 1, got %g", r)
	}
	if f := c.Canary.LatencyFactor; f != 0 && f < 1 {
		bad("canary.latency_factor", "want 1 or more, got %g", f)
	}
	return errors.Join(errs...)
}

func checkWeights(w map[string]int) error {
	for pool := range w {
		if pool != state.PoolProduction && pool != state.PoolCanary {
			return fmt.Errorf("the pools are production and canary, got %q", pool)
		}
	}
	return state.Weights{Production: w[state.PoolProduction], Canary: w[state.PoolCanary]}.Check()
}
