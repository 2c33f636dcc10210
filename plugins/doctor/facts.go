package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// facts are what the protection rules look at: who a process is, read anew before each step.
type facts struct {
	ident
	PPID       int        `json:"ppid"`
	Comm       string     `json:"comm"`
	Executable string     `json:"executable"`
	UIDs       []uint32   `json:"uids"` // real, effective, saved, file system
	GIDs       []uint32   `json:"gids"` // the four, then the supplementary ones
	User       string     `json:"user"` // of the effective uid; empty: unknown
	Cgroup     string     `json:"cgroup"`
	Unit       string     `json:"unit"` // of systemd; empty: none
	Nice       int        `json:"nice"`
	State      string     `json:"state"` // one letter, as ps has it
	Kernel     bool       `json:"kernel,omitempty"`
	Leader     bool       `json:"leader,omitempty"` // of a session with a terminal
	Chain      []ancestor `json:"chain"`            // parent first, PID 1 last
}

// ancestor is one process in the chain of parents.
type ancestor struct {
	PID        int    `json:"pid"`
	Comm       string `json:"comm"`
	Executable string `json:"executable,omitempty"`
}

func (a ancestor) String() string {
	if a.Executable != "" {
		return fmt.Sprintf("%d %s", a.PID, a.Executable)
	}
	return fmt.Sprintf("%d [%s]", a.PID, a.Comm)
}

var errGone = errors.New("the process has ended")

// maxChain bounds the chain of parents; a longer one cannot be followed while it changes.
const maxChain = 64

// readFacts examines the process id below proc. What cannot be read is an error, errGone when the process has
// ended or its pid belongs to another one.
func readFacts(proc string, id ident) (facts, error) {
	dir := filepath.Join(proc, strconv.Itoa(id.PID))
	st, err := readStat(dir)
	if err != nil {
		return facts{}, err
	}
	if st.start != id.Start {
		return facts{}, errGone
	}
	f := facts{
		ident: id, PPID: int(st.ppid), Comm: st.comm, Nice: int(st.nice), State: string(st.state), Kernel: st.kernel(),
		Leader: st.tty != 0 && st.session == uint64(id.PID),
	}
	if err := f.readStatus(filepath.Join(dir, "status")); err != nil {
		return facts{}, err
	}
	if !f.Kernel {
		if f.Executable, err = executable(dir); err != nil {
			return facts{}, err
		}
	}
	paths, err := readCgroups(filepath.Join(dir, "cgroup"))
	if err != nil {
		return facts{}, asGone(err)
	}
	f.Cgroup = paths["name=systemd"]
	if f.Cgroup == "" {
		f.Cgroup = paths[""]
	}
	f.Unit = unitOf(f.Cgroup)
	if f.Chain, err = readChain(proc, f.PPID); err != nil {
		return facts{}, err
	}
	return f, nil
}

func readStat(dir string) (stat, error) {
	b, err := os.ReadFile(filepath.Join(dir, "stat"))
	if err != nil {
		return stat{}, asGone(err)
	}
	return parseStat(b)
}

// asGone turns the error of a file in /proc that went away with its process into errGone.
func asGone(err error) error {
	if gone(err) {
		return errGone
	}
	return err
}

func executable(dir string) (string, error) {
	exe, err := os.Readlink(filepath.Join(dir, "exe"))
	if err != nil {
		return "", asGone(err)
	}
	// The kernel marks a program that was replaced on disk; it is still that program.
	return strings.TrimSuffix(exe, " (deleted)"), nil
}

func (f *facts) readStatus(file string) error {
	b, err := os.ReadFile(file)
	if err != nil {
		return asGone(err)
	}
	seen := 0
	for line := range strings.Lines(string(b)) {
		name, value, _ := strings.Cut(line, ":")
		switch name {
		case "Uid":
			f.UIDs, err = numbers(value)
			seen |= 1
		case "Gid", "Groups":
			var more []uint32
			more, err = numbers(value)
			f.GIDs = append(f.GIDs, more...)
			if name == "Gid" {
				seen |= 2
			} else {
				seen |= 4
			}
		}
		if err != nil {
			return fmt.Errorf("parse %s: %w", file, err)
		}
	}
	if seen != 7 || len(f.UIDs) != 4 {
		return fmt.Errorf("parse %s: want Uid, Gid and Groups", file)
	}
	return nil
}

// readDemand reads how long the main thread of a process waited for a core and how often it slept.
func readDemand(proc string, id ident) (demand, error) {
	dir := filepath.Join(proc, strconv.Itoa(id.PID))
	sched, err := os.ReadFile(filepath.Join(dir, "schedstat"))
	if err != nil {
		return demand{}, asGone(err)
	}
	status, err := os.ReadFile(filepath.Join(dir, "status"))
	if err != nil {
		return demand{}, asGone(err)
	}
	f := strings.Fields(string(sched)) // ns on a core, ns in the queue, turns
	if len(f) != 3 {
		return demand{}, fmt.Errorf("parse schedstat of process %d: %d fields, want 3", id.PID, len(f))
	}
	wait, err := strconv.ParseInt(f[1], 10, 64)
	if err != nil {
		return demand{}, fmt.Errorf("parse schedstat of process %d: %w", id.PID, err)
	}
	for line := range strings.Lines(string(status)) {
		if v, ok := strings.CutPrefix(line, "voluntary_ctxt_switches:"); ok {
			n, err := strconv.ParseInt(strings.TrimSpace(v), 10, 64)
			return demand{Wait: time.Duration(wait), Sleeps: n}, err
		}
	}
	return demand{}, fmt.Errorf("parse status of process %d: no voluntary_ctxt_switches", id.PID)
}

func numbers(text string) ([]uint32, error) {
	var list []uint32
	for w := range strings.FieldsSeq(text) {
		n, err := strconv.ParseUint(w, 10, 32)
		if err != nil {
			return nil, err
		}
		list = append(list, uint32(n))
	}
	return list, nil
}

func readChain(proc string, pid int) ([]ancestor, error) {
	var chain []ancestor
	for pid > 0 {
		if len(chain) == maxChain {
			return nil, fmt.Errorf("follow parents: more than %d", maxChain)
		}
		dir := filepath.Join(proc, strconv.Itoa(pid))
		st, err := readStat(dir)
		if err != nil {
			return nil, fmt.Errorf("follow parents to %d: %w", pid, unwrapGone(err))
		}
		a := ancestor{PID: pid, Comm: st.comm}
		if !st.kernel() && pid != 1 {
			if a.Executable, err = executable(dir); err != nil {
				return nil, fmt.Errorf("follow parents to %d: %w", pid, unwrapGone(err))
			}
		}
		chain = append(chain, a)
		pid = int(st.ppid)
	}
	return chain, nil
}

// unwrapGone hides errGone: that a parent has ended says nothing of the process itself.
func unwrapGone(err error) error {
	if errors.Is(err, errGone) {
		return errors.New("it has just ended")
	}
	return err
}

// unitOf returns the systemd unit that a cgroup path belongs to: the first part that is no slice.
func unitOf(cgroup string) string {
	for part := range strings.SplitSeq(strings.Trim(cgroup, "/"), "/") {
		if part == ".." || strings.HasSuffix(part, ".slice") {
			continue
		}
		for _, suffix := range []string{".service", ".scope", ".socket", ".mount", ".swap"} {
			if strings.HasSuffix(part, suffix) {
				return strings.TrimPrefix(part, "_") // systemd's escape for names that the kernel reserves
			}
		}
		return ""
	}
	return ""
}

func (f facts) hasAncestor(pid int) bool {
	return slices.ContainsFunc(f.Chain, func(a ancestor) bool { return a.PID == pid })
}
