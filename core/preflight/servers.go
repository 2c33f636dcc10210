package preflight

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/seed-b96de936/troop/core"
)

// Servers checks hosts that exist already: what they have, and what is in the way. It changes nothing on them.
type Servers struct {
	Hosts    []core.Host
	AppPort  int // the first of the first service's four ports
	Services int // how many there are; 0 is 1
	// Accessories are on the host of the role data.
	Accessories []core.Accessory
	Runtime     string // version of Node on the machine that builds; empty: unknown
	// Reach logs in to a host, and Root runs a command there as root. Both return a *Problem.
	Reach func(ctx context.Context, h core.Host) error
	Root  func(ctx context.Context, h core.Host, command string) ([]byte, error)
}

// The least versions that the roles work with. Rules of Redis that tell reading from writing are new in 7.0.
var (
	leastRedis   = version{7, 0}
	leastHAProxy = version{2, 4}
	leastPython  = version{3, 8}
	// Whoever owns a database owns its schema public from version 15 on.
	leastPostgres = version{15, 0}
	leastSystemd  = version{249, 0}
	supported     = map[string]version{"debian": {12, 0}, "ubuntu": {24, 4}}
)

const (
	leastDisk = 1 << 20 // KiB
	mostClock = 5 * time.Second
)

// inspect says on lines of "NAME VALUE" what a host has. It runs as root, and writes nothing.
const inspect = `export LC_ALL=C
echo "time $(date +%s.%N)"
. /etc/os-release; echo "system $ID $VERSION_ID"
echo "systemd $([ -d /run/systemd/system ] && systemctl --version | sed -n '1s/^systemd \([0-9]*\).*/\1/p')"
echo "python $(/usr/bin/python3 -c 'import platform; print(platform.python_version())' 2>/dev/null)"
echo "apt $(/usr/bin/python3 -c 'import apt; print(1)' 2>/dev/null)"
for d in / /var /opt; do [ -d $d ] && echo "disk $d $(df -Pk $d | awk 'NR==2 {print $4, $6}')"; done
for p in redis-server haproxy nodejs postgresql; do
	echo "installed $p $(dpkg-query -W -f='${db:Status-Abbrev}${Version}' $p 2>/dev/null | sed -n 's/^ii *//p')"
	echo "candidate $p $(apt-cache policy $p 2>/dev/null | sed -n 's/^  Candidate: //p')"
done
[ -d /etc/troop ] && echo "ours 1"
command -v ss >/dev/null || { echo "noss 1"; exit 0; }
ss -Hltnp | while read -r _ _ _ at _ who; do
	pid=$(echo "$who" | sed -n 's/.*pid=\([0-9]*\).*/\1/p')
	unit=$(sed -n 's,.*/\([^/]*\.\(service\|scope\|socket\)\).*,\1,p' /proc/${pid:-0}/cgroup 2>/dev/null | head -n 1)
	echo "port ${at##*:} $(echo "$who" | sed -n 's/.*(("\([^"]*\)".*/\1/p') $unit $(readlink /proc/${pid:-0}/cwd 2>/dev/null)"
done`

// Check looks at all hosts at once and calls before and after around each check, in the order of the hosts.
func (s Servers) Check(ctx context.Context, before func(name string), after func(core.Check)) error {
	looks := make([]func() facts, len(s.Hosts))
	for i, h := range s.Hosts {
		looks[i] = sync.OnceValue(func() facts { return s.look(ctx, h) })
		go looks[i]()
	}
	for i, h := range s.Hosts {
		if err := Run(ctx, s.steps(h, looks[i]), before, after); err != nil {
			return err
		}
	}
	return nil
}

// facts are what inspect has found on one host.
type facts struct {
	ssh, sudo error
	values    map[string][]string // of lines, without their names
	ahead     time.Duration       // of the host's clock
}

func (s Servers) look(ctx context.Context, h core.Host) facts {
	f := facts{values: map[string][]string{}}
	if f.ssh = s.Reach(ctx, h); f.ssh != nil {
		return f
	}
	var out []byte
	start := time.Now()
	if out, f.sudo = s.Root(ctx, h, inspect); f.sudo != nil {
		return f
	}
	took := time.Since(start)
	for line := range strings.Lines(string(out)) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		f.values[name] = append(f.values[name], value)
	}
	seconds, err := strconv.ParseFloat(f.one("time"), 64)
	if err != nil {
		seconds = float64(start.Unix())
	}
	// The host says its time at some moment of the exchange.
	there := time.Unix(0, int64(seconds*float64(time.Second)))
	switch {
	case there.Before(start):
		f.ahead = there.Sub(start)
	case there.After(start.Add(took)):
		f.ahead = there.Sub(start.Add(took))
	}
	return f
}

// one is the value of a line that there is once.
func (f facts) one(name string) string { return strings.Join(f.values[name], " ") }

// of is the value of a line of name that begins with a word.
func (f facts) of(name, word string) string {
	for _, v := range f.values[name] {
		if rest, ok := strings.CutPrefix(v, word+" "); ok {
			return rest
		}
	}
	return ""
}

func (s Servers) steps(h core.Host, look func() facts) []Step {
	step := func(what string, gate bool, judge func(f facts) (string, error)) Step {
		return Step{Name: string(h.Name) + " " + what, Gate: gate, Look: func(context.Context) (string, error) { return judge(look()) }}
	}
	steps := []Step{
		step("ssh", true, func(f facts) (string, error) { return fmt.Sprintf("%s@%s:%d", h.User, h.Address, h.Port), f.ssh }),
		step("sudo", true, func(f facts) (string, error) { return "runs commands as root", f.sudo }),
		step("system", false, system),
		step("python", false, python),
		step("disk", false, disk),
		step("clock", false, clock),
		step("ports", false, func(f facts) (string, error) { return s.ports(h, f) }),
	}
	if h.Has("router") {
		steps = append(steps,
			step("redis", false, func(f facts) (string, error) { return packaged(f, "redis-server", leastRedis) }),
			step("haproxy", false, func(f facts) (string, error) { return packaged(f, "haproxy", leastHAProxy) }))
	}
	if h.Has("data") && slices.ContainsFunc(s.Accessories, func(c core.Accessory) bool { return c.Type == "postgres" }) {
		steps = append(steps, step("postgres", false, func(f facts) (string, error) { return packaged(f, "postgresql", leastPostgres) }))
	}
	if h.Has("production") || h.Has("canary") {
		steps = append(steps, step("node", false, s.node))
	}
	return steps
}

func system(f facts) (string, error) {
	id, number, _ := strings.Cut(f.one("system"), " ")
	found := id + " " + number
	least, ok := supported[id]
	if !ok || versionOf(number).less(least) {
		return "", &Problem{Text: found + " is not supported", Remedy: "the roles are made for Debian 12, Ubuntu 24.04, and newer"}
	}
	if v := versionOf(f.one("systemd")); v.less(leastSystemd) {
		return "", &Problem{Text: "systemd does not run it", Remedy: "services are units of systemd: boot the host with it"}
	}
	return found + ", systemd " + f.one("systemd"), nil
}

func python(f facts) (string, error) {
	found := f.one("python")
	switch {
	case found == "":
		return "", &Problem{Text: "there is no /usr/bin/python3, which Ansible needs", Remedy: "apt-get install python3 python3-apt"}
	case versionOf(found).less(leastPython):
		return "", &Problem{Text: "Python " + found + " is too old for Ansible", Remedy: "it needs 3.8 or newer"}
	case f.one("apt") == "":
		return "", &Problem{Text: "Python " + found + " has no module apt, with which Ansible installs packages", Remedy: "apt-get install python3-apt"}
	}
	return found, nil
}

func disk(f facts) (string, error) {
	var found []string
	for _, d := range f.values["disk"] {
		fields := strings.Fields(d) // folder, KiB, mount point
		if len(fields) < 3 || fields[0] != "/" && fields[2] == "/" {
			continue
		}
		free, err := strconv.Atoi(fields[1])
		if err != nil {
			continue
		}
		text := fmt.Sprintf("%.1f GiB free on %s", float64(free)/(1<<20), fields[2])
		if free < leastDisk {
			return "", &Problem{Text: text, Remedy: "packages and releases need 1 GiB"}
		}
		found = append(found, text)
	}
	return strings.Join(found, ", "), nil
}

func clock(f facts) (string, error) {
	if f.ahead.Abs() > mostClock {
		side := "ahead of"
		if f.ahead < 0 {
			side = "behind"
		}
		return "", &Problem{
			Text:   fmt.Sprintf("its clock is %s %s this machine's", f.ahead.Abs().Round(time.Second), side),
			Remedy: "set both by NTP: timedatectl set-ntp true",
		}
	}
	return fmt.Sprintf("differs by %s", f.ahead.Abs().Round(time.Millisecond)), nil
}

// need are the ports that a host must have free, with what they are for.
func (s Servers) need(h core.Host) map[string]string {
	ports := map[string]string{}
	if h.Has("router") {
		ports["80"], ports["443"], ports["6379"] = "HTTP", "HTTPS", "Redis"
	}
	if h.Has("data") {
		for _, c := range s.Accessories {
			ports[strconv.Itoa(c.Port)] = c.Type
		}
	}
	for n := range max(1, s.Services) {
		for i, pool := range []string{"production", "canary"} {
			for slot := range 2 {
				if h.Has(pool) {
					ports[strconv.Itoa(s.AppPort+4*n+2*i+slot)] = "a service"
				}
			}
		}
	}
	return ports
}

// ours are the units that troop configures and that listen on ports of their own.
var ours = regexp.MustCompile(`^(haproxy|redis-server|redis-app|troop-data-redis@.*|postgresql@[0-9]+-troop)\.service$`)

func (s Servers) ports(h core.Host, f facts) (string, error) {
	if f.one("noss") != "" {
		return "", Skip("the program ss is missing: apt-get install iproute2")
	}
	need := s.need(h)
	var taken, others []string
	units := map[string]bool{}
	for _, line := range f.values["port"] {
		fields := strings.SplitN(line+"   ", " ", 4)
		port, program, unit, folder := fields[0], fields[1], fields[2], strings.TrimSpace(fields[3])
		if f.one("ours") != "" && (ours.MatchString(unit) || strings.HasPrefix(folder, "/opt/")) {
			continue
		}
		holder := fmt.Sprintf("%s by %s", port, cmp.Or(program, "an unknown program"))
		if need[port] == "" {
			others = append(others, holder)
		} else if !slices.Contains(taken, holder+", needed for "+need[port]) {
			taken = append(taken, holder+", needed for "+need[port])
			if unit != "" {
				units[unit] = true
			}
		}
	}
	slices.Sort(others)
	if len(taken) > 0 {
		slices.Sort(taken)
		remedy := "have it listen on another port"
		if len(units) > 0 {
			remedy += ", or end it: systemctl disable --now " + strings.Join(slices.Sorted(maps.Keys(units)), " ")
		}
		return "", &Problem{Text: "in use: " + strings.Join(taken, "; "), Remedy: remedy}
	}
	found := strings.Join(slices.Sorted(maps.Keys(need)), ", ") + " free"
	if len(need) == 0 {
		found = "none needed"
	}
	if others = slices.Compact(others); len(others) > 0 {
		found += "; others: " + strings.Join(others, ", ")
	}
	return found, nil
}

// packaged judges a package that is installed, or else the one that would be.
func packaged(f facts, name string, least version) (string, error) {
	found, will := f.of("installed", name), f.of("candidate", name)
	text := found
	if found == "" {
		if will == "" || will == "(none)" {
			return "", &Problem{Text: "not installed, and apt knows no package " + name, Remedy: "apt-get update"}
		}
		found, text = will, will+" will be installed"
	}
	if versionOf(found).less(least) {
		return "", &Problem{Text: text + " is too old", Remedy: fmt.Sprintf("it must be %d.%d or newer: apt-get install %s from the archive of Debian 12, Ubuntu 24.04 or newer", least.major, least.minor, name)}
	}
	return text, nil
}

// node compares the runtime with the one that builds. A release may bring its own, so that a difference is no failure.
func (s Servers) node(f facts) (string, error) {
	text, err := packaged(f, "nodejs", version{})
	if err != nil {
		return "", Skip(err.Error() + "; a release of Node would need it")
	}
	there := versionOf(strings.TrimSuffix(text, " will be installed"))
	if here := versionOf(s.Runtime); s.Runtime != "" && here.major != there.major {
		text += fmt.Sprintf("; this machine builds with %s, another major version", strings.TrimPrefix(s.Runtime, "v"))
	}
	return text, nil
}

// version is the part of a version that is compared.
type version struct{ major, minor int }

func (v version) less(w version) bool {
	return v.major < w.major || v.major == w.major && v.minor < w.minor
}

var versionPattern = regexp.MustCompile(`^(?:\d+:)?v?(\d+)(?:\.(\d+))?`)

// versionOf reads a version such as 5:7.0.15-1~deb12u5; what is none is 0.0.
func versionOf(s string) version {
	m := versionPattern.FindStringSubmatch(s)
	if m == nil {
		return version{}
	}
	major, _ := strconv.Atoi(m[1])
	minor, _ := strconv.Atoi(m[2])
	return version{major, minor}
}
