package ansible

import (
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"strings"
	"time"

	goexec "github.com/apenella/go-ansible/v2/pkg/execute/exec"
	"github.com/apenella/go-ansible/v2/pkg/execute/result"

	"github.com/seed-b96de936/troop/core"
	"github.com/seed-b96de936/troop/plugins/sdk/proc"
)

// grace is how long an interrupted Ansible may take to end its tasks and connections.
const grace = 5 * time.Second

// Find looks for ansible-playbook: the distribution's before one that a version manager of the user puts in front.
func Find() (string, error) {
	for _, name := range []string{"/usr/bin/ansible-playbook", "ansible-playbook"} {
		if path, err := exec.LookPath(name); err == nil {
			return path, nil
		}
	}
	return "", &core.NotFoundError{
		What: "program", Name: "ansible-playbook", Remedy: "install ansible-core, 2.14 or later: apt-get install ansible-core",
	}
}

// executable is go-ansible's way to a process. Its own one leaves ansible-playbook alive when a run is cancelled,
// hands it the whole environment of this process, and prints that on failure; this one remembers the error instead
// of returning it, and runs Ansible under a guard that ends its whole tree even when this process is killed. Only the
// connections that ssh keeps open for the next run outlive a run; they end with this process.
type executable struct {
	env []string
	dir string
	err error // set when Wait has returned
}

func (e *executable) Command(name string, args ...string) goexec.Cmder {
	return e.CommandContext(context.Background(), name, args...)
}

func (e *executable) CommandContext(ctx context.Context, name string, args ...string) goexec.Cmder {
	stdout, outEnd := io.Pipe()
	stderr, errEnd := io.Pipe()
	return &command{
		ctx: ctx, owner: e, done: make(chan struct{}), stdout: stdout, stderr: stderr,
		proc: proc.Cmd{
			Args: append([]string{name}, args...), Dir: e.dir, Env: e.env,
			Stdout: outEnd, Stderr: errEnd, Interrupt: os.Interrupt, Grace: grace, Guard: true, Linger: true,
		},
	}
}

type command struct {
	ctx            context.Context
	owner          *executable
	proc           proc.Cmd
	done           chan struct{}
	stdout, stderr *io.PipeReader
}

func (c *command) Start() error {
	go func() {
		defer close(c.done)
		c.owner.err = c.proc.Run(c.ctx)
		_ = c.proc.Stdout.(io.Closer).Close()
		_ = c.proc.Stderr.(io.Closer).Close()
	}()
	return nil
}

func (c *command) Wait() error {
	<-c.done
	return nil
}

func (c *command) Run() error                         { return errors.Join(c.Start(), c.Wait()) }
func (c *command) StdoutPipe() (io.ReadCloser, error) { return c.stdout, nil }
func (c *command) StderrPipe() (io.ReadCloser, error) { return c.stderr, nil }
func (c *command) Environ() []string                  { return c.owner.env }
func (c *command) String() string                     { return strings.Join(c.proc.Args, " ") }

// go-ansible's interface asks for these, its executor never calls them.

func (c *command) StdinPipe() (io.WriteCloser, error) { return nil, errors.ErrUnsupported }
func (c *command) Output() ([]byte, error)            { return nil, errors.ErrUnsupported }
func (c *command) CombinedOutput() ([]byte, error)    { return nil, errors.ErrUnsupported }

// verbatim copies what Ansible prints.
type verbatim struct{}

func (verbatim) Print(_ context.Context, r io.Reader, w io.Writer, _ ...result.OptionsFunc) error {
	_, err := io.Copy(w, r)
	return err
}
