package move

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/seed-b96de936/troop/plugins/maintenance/file"
	"github.com/seed-b96de936/troop/plugins/maintenance/rule"
)

// Writer is the process that a rule signals. It is held by a pidfd, so that no process that reused its PID is signalled.
type Writer struct {
	pid, fd int
	signal  unix.Signal
}

// ErrNoWriter: the process that a rule signals does not run, so the file need not be reopened.
var ErrNoWriter = errors.New("the writer does not run")

// FindWriter finds the process that a rule signals, or returns ErrNoWriter. A PID file is trusted only if its owner could
// signal the process: root's file may name any process, another user's file only their own. Otherwise the error is of kind
// file.ErrUnsafe.
func FindWriter(ctx context.Context, s rule.Signal) (*Writer, error) {
	if s.PIDFile != "" {
		text, owner, err := readPIDFile(s.PIDFile)
		if errors.Is(err, os.ErrNotExist) {
			return nil, ErrNoWriter
		}
		if err != nil {
			return nil, fmt.Errorf("find the writer to signal: %w", err)
		}
		return holdWriter(s, text, func(uids []uint32) error {
			for _, uid := range uids {
				if owner != 0 && uid != owner {
					return file.Refuse(s.PIDFile, fmt.Sprintf("it belongs to user %d and names a process of another user", owner))
				}
			}
			return nil
		})
	}
	text, err := exec.CommandContext(ctx, "systemctl", "show", "--property=MainPID", "--value", "--", s.Unit).Output()
	if err != nil {
		return nil, fmt.Errorf("find the writer to signal: %w", err)
	}
	if strings.TrimSpace(string(text)) == "0" {
		return nil, ErrNoWriter
	}
	return holdWriter(s, string(text), func([]uint32) error { return nil })
}

// Signal sends the signal that makes the writer reopen its file.
func (w *Writer) Signal() error {
	if err := unix.PidfdSendSignal(w.fd, w.signal, nil, 0); err != nil {
		return fmt.Errorf("send %s to process %d: %w", unix.SignalName(w.signal), w.pid, err)
	}
	return nil
}

// Close releases the writer.
func (w *Writer) Close() error { return unix.Close(w.fd) }

// readPIDFile reads a small file and its owner. Only its folder may be reached by links, such as /var/run.
func readPIDFile(name string) (text string, owner uint32, err error) {
	dir, err := filepath.EvalSymlinks(path.Dir(name))
	if err != nil {
		return "", 0, err
	}
	d, err := file.OpenFolder(dir, dir)
	if err != nil {
		return "", 0, err
	}
	defer d.Close()
	f, id, err := d.Open(path.Base(name), unix.O_RDONLY)
	if err != nil {
		return "", 0, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, 32))
	return string(b), id.UID, err
}

// holdWriter opens the process of a pid, when may allows it for its uids. The uids are read while the process is held:
// if it has not ended since, they are its own.
func holdWriter(s rule.Signal, text string, may func(uids []uint32) error) (*Writer, error) {
	pid, err := strconv.Atoi(strings.TrimSpace(text))
	if err != nil || pid <= 1 {
		return nil, fmt.Errorf("find the writer to signal: %q is not a process", strings.TrimSpace(text))
	}
	fd, err := unix.PidfdOpen(pid, 0)
	if errors.Is(err, unix.ESRCH) {
		return nil, ErrNoWriter
	}
	if err != nil {
		return nil, fmt.Errorf("find the writer to signal: process %d: %w", pid, err)
	}
	w := &Writer{pid: pid, fd: fd, signal: s.Number()}
	uids, err := uidsOf(pid)
	if err == nil {
		err = may(uids)
	}
	if err == nil {
		err = unix.PidfdSendSignal(fd, 0, nil, 0)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("find the writer to signal: %w", err), w.Close())
	}
	return w, nil
}

// uidsOf reads the four uids of a process.
func uidsOf(pid int) ([]uint32, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return nil, err
	}
	for line := range strings.Lines(string(b)) {
		value, ok := strings.CutPrefix(line, "Uid:")
		if !ok {
			continue
		}
		var uids []uint32
		for word := range strings.FieldsSeq(value) {
			n, err := strconv.ParseUint(word, 10, 32)
			if err != nil {
				return nil, fmt.Errorf("parse status of process %d: %w", pid, err)
			}
			uids = append(uids, uint32(n))
		}
		return uids, nil
	}
	return nil, fmt.Errorf("parse status of process %d: no Uid", pid)
}
