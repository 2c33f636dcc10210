package terraform

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// terraforms lists the Terraform and provider processes of this machine that we are allowed to inspect.
func terraforms() ([]process, error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, err
	}
	var found []process
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		program := programOf(pid)
		p := process{pid: pid, program: program, provider: strings.HasPrefix(program, "terraform-provider-")}
		if !p.provider && !isTerraform(program) {
			continue
		}
		if p.dir, err = os.Readlink(filepath.Join("/proc", e.Name(), "cwd")); err != nil {
			continue // it has ended
		}
		if info, err := e.Info(); err == nil {
			p.since = info.ModTime()
		}
		p.orphan = p.provider && !isTerraform(programOf(parentOf(pid)))
		found = append(found, p)
	}
	return found, nil
}

// programOf returns the name of a process's executable, or "" if the process has ended.
func programOf(pid int) string {
	exe, err := os.Readlink(filepath.Join("/proc", strconv.Itoa(pid), "exe"))
	if err != nil {
		return ""
	}
	return strings.TrimSuffix(filepath.Base(exe), " (deleted)")
}

func parentOf(pid int) int {
	b, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "status"))
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(b)) {
		if v, ok := strings.CutPrefix(line, "PPid:"); ok {
			ppid, _ := strconv.Atoi(strings.TrimSpace(v))
			return ppid
		}
	}
	return 0
}

// kill kills exactly this process and waits for its end: a pidfd identifies it, and the process is checked again before the
// signal.
func (p process) kill() {
	fd, err := unix.PidfdOpen(p.pid, 0)
	if err != nil {
		return
	}
	defer func() { _ = unix.Close(fd) }()
	if programOf(p.pid) == p.program {
		_ = unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0)
		_, _ = unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, int(dying.Milliseconds()))
	}
}
