package lab

import (
	"bufio"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"math"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Spec is the specification of a host.
type Spec struct {
	Lab           ID
	Name          string
	Address       netip.Addr // IPv4; its /24 is the lab's
	CPUs          float64    // cores
	Memory, Disk  int64      // bytes
	AuthorizedKey string     // of root, in authorized_keys format
}

// Machine is a running host. It is alive while both of its processes are, in the same boot of this machine: if only one of
// them was killed, the host may still answer.
type Machine struct {
	HostKey    string // authorized_keys format
	Boot       string // ID of this machine's boot
	Supervisor Process
	Init       Process
}

// Alive reports whether this very machine is running.
func (m Machine) Alive() bool {
	boot, err := bootID()
	return err == nil && boot == m.Boot && m.Supervisor.Alive() && m.Init.Alive()
}

//go:embed host.sh
var hostScript string

const (
	bootTimeout = time.Minute
	grace       = time.Second // for an orderly shutdown; its data is deleted anyway
)

// Create starts a host and returns when its sshd answers. It first removes leftovers of an earlier host with this name. A
// failed Create leaves nothing behind.
func Create(ctx context.Context, s Spec) (_ Machine, err error) {
	h := host{s.Lab, s.Name}
	dir, err := EnsureBase(ctx, nil)
	if err != nil {
		return Machine{}, err
	}
	lock, err := lockDir(ctx, h.dir())
	if err != nil {
		return Machine{}, err
	}
	defer func() { _ = lock.Close() }()
	if err := clear(ctx, h); err != nil {
		return Machine{}, fmt.Errorf("remove leftovers of %s: %w", h.name, err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, remove(context.WithoutCancel(ctx), h))
		}
	}()
	for _, d := range []string{"disk", "root"} {
		if err := os.Mkdir(filepath.Join(h.dir(), d), 0o755); err != nil {
			return Machine{}, err
		}
	}
	if err := os.WriteFile(filepath.Join(h.dir(), "netns"), nil, 0o600); err != nil {
		return Machine{}, err
	}
	m := Machine{}
	if m.HostKey, err = createDisk(ctx, h, s); err != nil {
		return Machine{}, fmt.Errorf("make the disk of %s: %w", h.name, err)
	}
	if err := connect(ctx, h, subnetOf(s.Address)); err != nil {
		return Machine{}, err
	}
	if err := start(ctx, h, s, dir, &m); err != nil {
		return Machine{}, fmt.Errorf("start %s: %w", h.name, err)
	}
	return m, nil
}

// start runs the host and sets its processes. They are detached from our session, terminal and process tree.
func start(ctx context.Context, h host, s Spec, base string, m *Machine) error {
	limits := limits{s.CPUs, s.Memory}
	groups, err := createCgroups(h, limits)
	if err != nil {
		return err
	}
	if m.Boot, err = bootID(); err != nil {
		return err
	}
	console, err := os.Create(h.console())
	if err != nil {
		return err
	}
	defer func() { _ = console.Close() }()
	args := append([]string{"-c", hostScript, "host.sh", h.dir(), base, h.peer(), s.Address.String(), h.machine(), h.name}, groups...)
	cmd := exec.CommandContext(context.WithoutCancel(ctx), "sh", args...)
	cmd.Env = []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG=C.UTF-8"}
	cmd.Stdout, cmd.Stderr = console, console
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Cloneflags: syscall.CLONE_NEWNS}
	// A host outlives us and must not inherit our file descriptors, such as a lock held by Terraform's caller or a pipe
	// whose EOF somebody awaits. Files opened here are close-on-exec anyway.
	if err := unix.CloseRange(3, math.MaxInt32, unix.CLOSE_RANGE_CLOEXEC); err != nil {
		return fmt.Errorf("close inherited files: %w", err)
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	stat, err := readStat(cmd.Process.Pid)
	if err != nil {
		return err
	}
	m.Supervisor = Process{cmd.Process.Pid, stat.start} // host.sh execs systemd-nspawn: the same process
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	err = poll(ctx, bootTimeout, func() (bool, error) {
		select {
		case err := <-ended:
			return false, fmt.Errorf("it exited at once: %w", err)
		default:
			return answers(ctx, s.Address), nil
		}
	})
	if err == nil {
		m.Init, err = findInit(h)
	}
	if err == nil {
		err = showLimits(groups, limits)
	}
	if err != nil {
		return fmt.Errorf("%w\n%s", err, lastWords(h.console()))
	}
	return nil
}

func findInit(h host) (Process, error) {
	all, err := processes(h)
	if err != nil {
		return Process{}, err
	}
	for _, p := range all {
		if isInit(p.PID) {
			return p, nil
		}
	}
	return Process{}, errors.New("no process is PID 1 of the host")
}

// answers reports whether an SSH server answers at the address.
func answers(ctx context.Context, address netip.Addr) bool {
	dialer := net.Dialer{Timeout: time.Second}
	conn, err := dialer.DialContext(ctx, "tcp", netip.AddrPortFrom(address, 22).String())
	if err != nil {
		return false
	}
	defer func() { _ = conn.Close() }()
	if err := conn.SetReadDeadline(time.Now().Add(5 * time.Second)); err != nil {
		return false
	}
	line, err := bufio.NewReader(conn).ReadString('\n')
	return err == nil && strings.HasPrefix(line, "SSH-")
}

// lastWords returns the last lines of a host's console.
func lastWords(path string) string {
	b, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	t := &tail{limit: 2 << 10}
	_, _ = t.Write(b)
	return t.String()
}

// Reboot returns the machine with its new PID 1 if the host has rebooted itself: systemd-nspawn keeps running and restarts
// it. Otherwise it returns m.
func Reboot(l ID, name string, m Machine) Machine {
	boot, err := bootID()
	if err != nil || boot != m.Boot || !m.Supervisor.Alive() || m.Init.Alive() {
		return m
	}
	if init, err := findInit(host{l, name}); err == nil {
		m.Init = init
	}
	return m
}

// Delete stops a host and removes everything of it, and the bridge after the last host. It may be repeated after any
// failure; a host that does not exist is no error.
func Delete(ctx context.Context, l ID, name string) error {
	h := host{l, name}
	lock, err := lockDir(ctx, h.dir())
	if err != nil {
		return err
	}
	defer func() { _ = lock.Close() }()
	return remove(ctx, h)
}

// remove is Delete. The caller holds the host's lock.
func remove(ctx context.Context, h host) error {
	if err := clear(ctx, h); err != nil {
		return err
	}
	if err := removeFolder(h.dir()); err != nil {
		return err
	}
	return removeLab(ctx, h.lab)
}

// clear stops a host, removes everything but its folder, and empties the folder. The order matters: no folder is touched
// while a process of the host may write to it or something is mounted in it.
func clear(ctx context.Context, h host) error {
	all, err := processes(h)
	if err != nil {
		return err
	}
	for _, p := range all {
		if args := command(p.PID); len(args) > 0 && filepath.Base(args[0]) == "systemd-nspawn" {
			if err := terminate(ctx, p, grace); err != nil && !errors.Is(err, errTimeout) {
				return err
			}
		}
	}
	if err := killAll(ctx, h); err != nil {
		return err
	}
	if err := releaseDisk(ctx, h); err != nil {
		return err
	}
	if err := unmountBelow(h.dir()); err != nil {
		return err
	}
	if err := disconnect(ctx, h); err != nil {
		return err
	}
	if err := removeCgroups(ctx, h); err != nil {
		return err
	}
	entries, err := os.ReadDir(h.dir())
	if err != nil {
		return err
	}
	for _, e := range entries {
		if err := removeFolder(filepath.Join(h.dir(), e.Name())); err != nil {
			return err
		}
	}
	return nil
}

// removeLab removes the bridge and the lab's folder if the lab has no hosts.
func removeLab(ctx context.Context, l ID) error {
	lock, err := lockDir(ctx, l.dir())
	if err != nil {
		return err
	}
	defer func() { _ = lock.Close() }()
	if err := removeBridge(ctx, l); err != nil {
		return err
	}
	for _, dir := range []string{l.dir(), root, filepath.Dir(root)} {
		if err := syscall.Rmdir(dir); err != nil {
			return ignore(err, syscall.ENOTEMPTY, syscall.ENOENT, syscall.EEXIST)
		}
	}
	return nil
}
