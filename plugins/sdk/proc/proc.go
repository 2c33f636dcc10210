// Package proc runs a command whose whole process tree ends with the caller's context, or with this process.
// A tree is what descends from the command, what shares its process group, and what carries its mark in the
// environment: so daemons belong to it too. Under a guard, a process of its own that reads nothing and holds
// no secret, the tree ends even when this process is killed with SIGKILL. Plugins use it through Job.Exec;
// core/terraform and core/ansible run their tools with it.
//
// Linux and macOS; the files system_*.go hold what differs. macOS has no subreaper and no signal for a parent's death:
// there a daemon is found by its mark alone, and a command without a guard outlives a SIGKILL of this process.
package proc

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"syscall"
	"time"
)

const (
	defaultGrace = 1500 * time.Millisecond
	// outputGrace is how long output is still read when the command has ended and something that it left in the
	// background holds the pipe open.
	outputGrace = time.Second
)

// Cmd is a command to run. No shell is involved.
type Cmd struct {
	Args           []string // the first is looked up in PATH
	Dir            string
	Env            []string // whole; nil: this process's own
	Stdin          io.Reader
	Stdout, Stderr io.Writer     // written from one goroutine each, from one when they are the same
	Interrupt      os.Signal     // sent first to every process of the tree when ctx ends; nil: SIGTERM
	Grace          time.Duration // between Interrupt and SIGKILL; 0: 1.5 s

	// Guard ends the tree also when this process is killed. It needs Main to be the first call of main.
	Guard bool
	// Linger lets what the command leaves in the background live on until this process ends; else it ends with
	// the command. Only with Guard.
	Linger bool
}

// ExitError says that a command ended with a status other than 0, or by a signal.
type ExitError struct {
	Code   int            // -1: by a signal
	Signal syscall.Signal // 0: none
}

func (e *ExitError) Error() string {
	if e.Signal != 0 {
		return "signal: " + e.Signal.String()
	}
	return fmt.Sprintf("exit status %d", e.Code)
}

// Run runs the command to its end. When ctx ends, so does the tree, and the error is the cause of ctx. A status
// other than 0 is an *ExitError.
func (c *Cmd) Run(ctx context.Context) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if len(c.Args) == 0 {
		return errors.New("no command")
	}
	out, errs, err := c.pipes()
	if err != nil {
		return err
	}
	defer out.close()
	defer errs.close()
	if c.Guard {
		err = c.runGuarded(ctx, out, errs)
	} else {
		err = c.runHere(ctx, out, errs)
	}
	out.finish(ctx.Err() != nil)
	errs.finish(ctx.Err() != nil)
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

func (c *Cmd) runHere(ctx context.Context, out, errs *output) error {
	mark := newMark()
	cmd := exec.Command(c.Args[0], c.Args[1:]...) //nolint:noctx // ctx ends the whole tree, below
	cmd.Dir, cmd.Env, cmd.Stdin, cmd.WaitDelay = c.Dir, withMark(c.Env, mark), c.Stdin, outputGrace
	cmd.Stdout, cmd.Stderr = out.file(), errs.file()
	cmd.SysProcAttr = attributes(true)
	if err := startLocked()(cmd); err != nil {
		return err
	}
	out.started()
	errs.started()
	exited := make(chan error, 1)
	go func() { exited <- cmd.Wait() }()
	select {
	case err := <-exited:
		return exitError(err)
	case <-ctx.Done():
	}
	own(cmd.Process.Pid)
	defer disown(cmd.Process.Pid)
	End(Tree{Root: cmd.Process.Pid, Mark: mark}, c.interrupt(), c.grace())
	return exitError(<-exited)
}

func (c *Cmd) interrupt() syscall.Signal {
	if s, ok := c.Interrupt.(syscall.Signal); ok {
		return s
	}
	return syscall.SIGTERM
}

func (c *Cmd) grace() time.Duration {
	if c.Grace == 0 {
		return defaultGrace
	}
	return c.Grace
}

func exitError(err error) error {
	if errors.Is(err, exec.ErrWaitDelay) {
		return nil // the command itself passed; only its input or output was still held
	}
	e := (*exec.ExitError)(nil)
	if !errors.As(err, &e) {
		return err
	}
	if ws, ok := e.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
		return &ExitError{Code: -1, Signal: ws.Signal()}
	}
	return &ExitError{Code: e.ExitCode()}
}

// startLocked starts a command from one thread that lives as long as the process: the kernel sends the signal
// for a parent's death when the *thread* that forked ends, and Go ends threads as it likes.
var startLocked = sync.OnceValue(func() func(*exec.Cmd) error {
	type start struct {
		cmd *exec.Cmd
		err chan error
	}
	starts := make(chan start)
	go func() {
		runtime.LockOSThread()
		for s := range starts {
			s.err <- s.cmd.Start()
		}
	}()
	return func(cmd *exec.Cmd) error {
		s := start{cmd, make(chan error, 1)}
		starts <- s
		return <-s.err
	}
})
