package main

import (
	"fmt"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// self is the agent's own place on the host.
type self struct {
	pid       int
	ancestors []int
	unit      string
}

// guard decides what is never touched. Its built-in rules cannot be configured away.
type guard struct {
	accounts func() (*accounts, error)
	self     self
	extra    protectExtra
}

// rule is why a process is left alone.
type rule string

// The rules, in the order in which they are looked at.
const (
	ruleUnknown    rule = "cannot be judged"
	ruleKernel     rule = "kernel"
	ruleInit       rule = "init"
	ruleRoot       rule = "root"
	ruleSelf       rule = "self"
	ruleLogin      rule = "login"
	ruleUnit       rule = "protected unit"
	ruleAdmin      rule = "administrator"
	ruleConfigured rule = "configured"
	ruleSystem     rule = "system user" // last: only a restart of a named unit goes past it
)

// spared is a protection: the rule and, for people, what it found.
type spared struct {
	Rule   rule
	Reason string
}

// loginPrograms hold sessions: without them people are thrown off the host.
var loginPrograms = []string{
	"sshd", "sshd-session", "sshd-auth", "login", "agetty", "getty", "systemd", "systemd-logind", "(sd-pam)",
	"gdm3", "gdm", "lightdm", "sddm", "tmux", "screen", "mosh-server",
}

// protectedUnits keep a host running. ssh.service is not one: where PAM makes no session scopes, everything that
// people start is in it; sshd itself is found by its executable.
var protectedUnits = []string{"init.scope", "systemd-*.service", "dbus.service", "dbus-broker.service", "troop-agent@*.service", "polkit.service"}

// Judge returns why the process must not be touched, nil when it may be.
func (g *guard) Judge(f facts) *spared {
	no := func(r rule, format string, args ...any) *spared {
		return &spared{Rule: r, Reason: fmt.Sprintf(format, args...)}
	}
	switch {
	case len(f.UIDs) != 4 || len(f.GIDs) < 4:
		return no(ruleUnknown, "its user and groups are not known")
	case f.Kernel || f.PID == 2 || f.PPID == 2:
		return no(ruleKernel, "it is a kernel thread")
	case f.PID <= 1:
		return no(ruleInit, "it is PID 1")
	case slices.Contains(f.UIDs, 0):
		return no(ruleRoot, "it runs as root")
	case f.PID == g.self.pid || slices.Contains(g.self.ancestors, f.PID) || f.hasAncestor(g.self.pid):
		return no(ruleSelf, "it belongs to the doctor")
	case g.self.unit != "" && f.Unit == g.self.unit:
		return no(ruleSelf, "it is in the doctor's unit %s", f.Unit)
	case f.Executable == "":
		return no(ruleUnknown, "its executable is not known")
	}
	if s := g.session(f); s != nil {
		return s
	}
	for _, pattern := range protectedUnits {
		if like(pattern, f.Unit) {
			return no(ruleUnit, "its unit %s is protected", f.Unit)
		}
	}
	a, err := g.accounts()
	if err != nil {
		return no(ruleUnknown, "users and groups cannot be read: %s", err)
	}
	if s := judgeUser(a, f); s != nil && s.Rule != ruleSystem {
		return s
	}
	if s := g.configured(a, f); s != nil {
		return s
	}
	return judgeUser(a, f)
}

// session protects what holds a login: the programs, and the shell on a terminal that one of them started.
func (g *guard) session(f facts) *spared {
	if isLogin(f.Executable) {
		return &spared{ruleLogin, "it holds login sessions"}
	}
	if f.Leader && len(f.Chain) > 0 && isLogin(f.Chain[0].Executable) {
		return &spared{ruleLogin, "it is a login shell"}
	}
	return nil
}

func isLogin(exe string) bool { return slices.Contains(loginPrograms, path.Base(exe)) }

// judgeUser looks at all users and groups that a process has or can take back.
func judgeUser(a *accounts, f facts) *spared {
	for _, uid := range f.UIDs {
		if uid <= a.systemMax || systemUID(uid) {
			continue
		}
		name, ok := a.names[uid]
		if !ok {
			return &spared{ruleUnknown, fmt.Sprintf("its user %d is not in the host's passwd file", uid)}
		}
		if a.admins[name] {
			return &spared{ruleAdmin, fmt.Sprintf("its user %s is an administrator", name)}
		}
		for _, gid := range a.primary[uid] {
			if a.adminGIDs[gid] {
				return &spared{ruleAdmin, fmt.Sprintf("its user %s is an administrator by primary group", name)}
			}
		}
	}
	for _, gid := range f.GIDs {
		if a.adminGIDs[gid] {
			return &spared{ruleAdmin, fmt.Sprintf("it has the administrators' group %d", gid)}
		}
	}
	for _, uid := range f.UIDs {
		if uid <= a.systemMax || systemUID(uid) {
			name := a.names[uid]
			if name == "" {
				name = fmt.Sprint(uid)
			}
			return &spared{ruleSystem, fmt.Sprintf("its user %s is a system user", name)}
		}
	}
	return nil
}

// systemUID reports whether systemd or the kernel gives the uid to no person: nobody, and DynamicUser=.
func systemUID(uid uint32) bool {
	return uid == 65534 || uid == 65535 || uid == 1<<32-1 || uid >= 61184 && uid <= 65519
}

func (g *guard) configured(a *accounts, f facts) *spared {
	for _, uid := range f.UIDs {
		if name := a.names[uid]; name != "" && slices.Contains(g.extra.Users, name) {
			return &spared{ruleConfigured, fmt.Sprintf("the manifest protects user %s", name)}
		}
	}
	for _, pattern := range g.extra.Units {
		if like(pattern, f.Unit) {
			return &spared{ruleConfigured, fmt.Sprintf("the manifest protects unit %s", f.Unit)}
		}
	}
	for _, pattern := range g.extra.Executables {
		if ok, err := filepath.Match(pattern, f.Executable); ok || err != nil {
			return &spared{ruleConfigured, fmt.Sprintf("the manifest protects %s", f.Executable)}
		}
	}
	return nil
}

// like reports whether a unit's name has the pattern, in which * stands for any text.
func like(pattern, name string) bool {
	if name == "" {
		return false
	}
	head, tail, star := strings.Cut(pattern, "*")
	if !star {
		return pattern == name
	}
	return strings.HasPrefix(name, head) && strings.HasSuffix(name, tail) && len(name) >= len(head)+len(tail)
}
