package main

import (
	"errors"
	"fmt"
	"path"
	"regexp"
	"slices"
	"strconv"
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
	TLS          *tls        `hcl:"tls,block" doc:"HTTPS at the router, with HTTP/2. HTTP is redirected to it."`
	Processes    []process   `hcl:"process,block" doc:"A program that runs beside the one that answers requests, as long as its release does."`
	Tasks        []task      `hcl:"task,block" doc:"A program that runs once per release, on one host. If it fails, the deploy ends."`
	Schedules    []schedule  `hcl:"schedule,block" doc:"A program that runs by the calendar, on one host, from the release that serves in production."`
	Canary       canary      `hcl:"canary,block" doc:"How a release is judged before it is promoted."`
	Production   *production `hcl:"production,block" doc:"How production is updated."`
}

type service struct {
	Name        string            `hcl:"name,optional" doc:"Name of the unit, of the folder under /opt and of the logs; the stage's name by default."`
	Command     []string          `hcl:"command" doc:"Program and arguments, started in the folder of the release. It listens on the port in PORT."`
	Environment map[string]string `hcl:"environment,optional" sensitive:"true" doc:"Environment variables, beyond those that every release gets (docs/service.md); they win."`
	Domains     []string          `hcl:"domains,optional" doc:"Names whose requests are the service's, if the environment has several services. One of them may name neither domains nor path: it gets what no other takes."`
	Path        string            `hcl:"path,optional" doc:"Path whose requests are the service's, with all below it, such as /api."`
	User        string            `hcl:"user,optional" doc:"System user of the service; the service's name by default."`
	Runtime     []string          `hcl:"runtime,optional" doc:"Versions of Node (such as 18) or Python (3.11) on which the release runs. Without it, hosts with another version than the build had are refused."`
	Allow       map[string]string `hcl:"allow,optional" doc:"What the sandbox opens, each with the reason: netlink (sockets that list the network interfaces), devices (/dev), debug (system calls of profilers)."`
	Data        []string          `hcl:"data,optional" doc:"Folders of the release that it may write to, such as uploads. They are kept in STATE_DIR and are the same for every release of a host."`
	Limits      *limits           `hcl:"limits,block" doc:"What a release may use of a host."`
	MaxBody     string            `hcl:"max_body,optional" doc:"Size of a request's body that the router lets pass, such as 10M; any by default. With it, requests that do not say their length are refused, too."`
	Timeouts    *timeouts         `hcl:"timeouts,block" doc:"How long the router waits."`
	Health      *health           `hcl:"health,block" doc:"What a healthy release answers. All checks use it: after a start, before a slot gets requests, and the router's from then on."`
}

type limits struct {
	Memory string `hcl:"memory,optional" doc:"Memory, such as 512M. The kernel ends a release that needs more."`
	CPU    int    `hcl:"cpu,optional" doc:"Time of processors, in per cent of one core: 150 is one and a half."`
	Files  int    `hcl:"files,optional" doc:"Files and connections that each process may have open."`
}

type timeouts struct {
	Request sdk.Duration `hcl:"request" default:"\"30s\"" doc:"How long the service may be silent before its answer, and in the middle of it."`
	Idle    sdk.Duration `hcl:"idle" default:"\"30s\"" doc:"How long a client may be silent in the middle of a request or of an answer."`
	Tunnel  sdk.Duration `hcl:"tunnel" default:"\"1h\"" doc:"How long a WebSocket or a stream of server-sent events may be silent."`
}

type health struct {
	Path    string       `hcl:"path" default:"\"/healthz\"" doc:"Path that the checks ask for."`
	Host    string       `hcl:"host" default:"\"localhost\"" doc:"Host that the checks ask for."`
	Status  int          `hcl:"status" default:"200" doc:"Status of a healthy answer. Redirects are not followed."`
	Timeout sdk.Duration `hcl:"timeout" default:"\"3s\"" doc:"How long an answer may take. An address that takes no connection is found within half a second."`
	Grace   sdk.Duration `hcl:"grace" default:"\"20s\"" doc:"How long a release may take to become healthy after its start."`
	Command []string     `hcl:"command,optional" doc:"Instead of HTTP, for a service that gets no requests: program and arguments, started in the folder of the release, which end with 0 when it is healthy."`
	StaysUp sdk.Duration `hcl:"stays_up" default:"\"0s\"" doc:"Instead of HTTP, for a service that gets no requests: how long it must run after its start without ending."`
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

func (s *service) health() state.Health {
	h := s.Health
	if h == nil {
		return state.DefaultHealth
	}
	return state.Health{
		Path: h.Path, Host: h.Host, Status: h.Status, Timeout: h.Timeout.Std(), Grace: h.Grace.Std(),
		Command: h.Command, StaysUp: h.StaysUp.Std(),
	}
}

func (s *service) sandbox() state.Sandbox {
	b := state.Sandbox{Allow: s.Allow, Data: s.Data}
	if s.Limits != nil {
		b.Memory, b.CPU, b.Files = s.Limits.Memory, s.Limits.CPU, s.Limits.Files
	}
	return b
}

// maxBody is in bytes; 0 without a limit.
func (s *service) maxBody() int64 {
	m := memorySize.FindStringSubmatch(s.MaxBody)
	if m == nil {
		return 0
	}
	n, err := strconv.ParseInt(m[1], 10, 64)
	if err != nil {
		return 0 // check has refused it
	}
	return n << (10 * (strings.Index("KMGT", m[2]) + 1) * min(len(m[2]), 1)) //nolint:gosec // not negative
}

// route says which requests are the service's.
func (c *config) route(name string) state.Route {
	return state.Route{Name: name, Domains: c.Service.Domains, Path: strings.TrimSuffix(c.Service.Path, "/")}
}

// release describes an archive and how the manifest runs it.
func (c *config) release(name string) state.Release {
	s := &c.Service
	r := state.Release{Artifact: c.Artifact, Programs: c.programs(), Service: name, User: orElse(s.User, name), Command: s.Command, Health: s.health(), Sandbox: s.sandbox()}
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
	unixName       = regexp.MustCompile(`^[a-z][a-z0-9-]{0,30}$`)
	runtimeVersion = regexp.MustCompile(`^[0-9]+(\.[0-9]+)?$`)
	healthPath     = regexp.MustCompile(`^/[!#-&(-\[\]-~]*$`)
	servicePath    = regexp.MustCompile(`^(/[A-Za-z0-9._~-]+)*/?$`)
	dataFolder     = regexp.MustCompile(`^[A-Za-z0-9._-]+(/[A-Za-z0-9._-]+)*$`)
	memorySize     = regexp.MustCompile(`^([1-9][0-9]{0,5})([KMGT]?)$`)
	signalName     = regexp.MustCompile(`^SIG[A-Z0-9]+$`)
	calendar       = regexp.MustCompile(`^[A-Za-z0-9*:/., ~-]+$`)
	hostName       = regexp.MustCompile(`^[A-Za-z0-9.-]+(:[0-9]+)?$`)
	variableName   = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)
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
	c.Service.checkSandbox(bad)
	c.Service.checkRouter(bad)
	if c.Service.Health != nil {
		c.Service.Health.check(bad)
	}
	for i, v := range c.Service.Runtime {
		if !runtimeVersion.MatchString(v) {
			bad(fmt.Sprintf("service.runtime[%d]", i), "want a major version of Node, such as 18, or a version of Python, such as 3.11, got %q", v)
		}
	}
	for name := range c.Service.Environment {
		if !variableName.MatchString(name) {
			bad("service.environment", "%q is not a name of an environment variable", name)
		}
	}
	c.checkPrograms(bad)
	if c.TLS != nil {
		errs = append(errs, c.TLS.check())
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

// opened are the names of what a sandbox can open; the role release knows what each means.
var opened = []string{"debug", "devices", "netlink"}

func (s *service) checkSandbox(bad func(path, format string, args ...any)) {
	for name, reason := range s.Allow {
		if !slices.Contains(opened, name) {
			bad("service.allow", "want %s, got %q", strings.Join(opened, ", "), name)
		}
		if strings.TrimSpace(reason) == "" || strings.ContainsAny(reason, "\r\n") {
			bad("service.allow", "say in one line why the release needs %s, such as { %s = \"the library X reads the network interfaces\" }", name, name)
		}
	}
	for i, folder := range s.Data {
		if !dataFolder.MatchString(folder) || path.Clean(folder) != folder || folder == "." || strings.HasPrefix(folder, "..") {
			bad(fmt.Sprintf("service.data[%d]", i), "want a folder of the release, such as uploads or public/media, got %q", folder)
		}
	}
	l := s.Limits
	if l == nil {
		return
	}
	if l.Memory != "" && !memorySize.MatchString(l.Memory) {
		bad("service.limits.memory", "want a size such as 512M or 2G, got %q", l.Memory)
	}
	if l.CPU < 0 {
		bad("service.limits.cpu", "want per cent of one core, such as 150, got %d", l.CPU)
	}
	if l.Files < 0 || l.Files > maxFiles {
		bad("service.limits.files", "want 1 to %d, got %d", maxFiles, l.Files)
	}
}

// checkRouter checks what the service asks of the router.
func (s *service) checkRouter(bad func(path, format string, args ...any)) {
	for i, name := range s.Domains {
		if !domainName.MatchString(name) {
			bad(fmt.Sprintf("service.domains[%d]", i), "want a name such as shop.example.com, in small letters, got %q", name)
		}
	}
	if s.Path != "" && !servicePath.MatchString(s.Path) {
		bad("service.path", "want a path such as /api, got %q", s.Path)
	}
	if s.MaxBody != "" && !memorySize.MatchString(s.MaxBody) {
		bad("service.max_body", "want a size such as 512K or 10M, got %q", s.MaxBody)
	}
	if s.Timeouts == nil {
		return
	}
	for name, d := range map[string]sdk.Duration{"request": s.Timeouts.Request, "idle": s.Timeouts.Idle, "tunnel": s.Timeouts.Tunnel} {
		if d != 0 && (d.Std() < time.Second || d.Std() > maxTimeout || d.Std()%time.Millisecond != 0) {
			bad("service.timeouts."+name, "want 1s to %s, got %s", maxTimeout, d.Std())
		}
	}
}

// maxTimeout is a little less than HAProxy can count.
const maxTimeout = 24 * 24 * time.Hour

// maxFiles is the kernel's own limit, fs.nr_open.
const maxFiles = 1 << 20

func (h *health) check(bad func(path, format string, args ...any)) {
	if !healthPath.MatchString(h.Path) && h.Path != "" {
		bad("service.health.path", "want a path such as /healthz, without spaces and quotes, got %q", h.Path)
	}
	if !hostName.MatchString(h.Host) && h.Host != "" {
		bad("service.health.host", "want a name such as shop.example.com, got %q", h.Host)
	}
	if h.Status != 0 && (h.Status < 200 || h.Status > 599) {
		bad("service.health.status", "want a status from 200 to 599, got %d", h.Status)
	}
	if h.Command != nil && (len(h.Command) == 0 || h.Command[0] == "") {
		bad("service.health.command", "name a program, such as [\"node\", \"check.js\"]")
	}
	if h.Command != nil && h.StaysUp != 0 {
		bad("service.health.stays_up", "a release is healthy by its command or by staying up; name one of them")
	}
	for name, d := range map[string]sdk.Duration{"timeout": h.Timeout, "grace": h.Grace, "stays_up": h.StaysUp} {
		if d.Std() < 0 || d.Std()%time.Millisecond != 0 {
			bad("service.health."+name, "want whole milliseconds, got %s", d.Std())
		}
	}
}

func checkWeights(w map[string]int) error {
	for pool := range w {
		if pool != state.PoolProduction && pool != state.PoolCanary {
			return fmt.Errorf("the pools are production and canary, got %q", pool)
		}
	}
	return state.Weights{Production: w[state.PoolProduction], Canary: w[state.PoolCanary]}.Check()
}
