// Package sample measures how much a host uses of its capacity, and how much each of its processes uses. The doctor's
// agent takes a sample every second; the doctor plugin and its packages import it.
package sample

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"github.com/seed-b96de936/troop/plugins/doctor/process"
)

// Usage is what one process used at the time of a sample.
type Usage struct {
	process.Ident
	CPU      time.Duration // user and system time since its start, all threads
	Children time.Duration // the same of ended children
	RSS      int64         // bytes
	PPID     int
	Group    int  // its process group
	Kernel   bool // a kernel thread
	Owner    process.Owner
}

// Sample is all processes at one time.
type Sample struct {
	Time  time.Time
	Host  Host
	Procs []Usage
	Users []UserUsage
}

// maxHeld is the maximum number of open stat files. Further processes are opened and closed for each sample.
const maxHeld = 4096

// Sampler reads the usage of all processes. It keeps their stat files open: reading one again takes a third of the time
// of opening it, and an open file belongs to the process, not to the pid. Not for concurrent use.
type Sampler struct {
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
	owner  process.Owner
	looked uint64        // when the owner was read
	cpu    time.Duration // at the last sample
}

const (
	// kernelEvery is the number of samples between two looks at a kernel thread. They are left alone, and rarely end.
	kernelEvery = 64
	// ownerEvery is the number of samples for which the owner of a process is trusted. An idle process keeps it for longer:
	// it changes neither its user nor its cgroup.
	ownerEvery = 16
)

// NewSampler makes a sampler of the processes below root (/proc).
func NewSampler(root string) *Sampler {
	return &Sampler{root: root, page: int64(os.Getpagesize()), held: map[int]*heldStat{}, buf: make([]byte, 4096)}
}

// Close closes the stat files.
func (s *Sampler) Close() {
	for pid, h := range s.held {
		_ = unix.Close(h.fd) // read only: nothing is lost
		delete(s.held, pid)
	}
}

// Processes appends all processes to procs, without those that end meanwhile and most kernel threads.
func (s *Sampler) Processes(procs []Usage) ([]Usage, error) {
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
		if process.Gone(err) {
			continue
		}
		if err != nil {
			return nil, err
		}
		s.own(&u)
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

// own fills in the owner of a process. A process whose owner cannot be read counts for no user.
func (s *Sampler) own(u *Usage) {
	if u.Kernel {
		if h := s.held[u.PID]; h != nil {
			h.kernel = true
		}
		return
	}
	h := s.held[u.PID]
	if h != nil && h.looked > 0 && (h.cpu == u.CPU || s.tick-h.looked < ownerEvery) {
		u.Owner, h.cpu = h.owner, u.CPU
		return
	}
	owner, err := process.ReadOwner(filepath.Join(s.root, strconv.Itoa(u.PID)), s.buf)
	if err != nil {
		owner = process.Owner{}
	}
	u.Owner = owner
	if h != nil {
		h.owner, h.looked, h.cpu = owner, s.tick, u.CPU
	}
}

func (s *Sampler) read(pid int) (Usage, error) {
	h := s.held[pid]
	if h != nil {
		n, err := unix.Pread(h.fd, s.buf, 0)
		if err == nil {
			h.seen = s.tick
			return s.parse(pid, s.buf[:n])
		}
		// The process has ended. Another one may have its pid already.
		_ = unix.Close(h.fd)
		delete(s.held, pid)
	}
	fd, err := unix.Open(filepath.Join(s.root, strconv.Itoa(pid), "stat"), unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return Usage{}, fmt.Errorf("read process %d: %w", pid, err)
	}
	n, err := unix.Pread(fd, s.buf, 0)
	if err != nil {
		_ = unix.Close(fd)
		return Usage{}, fmt.Errorf("read process %d: %w", pid, err)
	}
	if len(s.held) < maxHeld {
		s.held[pid] = &heldStat{fd: fd, seen: s.tick}
	} else {
		_ = unix.Close(fd)
	}
	return s.parse(pid, s.buf[:n])
}

func (s *Sampler) parse(pid int, line []byte) (Usage, error) {
	st, err := process.ParseStat(line)
	if err != nil {
		return Usage{}, fmt.Errorf("read process %d: %w", pid, err)
	}
	return Usage{
		Ident:    process.Ident{PID: pid, Start: st.Start},
		CPU:      st.CPU,
		Children: st.Children,
		RSS:      st.Pages * s.page,
		PPID:     int(st.PPID),
		Group:    int(st.Group),
		Kernel:   st.Kernel(),
	}, nil
}
