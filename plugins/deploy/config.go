package main

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"

	"github.com/seed-b96de936/troop/plugins/sdk"

	"github.com/seed-b96de936/troop/plugins/deploy/state"
	"github.com/seed-b96de936/troop/plugins/deploy/verdict"
)

type config struct {
	Artifact   string      `hcl:"artifact" doc:"Digest of the archive to release: the output of a build stage."`
	Service    service     `hcl:"service,block" doc:"What runs on the application hosts."`
	Canary     canary      `hcl:"canary,block" doc:"How a release is judged before it is promoted."`
	Production *production `hcl:"production,block" doc:"How production is updated."`
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
	Watch         sdk.Duration   `hcl:"watch" default:"\"30s\"" doc:"How long the canary is watched before the verdict."`
	MinRequests   int64          `hcl:"min_requests" default:"50" doc:"Requests that the canary must answer for a verdict."`
	NoTraffic     string         `hcl:"no_traffic" doc:"What to do when the canary got too few requests: promote, hold or abort."`
	MaxErrorRate  float64        `hcl:"max_error_rate" default:"0.02" doc:"How far the share of failed requests (status 500 and above) may exceed production's, from 0 to 1."`
	LatencyFactor float64        `hcl:"latency_factor" default:"2" doc:"Limit of the canary's 95th percentile of latency, as a multiple of production's."`
	Alerts        []string       `hcl:"alerts,optional" doc:"Prefixes of the alert kinds of a canary host that close the canary, such as host or process; every kind by default."`
	LatencySlack  sdk.Duration   `hcl:"latency_slack" default:"\"250ms\"" doc:"Difference to production's latency that never fails the canary."`
}

type production struct {
	Drain sdk.Duration `hcl:"drain" default:"\"30s\"" doc:"How long the old slot may finish its requests."`
}

const defaultDrain = 30 * time.Second

func (c *config) drain() time.Duration {
	if c.Production == nil {
		return defaultDrain
	}
	return c.Production.Drain.Std()
}

func (c *config) weights() state.Weights {
	return state.Weights{Production: c.Canary.Weights["production"], Canary: c.Canary.Weights["canary"]}
}

func (c *config) limits() verdict.Limits {
	return verdict.Limits{
		MinRequests:   c.Canary.MinRequests,
		MinErrors:     1,
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
