package process

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Facts describe a process for the protection rules. They are read again before each step.
type Facts struct {
	Ident
	PPID       int           `json:"ppid"`
	Comm       string        `json:"comm"` // chosen by the process itself
	Executable string        `json:"executable"`
	RootOwned  bool          `json:"root_owned,omitempty"` // the executable belongs to root, so no other user installed it
	UIDs       []uint32      `json:"uids"`                 // real, effective, saved, file system
	GIDs       []uint32      `json:"gids"`                 // the four, then the supplementary ones
	User       string        `json:"user"`                 // of the effective uid; filled in by the caller; empty: unknown
	Cgroup     string        `json:"cgroup"`
	Unit       string        `json:"unit"` // of systemd; empty: none
	Nice       int           `json:"nice"`
	State      string        `json:"state"` // one letter, as in ps
	Kernel     bool          `json:"kernel,omitempty"`
	Busy       bool          `json:"busy,omitempty"`   // it, or children that have ended, used much lately; filled in by the caller
	Leader     bool          `json:"leader,omitempty"` // of a session with a terminal
	Age        time.Duration `json:"-"`                // filled in by the caller; 0: unknown
	Chain      []Ancestor    `json:"chain"`            // parent first, PID 1 last
}

// Ancestor is one process in the chain of parents.
type Ancestor struct {
	PID        int    `json:"pid"`
	Comm       string `json:"comm"`
	Executable string `json:"executable,omitempty"`
	RootOwned  bool   `json:"root_owned,omitempty"`
}

func (a Ancestor) String() string {
	if a.Executable != "" {
		return fmt.Sprintf("%d %s", a.PID, a.Executable)
	}
	return fmt.Sprintf("%d [%s]", a.PID, a.Comm)
}

// HasAncestor reports whether pid is a parent of the process, near or far.
func (f Facts) HasAncestor(pid int) bool {
	return slices.ContainsFunc(f.Chain, func(a Ancestor) bool { return a.PID == pid })
}

// EffectiveUID returns the effective uid of the process, or -1 if unknown.
func (f Facts) EffectiveUID() int64 {
	if len(f.UIDs) < 2 {
		return -1
	}
	return int64(f.UIDs[1])
}

// Read reads the facts of process id in proc (/proc). ErrGone means that it has ended; any other error, that some facts
// cannot be read: the others are returned, for messages.
func Read(proc string, id Ident) (Facts, error) {
	dir := folder(proc, id.PID)
	st, err := ReadStat(dir)
	if err != nil {
		return Facts{}, err
	}
	if st.Start != id.Start {
		return Facts{}, ErrGone
	}
	f := Facts{
		Ident: id, PPID: int(st.PPID), Comm: st.Comm, Nice: int(st.Nice), State: string(st.State), Kernel: st.Kernel(),
		Leader: st.TTY != 0 && st.Session == uint64(id.PID),
	}
	if err := f.readStatus(filepath.Join(dir, "status")); err != nil {
		return f, err
	}
	if !f.Kernel {
		if f.Executable, f.RootOwned, err = executable(dir); err != nil {
			return f, err
		}
	}
	if f.Cgroup, err = Cgroup(dir); err != nil {
		return f, asGone(err)
	}
	f.Unit = UnitOf(f.Cgroup)
	f.Chain, err = Chain(proc, f.PPID)
	return f, err
}

// executable returns the path of the program of a process, and whether it belongs to root.
func executable(dir string) (exe string, rootOwned bool, err error) {
	exe, rootOwned, err = readExe(dir)
	if Gone(err) { // the main thread has ended; the process lives while any thread does
		for _, thread := range threads(dir) {
			if exe, rootOwned, err = readExe(thread); err == nil {
				break
			}
		}
	}
	return exe, rootOwned, asGone(err)
}

func readExe(dir string) (string, bool, error) {
	link := filepath.Join(dir, "exe")
	exe, err := os.Readlink(link)
	if err != nil {
		return "", false, err
	}
	var st unix.Stat_t
	if err := unix.Stat(link, &st); err != nil {
		return "", false, fmt.Errorf("stat %s: %w", link, err)
	}
	// The kernel appends a mark if the file was replaced on disk.
	return strings.TrimSuffix(exe, " (deleted)"), st.Uid == 0, nil
}

// threads returns the folders of a process's threads.
func threads(dir string) []string {
	list, err := filepath.Glob(filepath.Join(dir, "task", "[0-9]*"))
	if err != nil {
		return nil
	}
	return list
}

func (f *Facts) readStatus(file string) error {
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

// maxChain limits the chain of parents, which may change while it is read. It is long, since a process that cannot be
// examined is never touched.
const maxChain = 4096

// Chain lists the process pid and its parents, up to PID 1.
func Chain(proc string, pid int) ([]Ancestor, error) {
	var chain []Ancestor
	for pid > 0 {
		if len(chain) == maxChain {
			return nil, fmt.Errorf("follow parents: more than %d", maxChain)
		}
		dir := folder(proc, pid)
		st, err := ReadStat(dir)
		if err != nil {
			return nil, fmt.Errorf("follow parents to %d: %w", pid, hideGone(err))
		}
		a := Ancestor{PID: pid, Comm: st.Comm}
		if !st.Kernel() && pid != 1 {
			if a.Executable, a.RootOwned, err = executable(dir); err != nil {
				return nil, fmt.Errorf("follow parents to %d: %w", pid, hideGone(err))
			}
		}
		chain = append(chain, a)
		pid = int(st.PPID)
	}
	return chain, nil
}

// hideGone hides ErrGone: the end of a parent does not mean the end of the process.
func hideGone(err error) error {
	if errors.Is(err, ErrGone) {
		return errors.New("it has just ended")
	}
	return err
}

// Cgroup is the path by which systemd knows the process of a folder /proc/PID.
func Cgroup(dir string) (string, error) {
	paths, err := Cgroups(filepath.Join(dir, "cgroup"))
	if err != nil {
		return "", err
	}
	if p := paths["name=systemd"]; p != "" {
		return p, nil
	}
	return paths[""], nil
}

// Cgroups reads a file /proc/PID/cgroup: path by controller; "" is the unified hierarchy.
func Cgroups(file string) (map[string]string, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	paths := map[string]string{}
	for line := range strings.Lines(string(b)) {
		parts := strings.SplitN(strings.TrimRight(line, "\n"), ":", 3)
		if len(parts) != 3 {
			return nil, fmt.Errorf("parse %s: line %q", file, line)
		}
		for c := range strings.SplitSeq(parts[1], ",") {
			paths[c] = parts[2]
		}
	}
	if len(paths) == 0 {
		return nil, fmt.Errorf("parse %s: it is empty", file)
	}
	return paths, nil
}

// UnitOf returns the systemd unit that a cgroup path belongs to: the first part that is not a slice.
func UnitOf(cgroup string) string {
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
