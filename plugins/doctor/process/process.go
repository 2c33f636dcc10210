// Package process reads a process from /proc and acts on it safely: never on another process that reused its PID. The
// doctor's agent runs it; the doctor plugin and its packages import it.
package process

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// Ident identifies a process. A PID alone may be reused.
type Ident struct {
	PID   int    `json:"pid"`
	Start uint64 `json:"start"` // clock ticks since boot
}

func (i Ident) String() string { return fmt.Sprintf("%d@%d", i.PID, i.Start) }

// ErrGone: the process has ended, even if another process has its PID now.
var ErrGone = errors.New("the process has ended")

// Gone reports whether an error from a file in /proc means that its process has ended.
func Gone(err error) bool {
	return errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ESRCH) || errors.Is(err, ErrGone)
}

// asGone converts an error of Gone to ErrGone.
func asGone(err error) error {
	if Gone(err) {
		return ErrGone
	}
	return err
}

// Stat holds the fields of /proc/PID/stat that the doctor reads (proc_pid_stat(5)).
type Stat struct {
	Comm               string
	State              byte
	PPID, Session, TTY uint64
	Group              uint64 // its process group: a shell's job
	Flags              uint64
	CPU                time.Duration // user and system time, all threads
	Children           time.Duration // the same of ended children that it has waited for, and of theirs
	Start              uint64        // clock ticks since boot
	Pages              int64         // resident
	Nice               int64
}

const (
	kernelThread = 0x00200000 // PF_KTHREAD
	// tick is a clock tick in /proc. Linux fixes it for user space on every architecture that Go runs on.
	tick = time.Second / 100
)

// Uptime is the time since boot in clock ticks, as Ident's Start is.
func Uptime() (uint64, error) {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
		return 0, fmt.Errorf("read the time since boot: %w", err)
	}
	return uint64(time.Duration(ts.Nano()) / tick), nil
}

// Age is how old a process is, at a time since boot in clock ticks.
func (i Ident) Age(uptime uint64) time.Duration {
	return time.Duration(int64(uptime)-int64(i.Start)) * tick //nolint:gosec // clock ticks since boot
}

// Kernel reports whether it is a kernel thread.
func (s Stat) Kernel() bool { return s.Flags&kernelThread != 0 }

// ReadStat reads the stat file of a folder /proc/PID. ErrGone says that the process has ended.
func ReadStat(dir string) (Stat, error) {
	b, err := os.ReadFile(filepath.Join(dir, "stat"))
	if err != nil {
		return Stat{}, asGone(err)
	}
	return ParseStat(b)
}

// ParseStat parses one line and allocates only the command name. The name is in parentheses and may itself contain
// parentheses and spaces: the fields start after the last one.
func ParseStat(line []byte) (Stat, error) {
	open, end := bytes.IndexByte(line, '('), bytes.LastIndexByte(line, ')')
	if open < 0 || end < open || end+2 >= len(line) {
		return Stat{}, errors.New("parse stat: no command name")
	}
	s := Stat{Comm: string(line[open+1 : end])}
	rest := line[end+2:]
	field := 2 // the state is field 3
	for len(rest) > 0 {
		word := rest
		if i := bytes.IndexByte(rest, ' '); i >= 0 {
			word, rest = rest[:i], rest[i+1:]
		} else {
			rest = nil
		}
		field++
		switch field {
		case 3:
			if len(word) > 0 {
				s.State = word[0]
			}
		case 4:
			s.PPID = number(word)
		case 5:
			s.Group = number(word)
		case 6:
			s.Session = number(word)
		case 7:
			s.TTY = number(word)
		case 9:
			s.Flags = number(word)
		case 14, 15:
			s.CPU += time.Duration(number(word)) * tick
		case 16, 17:
			s.Children += time.Duration(number(word)) * tick
		case 19:
			s.Nice = signed(word)
		case 22:
			s.Start = number(word)
		case 24:
			s.Pages = signed(word)
			return s, nil
		}
	}
	return Stat{}, fmt.Errorf("parse stat: %d fields, want 24 or more", field)
}

// number reads decimal digits without allocating; the kernel writes nothing else there.
func number(b []byte) (n uint64) {
	for _, c := range b {
		if c < '0' || c > '9' {
			break
		}
		n = n*10 + uint64(c-'0')
	}
	return n
}

func signed(b []byte) int64 {
	if len(b) > 0 && b[0] == '-' {
		return -int64(number(b[1:]))
	}
	return int64(number(b))
}

func folder(proc string, pid int) string { return filepath.Join(proc, strconv.Itoa(pid)) }
