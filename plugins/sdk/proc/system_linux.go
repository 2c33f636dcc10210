package proc

import (
	"bytes"
	"errors"
	"os"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// self is this program, also when its file was replaced since it started.
func self() (string, error) { return "/proc/self/exe", nil }

// attributes of a process in a group of its own that the kernel ends with the thread that started it.
func attributes(group bool) *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: group, Pdeathsig: syscall.SIGKILL}
}

// outliveParent takes back what whoever started this process may have asked for: its death with one of their threads.
func outliveParent() { _ = unix.Prctl(unix.PR_SET_PDEATHSIG, 0, 0, 0, 0) }

func redirect(from, to int) { _ = unix.Dup3(to, from, 0) }

// WaitParent returns when the process that started this one is gone, however it ended. The parent's number
// must come from the parent itself: one that ended before the call is then noticed too.
func WaitParent(pid int) {
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil || os.Getppid() != pid {
		pollParent(pid)
		return
	}
	defer func() { _ = unix.Close(fd) }()
	for {
		_, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, -1)
		if err == nil {
			return
		}
		if !errors.Is(err, unix.EINTR) {
			pollParent(pid)
			return
		}
	}
}

// readProcess reads /proc/PID/stat. The command's name in it may hold any byte but is the last thing in
// parentheses.
func readProcess(pid int) (process, bool) {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return process{}, false
	}
	i := bytes.LastIndexByte(b, ')')
	f := strings.Fields(string(b[i+1:]))
	if i < 0 || len(f) < 20 {
		return process{}, false
	}
	p := process{pid: pid, start: f[19], zombie: f[0] == "Z" || f[0] == "X"}
	p.ppid, _ = strconv.Atoi(f[1])
	p.pgid, _ = strconv.Atoi(f[2])
	return p, true
}

func processes() map[int]process {
	all := map[int]process{}
	dir, err := os.Open("/proc")
	if err != nil {
		return all
	}
	defer func() { _ = dir.Close() }()
	names, _ := dir.Readdirnames(-1)
	for _, name := range names {
		if pid, err := strconv.Atoi(name); err == nil {
			if p, ok := readProcess(pid); ok {
				all[pid] = p
			}
		}
	}
	return all
}

// environ is what a process was started with, as far as this one may see it.
func environ(pid int) []byte {
	b, _ := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/environ")
	return b
}

// commandLine is the program and the arguments of a process, separated by zero bytes.
func commandLine(pid int) []byte {
	b, _ := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/cmdline")
	return b
}

// signal sends a signal to exactly this process: never to a later one that has its number.
func (p process) signal(sig syscall.Signal) {
	fd, err := unix.PidfdOpen(p.pid, 0)
	if err == nil {
		defer func() { _ = unix.Close(fd) }()
	}
	switch now, ok := readProcess(p.pid); {
	case !ok || now.start != p.start:
	case err == nil:
		_ = unix.PidfdSendSignal(fd, sig, nil, 0)
	default: // a kernel or a sandbox without pidfd: the moment since the look is all that is left to chance
		_ = unix.Kill(p.pid, sig)
	}
}

// Adopt makes this process the parent of its orphaned descendants, so that EndAll finds them.
func Adopt() { _ = unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) }

// hasChildren asks the kernel, which is quicker than /proc.
func hasChildren() bool {
	err := unix.Waitid(unix.P_ALL, 0, nil, unix.WEXITED|unix.WNOHANG|unix.WNOWAIT, nil)
	return err != unix.ECHILD
}
