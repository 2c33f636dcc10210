// Package protect decides which processes the doctor never touches. If a rule cannot be evaluated, the process is
// protected. The doctor's agent runs it; the doctor plugin and its packages ladder and record import it.
package protect

import (
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/seed-b96de936/troop/plugins/doctor/process"
)

// Self identifies the agent's own process.
type Self struct {
	PID       int
	Ancestors []int  // its parents, up to PID 1
	Unit      string // its unit of systemd; empty: it was started by hand
}

// FindSelf looks up the calling process below proc (/proc).
func FindSelf(proc string) (Self, error) {
	dir := filepath.Join(proc, "self")
	st, err := process.ReadStat(dir)
	if err != nil {
		return Self{}, err
	}
	chain, err := process.Chain(proc, int(st.PPID))
	if err != nil {
		return Self{}, err
	}
	cgroup, err := process.Cgroup(dir)
	if err != nil {
		return Self{}, err
	}
	me := Self{PID: os.Getpid()}
	// An agent that was started by hand is in the unit of a login session, which is not its own.
	if unit := process.UnitOf(cgroup); strings.HasPrefix(unit, "troop-agent@") {
		me.Unit = unit
	}
	for _, a := range chain {
		me.Ancestors = append(me.Ancestors, a.PID)
	}
	return me, nil
}

// Extra is the protection configured in the manifest, in addition to the built-in rules.
type Extra struct {
	Users       []string
	Units       []string // * matches any text
	Executables []string // absolute; * stands for any text within a folder's name
}

// Judge returns why the manifest protects the process, or nil. user returns the name of a uid.
func (x Extra) Judge(f process.Facts, user func(uid uint32) string) *Spared {
	for _, uid := range f.UIDs {
		if name := user(uid); name != "" && slices.Contains(x.Users, name) {
			return &Spared{RuleConfigured, fmt.Sprintf("the manifest protects user %s", name)}
		}
	}
	for _, pattern := range x.Units {
		if like(pattern, f.Unit) {
			return &Spared{RuleConfigured, fmt.Sprintf("the manifest protects unit %s", f.Unit)}
		}
	}
	for _, pattern := range x.Executables {
		if ok, err := filepath.Match(pattern, f.Executable); ok || err != nil {
			return &Spared{RuleConfigured, fmt.Sprintf("the manifest protects %s", f.Executable)}
		}
	}
	return nil
}

// Guard applies the rules. The built-in ones cannot be switched off.
type Guard struct {
	Accounts func() (*Accounts, error)
	Self     Self
	Extra    Extra
}

// Rule is the reason why a process is not touched.
type Rule string

// The rules, in the order in which they are evaluated.
const (
	RuleUnknown    Rule = "cannot be judged"
	RuleKernel     Rule = "kernel"
	RuleInit       Rule = "init"
	RuleRoot       Rule = "root"
	RuleSelf       Rule = "self"
	RuleLogin      Rule = "login"
	RuleUnit       Rule = "protected unit"
	RuleAdmin      Rule = "administrator"
	RuleConfigured Rule = "configured"
	RuleSystem     Rule = "system user" // last: the only rule that a restart of a named unit may pass
)

// Spared says why a process is not touched: the rule, and the reason as text.
type Spared struct {
	Rule   Rule
	Reason string
}

// loginPrograms hold login sessions, which end with them. The name alone is no proof: the program must also belong to root
// and be in a system folder.
var loginPrograms = []string{
	"sshd", "sshd-session", "sshd-auth", "login", "agetty", "getty", "systemd", "systemd-executor", "systemd-logind",
	"gdm3", "gdm", "lightdm", "sddm", "tmux", "screen", "mosh-server",
}

// shells are programs that a login starts, with the same conditions.
var shells = []string{"sh", "bash", "rbash", "dash", "ash", "busybox", "zsh", "zsh5", "fish", "ksh", "ksh93", "mksh", "tcsh", "csh"}

// systemFolders are those in which only root installs programs.
var systemFolders = []string{"/usr/", "/bin/", "/sbin/", "/lib/", "/lib64/"}

// protectedUnits keep a host running. ssh.service is not one of them: on hosts without session scopes, everything that
// people start is in it. sshd itself is recognised by its executable.
var protectedUnits = []string{"init.scope", "systemd-*.service", "dbus.service", "dbus-broker.service", "troop-agent@*.service", "polkit.service"}

// Judge returns why the process must not be touched, or nil.
func (g *Guard) Judge(f process.Facts) *Spared {
	no := func(r Rule, format string, args ...any) *Spared {
		return &Spared{Rule: r, Reason: fmt.Sprintf(format, args...)}
	}
	switch {
	case len(f.UIDs) != 4 || len(f.GIDs) < 4:
		return no(RuleUnknown, "its user and groups are not known")
	case f.Kernel || f.PID == 2 || f.PPID == 2:
		return no(RuleKernel, "it is a kernel thread")
	case f.PID <= 1:
		return no(RuleInit, "it is PID 1")
	case slices.Contains(f.UIDs, 0):
		return no(RuleRoot, "it runs as root")
	case f.PID == g.Self.PID || slices.Contains(g.Self.Ancestors, f.PID) || f.HasAncestor(g.Self.PID):
		return no(RuleSelf, "it belongs to the doctor")
	case g.Self.Unit != "" && f.Unit == g.Self.Unit:
		return no(RuleSelf, "it is in the doctor's unit %s", f.Unit)
	case f.Executable == "":
		return no(RuleUnknown, "its executable is not known")
	}
	if s := g.session(f); s != nil {
		return s
	}
	for _, pattern := range protectedUnits {
		if like(pattern, f.Unit) {
			return no(RuleUnit, "its unit %s is protected", f.Unit)
		}
	}
	a, err := g.Accounts()
	if err != nil {
		return no(RuleUnknown, "users and groups cannot be read: %s", err)
	}
	if s := judgeUser(a, f); s != nil && s.Rule != RuleSystem {
		return s
	}
	if s := g.Extra.Judge(f, a.Name); s != nil {
		return s
	}
	return judgeUser(a, f)
}

// session protects login sessions: the programs that hold them, and the shells that they start on a terminal. A shell
// is protected while it waits, for input or for a command. While it runs itself, or runs one command after another that use
// much together, it is a process like any other. So is a program that replaced the shell.
func (g *Guard) session(f process.Facts) *Spared {
	if isSystem(loginPrograms, f.Executable, f.RootOwned) {
		return &Spared{RuleLogin, "it holds login sessions"}
	}
	if !f.Leader || f.State == "R" || f.Busy || !isSystem(shells, f.Executable, f.RootOwned) || len(f.Chain) == 0 {
		return nil
	}
	if parent := f.Chain[0]; isSystem(loginPrograms, parent.Executable, parent.RootOwned) {
		return &Spared{RuleLogin, "it is a login shell"}
	}
	return nil
}

// isSystem reports whether an executable is one of programs, installed by the system.
func isSystem(programs []string, exe string, rootOwned bool) bool {
	inFolder := slices.ContainsFunc(systemFolders, func(dir string) bool { return strings.HasPrefix(exe, dir) })
	return rootOwned && inFolder && slices.Contains(programs, path.Base(exe))
}

// judgeUser judges all users and groups that a process has or can switch back to.
func judgeUser(a *Accounts, f process.Facts) *Spared {
	for _, uid := range f.UIDs {
		if uid <= a.systemMax || systemUID(uid) {
			continue
		}
		name, ok := a.names[uid]
		if !ok {
			return &Spared{RuleUnknown, fmt.Sprintf("its user %d is not in the host's passwd file", uid)}
		}
		if a.admins[name] {
			return &Spared{RuleAdmin, fmt.Sprintf("its user %s is an administrator", name)}
		}
		if a.grants.users[name] || a.grants.uids[uid] {
			return &Spared{RuleAdmin, fmt.Sprintf("its user %s is an administrator: a rule of sudo or polkit names it", name)}
		}
		for _, gid := range a.primary[uid] {
			if a.adminGIDs[gid] {
				return &Spared{RuleAdmin, fmt.Sprintf("its user %s is an administrator by primary group", name)}
			}
		}
		switch {
		case a.grants.all != "":
			return &Spared{RuleAdmin, fmt.Sprintf("%s gives rights to every user", a.grants.all)}
		case a.grants.unknown != nil:
			return &Spared{RuleUnknown, fmt.Sprintf("it is not known who is an administrator: %s", a.grants.unknown)}
		}
	}
	for _, gid := range f.GIDs {
		if a.adminGIDs[gid] {
			return &Spared{RuleAdmin, fmt.Sprintf("it is in the administrators' group %d", gid)}
		}
	}
	for _, uid := range f.UIDs {
		if uid <= a.systemMax || systemUID(uid) {
			name := a.names[uid]
			if name == "" {
				name = fmt.Sprint(uid)
			}
			return &Spared{RuleSystem, fmt.Sprintf("its user %s is a system user", name)}
		}
	}
	return nil
}

// systemUID reports whether a uid above the system range belongs to no person: nobody, and systemd's DynamicUser=.
func systemUID(uid uint32) bool {
	return uid == 65534 || uid == 65535 || uid == 1<<32-1 || uid >= 61184 && uid <= 65519
}

// like reports whether a unit's name matches a pattern in which one * matches any text.
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
