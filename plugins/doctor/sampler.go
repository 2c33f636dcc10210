package main

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

// ident is a process. A pid alone may be another process a moment later.
type ident struct {
	PID   int    `json:"pid"`
	Start uint64 `json:"start"` // clock ticks since boot
}

func (i ident) String() string { return fmt.Sprintf("%d@%d", i.PID, i.Start) }

// usage is what one process has used at the time of a sample.
type usage struct {
	ident
	CPU    time.Duration // user and system time since its start, all threads
	RSS    int64         // bytes
	Kernel bool          // a kernel thread
}

// sample is all processes at one time.
type sample struct {
	Time  time.Time
	Host  hostUsage
	Procs []usage
}

// Clock ticks per second in /proc; Linux fixes it at 100 for user space on every architecture that Go runs on.
const ticksPerSecond = 100

// maxHeld bounds the number of open stat files; the processes beyond it cost an open and a close a sample.
const maxHeld = 4096

// sampler reads the usage of every process. It keeps each process's stat file open: reading it again costs a
// third of opening it, and an open one is bound to the process, not to its pid. Not for concurrent use.
type sampler struct {
	root string // /proc
	page int64
	held map[int]*heldStat
	buf  []byte
	tick uint64
}

type heldStat struct {
	fd     int
	seen   uint64
	kernel bool
}

// Kernel threads are looked at again only so often, in samples: they are left alone, and do not end.
const kernelEvery = 64

func newSampler(root string) *sampler {
	return &sampler{root: root, page: int64(os.Getpagesize()), held: map[int]*heldStat{}, buf: make([]byte, 4096)}
}

// Close lets go of every process.
func (s *sampler) Close() {
	for pid, h := range s.held {
		_ = unix.Close(h.fd) // read only: nothing is lost
		delete(s.held, pid)
	}
}

// Processes appends every process to procs. One that ends meanwhile is left out, and so are most kernel threads.
func (s *sampler) Processes(procs []usage) ([]usage, error) {
	dir, err := os.Open(s.root)
	if err != nil {
		return nil, fmt.Errorf("read processes: %w", err)
	}
	names, err := dir.Readdirnames(-1)
	_ = dir.Close() // read only
	if err != nil {
		return nil, fmt.Errorf("read processes: %w", err)
	}
	s.tick++
	for _, name := range names {
		if name[0] < '0' || name[0] > '9' {
			continue
		}
		pid, err := strconv.Atoi(name)
		if err != nil {
			continue
		}
		if h := s.held[pid]; h != nil && h.kernel && (s.tick+uint64(pid))%kernelEvery != 0 {
			h.seen = s.tick
			continue
		}
		u, err := s.read(pid)
		if gone(err) {
			continue
		}
		if err != nil {
			return nil, err
		}
		if h := s.held[pid]; h != nil {
			h.kernel = u.Kernel
		}
		procs = append(procs, u)
	}
	for pid, h := range s.held {
		if h.seen != s.tick {
			_ = unix.Close(h.fd) // read only
			delete(s.held, pid)
		}
	}
	return procs, nil
}

func gone(err error) bool {
	return errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ESRCH)
}

func (s *sampler) read(pid int) (usage, error) {
	h := s.held[pid]
	if h != nil {
		n, err := unix.Pread(h.fd, s.buf, 0)
		if err == nil {
			h.seen = s.tick
			return s.parse(pid, s.buf[:n])
		}
		// The process of this file has ended; its pid may have a new one already.
		_ = unix.Close(h.fd)
		delete(s.held, pid)
	}
	fd, err := unix.Open(filepath.Join(s.root, strconv.Itoa(pid), "stat"), unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return usage{}, fmt.Errorf("read process %d: %w", pid, err)
	}
	n, err := unix.Pread(fd, s.buf, 0)
	if err != nil {
		_ = unix.Close(fd)
		return usage{}, fmt.Errorf("read process %d: %w", pid, err)
	}
	if len(s.held) < maxHeld {
		s.held[pid] = &heldStat{fd: fd, seen: s.tick}
	} else {
		_ = unix.Close(fd)
	}
	return s.parse(pid, s.buf[:n])
}

func (s *sampler) parse(pid int, line []byte) (usage, error) {
	st, err := parseStat(line)
	if err != nil {
		return usage{}, fmt.Errorf("read process %d: %w", pid, err)
	}
	return usage{
		ident:  ident{PID: pid, Start: st.start},
		CPU:    time.Duration(st.ticks) * (time.Second / ticksPerSecond),
		RSS:    st.pages * s.page,
		Kernel: st.kernel(),
	}, nil
}

// stat holds the fields of /proc/PID/stat that the doctor reads (proc_pid_stat(5)).
type stat struct {
	comm                      string
	state                     byte
	ppid, session, tty, flags uint64
	ticks, start              uint64
	pages                     int64
	nice                      int64
}

const kernelThread = 0x00200000 // PF_KTHREAD

func (s stat) kernel() bool { return s.flags&kernelThread != 0 }

// parseStat reads one line. The command name stands in parentheses and may hold anything, parentheses and
// spaces too: the fields begin after the last one.
func parseStat(line []byte) (stat, error) {
	open, end := bytes.IndexByte(line, '('), bytes.LastIndexByte(line, ')')
	if open < 0 || end < open || end+2 >= len(line) {
		return stat{}, errors.New("parse stat: no command name")
	}
	st := stat{comm: string(line[open+1 : end])}
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
				st.state = word[0]
			}
		case 4:
			st.ppid = number(word)
		case 6:
			st.session = number(word)
		case 7:
			st.tty = number(word)
		case 9:
			st.flags = number(word)
		case 14, 15:
			st.ticks += number(word)
		case 19:
			st.nice = signed(word)
		case 22:
			st.start = number(word)
		case 24:
			st.pages = signed(word)
			return st, nil
		}
	}
	return stat{}, fmt.Errorf("parse stat: %d fields, want 24 or more", field)
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
