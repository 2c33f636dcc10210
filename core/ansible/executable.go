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

// grace is the time between the interrupt and the kill of Ansible.
const grace = 5 * time.Second

// Find finds ansible-playbook. The distribution's takes precedence over one in PATH.
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

// executable replaces go-ansible's own executor, which leaves ansible-playbook alive when a run is cancelled, passes it
// this process's whole environment, and prints that environment on failure. This one records the error instead of
// returning it, and runs Ansible under a guard that ends its process tree even if this process is killed. Only ssh's
// persistent connections outlive a run; they end with this process.
type executable struct {
	env []string
	dir string
	err error // set once Wait has returned
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

// Required by go-ansible's interface; its executor never calls them.

func (c *command) StdinPipe() (io.WriteCloser, error) { return nil, errors.ErrUnsupported }
func (c *command) Output() ([]byte, error)            { return nil, errors.ErrUnsupported }
func (c *command) CombinedOutput() ([]byte, error)    { return nil, errors.ErrUnsupported }

// verbatim copies Ansible's output unchanged.
type verbatim struct{}

func (verbatim) Print(_ context.Context, r io.Reader, w io.Writer, _ ...result.OptionsFunc) error {
	_, err := io.Copy(w, r)
	return err
}
