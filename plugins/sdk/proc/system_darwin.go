package proc

import (
	"os"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// zombie is the state of a process that has ended and was not waited for: SZOMB in <sys/proc.h>.
const zombie = 5

func self() (string, error) { return os.Executable() }

// attributes of a process in a group of its own. This kernel ends no process with its parent: without a guard, a
// command outlives a SIGKILL of this process.
func attributes(group bool) *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: group} }

func outliveParent() {}

func redirect(from, to int) { _ = unix.Dup2(to, from) }

// WaitParent returns when the process that started this one is gone, however it ended. The parent's number
// must come from the parent itself: one that ended before the call is then noticed too.
func WaitParent(pid int) { pollParent(pid) }

func processes() map[int]process {
	all := map[int]process{}
	list, _ := unix.SysctlKinfoProcSlice("kern.proc.all")
	for _, k := range list {
		p := read(k)
		all[p.pid] = p
	}
	return all
}

func readProcess(pid int) (process, bool) {
	k, err := unix.SysctlKinfoProc("kern.proc.pid", pid)
	if err != nil {
		return process{}, false
	}
	return read(*k), true
}

func read(k unix.KinfoProc) process {
	start := k.Proc.P_starttime
	return process{
		pid: int(k.Proc.P_pid), ppid: int(k.Eproc.Ppid), pgid: int(k.Eproc.Pgid), zombie: k.Proc.P_stat == zombie,
		start: strconv.FormatInt(start.Sec, 10) + "." + strconv.Itoa(int(start.Usec)),
	}
}

// environ is what a process was started with, after its arguments. The kernel shows that of this user's processes,
// except for programs of the system itself.
func environ(pid int) []byte {
	b, _ := unix.SysctlRaw("kern.procargs2", pid)
	return b
}

// commandLine is the program of a process; the kernel gives its arguments together with its environment.
func commandLine(pid int) []byte {
	k, err := unix.SysctlKinfoProc("kern.proc.pid", pid)
	if err != nil {
		return nil
	}
	return []byte(unix.ByteSliceToString(k.Proc.P_comm[:]))
}

// signal sends a signal to this process: the moment since the look is all that is left to chance.
func (p process) signal(sig syscall.Signal) {
	if now, ok := readProcess(p.pid); ok && now.start == p.start {
		_ = unix.Kill(p.pid, sig)
	}
}

// Adopt does nothing: an orphan belongs to process 1 here. Its mark tells that it is one of a tree.
func Adopt() {}

func hasChildren() bool { return true }
