package proc

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	guardName = "TROOP_GUARD"
	// parentGrace is how long a tree may wind up when this process's parent was killed: all is gone within 5 s.
	parentGrace = 2500 * time.Millisecond
	statusFD    = 3
)

// guardOrder is what the guard is told, in its environment.
type guardOrder struct {
	Parent    int
	Program   string        // to execute with the guard's own arguments
	Interrupt int           // signal
	Grace     time.Duration // between Interrupt and SIGKILL
	Linger    bool
	Status    bool // report the end on statusFD, instead of by the exit status
}

// errNoMain keeps a program that would not become a guard from being started again and again.
var errNoMain = errors.New("no guard: the program, or the TestMain of the test, must call proc.Main first")

var mainCalled atomic.Bool

// Main turns this process into a guard if it was started as one, and then does not return. It must be the
// first call of main, or TestMain, in every program that uses Cmd.Guard or Guard.
func Main() {
	mainCalled.Store(true)
	text, ok := os.LookupEnv(guardName)
	if !ok {
		return
	}
	os.Exit(guard(text)) //nolint:forbidigo // this process is a guard and nothing else
}

// Guard returns what to start in a program's stead, with the same arguments and env added, when something else
// than Cmd starts it: the program runs under a guard which ends its tree when it ends, when the guard is
// interrupted, and when this process is gone.
func Guard(program string, grace time.Duration) (exe, env string, err error) {
	if !mainCalled.Load() {
		return "", "", errNoMain
	}
	exe, err = os.Executable()
	if err != nil {
		return "", "", fmt.Errorf("find own program: %w", err)
	}
	order := guardOrder{Parent: os.Getpid(), Program: program, Interrupt: int(syscall.SIGINT), Grace: grace}
	return exe, order.env(), nil
}

func (o guardOrder) env() string {
	b, _ := json.Marshal(o) // numbers, strings and booleans only: it cannot fail
	return guardName + "=" + string(b)
}

// runGuarded starts the guard and waits for the status that it reports.
func (c *Cmd) runGuarded(ctx context.Context, out, errs *output) error {
	if !mainCalled.Load() {
		return errNoMain
	}
	program, err := exec.LookPath(c.Args[0])
	if err != nil && !errors.Is(err, exec.ErrDot) {
		return err
	}
	me, err := self()
	if err != nil {
		return fmt.Errorf("find own program: %w", err)
	}
	r, w, err := os.Pipe()
	if err != nil {
		return err
	}
	defer func() { _ = r.Close() }()
	mark := newMark()
	order := guardOrder{
		Parent: os.Getpid(), Program: program, Interrupt: int(c.interrupt()), Grace: c.grace(), Linger: c.Linger, Status: true,
	}
	cmd := exec.Command(me, c.Args[1:]...) //nolint:noctx // the guard ends its tree, and then itself
	cmd.Dir, cmd.Env, cmd.Stdin, cmd.WaitDelay = c.Dir, append(withMark(c.Env, mark), order.env()), c.Stdin, outputGrace
	cmd.Stdout, cmd.Stderr, cmd.ExtraFiles = out.file(), errs.file(), []*os.File{w}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	err = cmd.Start()
	_ = w.Close()
	if err != nil {
		return fmt.Errorf("start guard: %w", err)
	}
	out.started()
	errs.started()
	exited := make(chan struct{})
	go func() {
		_ = cmd.Wait() // the status came over the pipe; a lingering guard ends much later
		close(exited)
	}()

	status := make(chan error, 1)
	go func() { status <- readStatus(r) }()
	select {
	case err := <-status:
		return err
	case <-ctx.Done():
	}
	_ = cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-exited:
	case <-time.After(c.grace() + 4*time.Second):
		End(Tree{Root: cmd.Process.Pid, Mark: mark}, syscall.SIGKILL, 0)
		<-exited
	}
	return context.Cause(ctx)
}

// The status on the pipe is one line: "exit N", "signal N" or "error TEXT".
func readStatus(r io.Reader) error {
	b, err := io.ReadAll(r)
	if err != nil {
		return fmt.Errorf("read status from guard: %w", err)
	}
	kind, value, _ := strings.Cut(strings.TrimSpace(string(b)), " ")
	n, _ := strconv.Atoi(value)
	switch {
	case kind == "exit" && n == 0:
		return nil
	case kind == "exit":
		return &ExitError{Code: n}
	case kind == "signal":
		return &ExitError{Code: -1, Signal: syscall.Signal(n)}
	case kind == "error":
		return errors.New(value)
	}
	return errors.New("the command's guard was killed")
}

// guard runs the program and outlives it only to end what it left. Its result is the exit status.
func guard(text string) int {
	var o guardOrder
	if err := json.Unmarshal([]byte(text), &o); err != nil {
		return 125
	}
	outliveParent()
	Adopt()
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	orphaned := make(chan struct{})
	go func() {
		WaitParent(o.Parent)
		close(orphaned)
	}()
	if o.Status {
		unix.CloseOnExec(statusFD)
	}
	cmd := exec.Command(o.Program, os.Args[1:]...) //nolint:noctx // the tree ends below
	cmd.Env = slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, guardName+"=") })
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = attributes(false)
	if err := startLocked()(cmd); err != nil {
		return o.report("error", strings.ReplaceAll(err.Error(), "\n", " "), 126)
	}
	own(cmd.Process.Pid)
	exited := make(chan error, 1)
	go func() { exited <- cmd.Wait() }()

	code := 0
	select {
	case err := <-exited:
		code = o.reportExit(err)
		if o.Linger {
			o.linger(signals, orphaned)
		}
	case <-signals:
		EndAll(syscall.Signal(o.Interrupt), o.Grace)
		code = o.reportExit(<-exited)
	case <-orphaned:
		EndAll(syscall.Signal(o.Interrupt), min(o.Grace, parentGrace))
		return 1
	}
	EndAll(syscall.SIGTERM, time.Second)
	return code
}

// linger waits until nothing is left, or until it is time to end what is.
func (o guardOrder) linger(signals <-chan os.Signal, orphaned <-chan struct{}) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		for {
			pid, err := unix.Wait4(-1, nil, unix.WNOHANG, nil)
			if errors.Is(err, unix.ECHILD) {
				return
			}
			if pid <= 0 {
				break
			}
		}
		select {
		case <-signals:
			return
		case <-orphaned:
			return
		case <-tick.C:
		}
	}
}

func (o guardOrder) reportExit(err error) int {
	e := (*ExitError)(nil)
	switch err = exitError(err); {
	case err == nil:
		return o.report("exit", "0", 0)
	case errors.As(err, &e) && e.Signal != 0:
		return o.report("signal", strconv.Itoa(int(e.Signal)), 128+int(e.Signal))
	case errors.As(err, &e):
		return o.report("exit", strconv.Itoa(e.Code), e.Code)
	}
	return o.report("error", strings.ReplaceAll(err.Error(), "\n", " "), 126)
}

// report tells the parent how the program ended, and lets go of everything that it waits for.
func (o guardOrder) report(kind, value string, code int) int {
	if !o.Status {
		if kind == "error" {
			_, _ = io.WriteString(os.Stderr, value+"\n")
		}
		return code
	}
	f := os.NewFile(statusFD, "status")
	_, _ = io.WriteString(f, kind+" "+value+"\n")
	_ = f.Close()
	if null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0); err == nil {
		for fd := range 3 {
			redirect(fd, int(null.Fd()))
		}
		_ = null.Close()
	}
	return code
}
