package move

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/seed-b96de936/troop/plugins/maintenance/file"
)

// stopMost is how long writers are stopped at most before they go on.
const stopMost = time.Second

// stopped are the writers of a file that are stopped for its cut.
type stopped struct {
	fds   []int // pidfds
	guard io.WriteCloser
	wait  func() error
}

// stopWriters stops the processes that have a file open for writing. If one cannot be stopped, all go on: the cut may lose
// lines then. A guard lets them go on also when the agent is killed meanwhile.
func (v *Mover) stopWriters(ctx context.Context, f *os.File) *stopped {
	s := &stopped{}
	id, err := file.Identify(f)
	if err != nil {
		return s
	}
	pids := file.WriterPIDs("/proc", id)
	var others []int
	for _, pid := range pids {
		// Who is stopped already is not let go on in the end.
		if pid > 1 && pid != os.Getpid() && !allStopped([]int{pid}) {
			others = append(others, pid)
		}
	}
	if len(others) == 0 || s.watch(ctx, others) != nil {
		return s
	}
	for _, pid := range others {
		fd, err := unix.PidfdOpen(pid, 0)
		if err == nil {
			s.fds = append(s.fds, fd)
			err = unix.PidfdSendSignal(fd, unix.SIGSTOP, nil, 0)
		}
		if err != nil && !errors.Is(err, unix.ESRCH) {
			s.resume()
			return s
		}
	}
	for deadline := time.Now().Add(stopMost); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		if allStopped(others) {
			return s
		}
	}
	s.resume() // one of them is in the kernel, and would go on writing
	return s
}

// watch starts the guard: it lets the processes go on when its input ends.
func (s *stopped) watch(ctx context.Context, pids []int) error {
	args := []string{"-c", `read x && exit; kill -CONT "$@"`, "guard"}
	for _, pid := range pids {
		args = append(args, strconv.Itoa(pid))
	}
	guard := exec.CommandContext(context.WithoutCancel(ctx), "/bin/sh", args...) // it must outlive a stop of the agent
	in, err := guard.StdinPipe()
	if err != nil {
		return err
	}
	if err := guard.Start(); err != nil {
		return err
	}
	s.guard, s.wait = in, guard.Wait
	return nil
}

// resume lets the writers go on. Twice is harmless.
func (s *stopped) resume() {
	for _, fd := range s.fds {
		_ = unix.PidfdSendSignal(fd, unix.SIGCONT, nil, 0) // it has ended otherwise
		_ = unix.Close(fd)
	}
	s.fds = nil
	if s.guard != nil {
		_, _ = io.WriteString(s.guard, "done\n") // without it, the guard lets them go on
		_ = s.guard.Close()
		_ = s.wait()
		s.guard = nil
	}
}

// allStopped reports whether no thread of these processes runs.
func allStopped(pids []int) bool {
	for _, pid := range pids {
		threads, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
		if err != nil {
			continue // it has ended
		}
		for _, t := range threads {
			b, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%s/stat", pid, t.Name()))
			if err != nil {
				continue
			}
			i := strings.LastIndexByte(string(b), ')')
			if i < 0 || i+2 >= len(b) || !strings.ContainsRune("TtZX", rune(b[i+2])) {
				return false
			}
		}
	}
	return true
}
