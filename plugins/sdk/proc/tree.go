package proc

import (
	"bytes"
	"crypto/rand"
	"os"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// markName is the environment variable that every process of a tree inherits. Its value is the path of marks
// from the outermost tree to this one.
const markName = "TROOP_TREE"

// newMark returns a mark below this process's own.
func newMark() string { return os.Getenv(markName) + "/" + rand.Text() }

func withMark(env []string, mark string) []string {
	if env == nil {
		env = os.Environ()
	}
	return append(slices.Clip(env), markName+"="+mark)
}

// Mark returns a new mark, and the environment variable that puts it on a command which is not started by Cmd.
func Mark() (mark, env string) {
	mark = newMark()
	return mark, markName + "=" + mark
}

// Tree chooses processes: Root with its descendants and its process group, and whatever carries Mark. Root
// itself may be gone. This process is never chosen, nor those that it descends from.
type Tree struct {
	Root int    // 0: none
	Mark string // "": none
}

// process is a process at one moment. Its start tells it from a later one of the same number.
type process struct {
	pid, ppid, pgid int
	start           string // when, in the kernel's own words
	zombie          bool
}

// members are the processes of the tree at this moment.
func (t Tree) members() []process {
	all := processes()
	in := map[int]bool{}
	for pid, p := range all {
		if t.Root != 0 && (pid == t.Root || p.pgid == t.Root) || t.Mark != "" && marked(pid, t.Mark) {
			in[pid] = true
		}
	}
	addDescendants(all, in)
	for pid := os.Getpid(); pid > 0 && in[pid]; pid = all[pid].ppid {
		delete(in, pid)
	}
	delete(in, os.Getpid())
	var out []process
	for pid := range in {
		out = append(out, all[pid])
	}
	return out
}

func addDescendants(all map[int]process, in map[int]bool) {
	for grew := true; grew; {
		grew = false
		for pid, p := range all {
			if !in[pid] && in[p.ppid] {
				in[pid], grew = true, true
			}
		}
	}
}

func marked(pid int, mark string) bool {
	for v := range bytes.SplitSeq(environ(pid), []byte{0}) {
		if value, ok := bytes.CutPrefix(v, []byte(markName+"=")); ok {
			if rest, ok := bytes.CutPrefix(value, []byte(mark)); ok && (len(rest) == 0 || rest[0] == '/') {
				return true
			}
		}
	}
	return false
}

// End ends a tree: interrupt for every process of it, SIGKILL for those that live on after the grace period.
// Processes that join in the meantime are treated alike. It returns when none is left, or, when some cannot be
// killed, 3 s after the first SIGKILL.
func End(t Tree, interrupt syscall.Signal, grace time.Duration) {
	endAll(t.members, interrupt, grace)
}

func endAll(members func() []process, interrupt syscall.Signal, grace time.Duration) {
	told := map[string]bool{}
	end(members, func(p process) {
		id := strconv.Itoa(p.pid) + " " + p.start
		if !told[id] {
			told[id] = true
			p.signal(interrupt)
		}
	}, grace)
	end(members, func(p process) { p.signal(syscall.SIGKILL) }, 3*time.Second)
}

// end calls each for the living members until there are none or time is up.
func end(members func() []process, each func(process), patience time.Duration) {
	deadline := time.Now().Add(patience)
	for pause := time.Millisecond; ; pause = min(2*pause, 50*time.Millisecond) {
		alive := 0
		for _, p := range members() {
			if p.zombie {
				reap(p)
				continue
			}
			alive++
			each(p)
		}
		if alive == 0 || time.Now().After(deadline) {
			return
		}
		time.Sleep(pause)
	}
}

// owned are children of this process that someone here waits for.
var owned sync.Map

func own(pid int)    { owned.Store(pid, true) }
func disown(pid int) { owned.Delete(pid) }

// reap removes a dead process that was adopted. A child that someone waits for is left to them.
func reap(p process) {
	if _, ok := owned.Load(p.pid); ok || p.ppid != os.Getpid() {
		return
	}
	_, _ = unix.Wait4(p.pid, nil, unix.WNOHANG, nil)
}

// EndAll ends everything that descends from this process, as End does.
func EndAll(interrupt syscall.Signal, grace time.Duration) {
	if !hasChildren() {
		return
	}
	endAll(descendants, interrupt, grace)
}

// descendants are all processes below this one.
func descendants() []process {
	all := processes()
	in := map[int]bool{os.Getpid(): true}
	addDescendants(all, in)
	delete(in, os.Getpid())
	var out []process
	for pid := range in {
		out = append(out, all[pid])
	}
	return out
}

// pollParent is for systems without pidfd.
func pollParent(pid int) {
	for os.Getppid() == pid {
		time.Sleep(200 * time.Millisecond)
	}
}
