package client

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/seed-b96de936/troop/plugins/sdk/internal/wire"
	"github.com/seed-b96de936/troop/plugins/sdk/proc"
)

// process is the plugin's process, as a Runner for go-plugin: without input, in a new session, with a known exit reason,
// and with all its children killed at the end.
type process struct {
	o      Options
	output *output
	mark   string

	cmd            *exec.Cmd
	stdout, stderr *os.File
	ends           [3]*os.File // the plugin's ends of the pipes
	first          firstLine

	exited chan struct{} // closed once the process has ended and state is set
	state  *os.ProcessState
	silent chan struct{} // closed once all its standard error is read
	mu     sync.Mutex
	pid    int         // 0: not started
	asked  atomic.Bool // asked to end: its SDK has then stopped the plugin's children
}

func newProcess(o Options, out *output) *process {
	return &process{o: o, output: out, exited: make(chan struct{}), silent: make(chan struct{})}
}

// prepare makes the command with go-plugin's variables, and the pipe from which the plugin reads its secrets.
func (p *process) prepare(handshake []string, secrets []byte) error {
	mark, markEnv := proc.Mark()
	p.mark = mark
	p.cmd = exec.Command(p.o.Path) //nolint:noctx // ended by kill or Close
	for _, name := range inherited {
		if v, ok := os.LookupEnv(name); ok {
			p.cmd.Env = append(p.cmd.Env, name+"="+v)
		}
	}
	p.cmd.Env = append(p.cmd.Env, p.o.Env...)
	p.cmd.Env = append(p.cmd.Env, handshake...)
	p.cmd.Env = append(p.cmd.Env, wire.ParentKey+"="+strconv.Itoa(os.Getpid()), markEnv, wire.TLSKey+"=3")
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}

	var err error
	if p.stdout, p.ends[0], err = os.Pipe(); err != nil {
		return err
	}
	if p.stderr, p.ends[1], err = os.Pipe(); err != nil {
		return err
	}
	secretsEnd, w, err := os.Pipe()
	if err != nil {
		return err
	}
	if _, err := w.Write(secrets); err != nil { // fits in a pipe's buffer: does not block
		return err
	}
	if err := w.Close(); err != nil {
		return err
	}
	p.ends[2] = secretsEnd
	p.cmd.Stdout, p.cmd.Stderr, p.cmd.ExtraFiles = p.ends[0], p.ends[1], []*os.File{secretsEnd}
	p.first.r = bufio.NewReaderSize(p.stdout, 4096)
	p.first.rest = p.output.writer(false)
	return nil
}

func (p *process) Start(context.Context) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	err := p.cmd.Start()
	for _, f := range p.ends {
		_ = f.Close()
	}
	if err != nil {
		return err
	}
	p.pid = p.cmd.Process.Pid
	go func() {
		_ = p.cmd.Wait()
		p.state = p.cmd.ProcessState
		if !p.state.Success() || !p.asked.Load() {
			proc.End(proc.Tree{Root: p.pid, Mark: p.mark}, syscall.SIGKILL, 0)
		}
		// Only processes that could not be killed still hold the pipes; do not wait for them.
		_ = p.stdout.SetReadDeadline(time.Now().Add(500 * time.Millisecond))
		_ = p.stderr.SetReadDeadline(time.Now().Add(500 * time.Millisecond))
		close(p.exited)
	}()
	return nil
}

// kill kills the process and its children. It may be repeated.
func (p *process) kill() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.pid == 0 {
		return
	}
	select {
	case <-p.exited:
	default:
		_ = p.cmd.Process.Kill()
	}
}

// tree lists what the plugin has started and still runs.
func (p *process) tree() []string {
	p.mu.Lock()
	pid := p.pid
	p.mu.Unlock()
	return proc.Tree{Root: pid, Mark: p.mark}.Describe()
}

func (p *process) Wait(context.Context) error {
	<-p.exited
	_ = p.stdout.Close()
	_ = p.stderr.Close()
	return nil
}

func (p *process) Kill(context.Context) error {
	p.kill()
	return nil
}

func (p *process) Stdout() io.ReadCloser { return &p.first }
func (p *process) Stderr() io.ReadCloser { return &untilEnd{ReadCloser: p.stderr, ended: p.silent} }
func (p *process) Name() string          { return filepath.Base(p.o.Path) }

func (p *process) ID() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.pid == 0 {
		return ""
	}
	return strconv.Itoa(p.pid)
}

func (p *process) Diagnose(context.Context) string { return "" }

func (p *process) PluginToHost(network, addr string) (string, string, error) {
	return network, addr, nil
}

func (p *process) HostToPlugin(network, addr string) (string, string, error) {
	return network, addr, nil
}

// deathPatience is how long a process whose connection is lost may take to end: it may have to write a stack trace on a
// busy machine.
const deathPatience = 5 * time.Second

// dead reports how the process ended. It waits for a process that is just ending.
func (p *process) dead() (how string, ok bool) {
	select {
	case <-p.exited:
	case <-time.After(deathPatience):
		return "", false
	}
	select {
	case <-p.silent: // all its output is read
	case <-time.After(time.Second):
	}
	return p.state.String(), true
}

// untilEnd is a reader that signals EOF.
type untilEnd struct {
	io.ReadCloser
	once  sync.Once
	ended chan struct{}
}

func (u *untilEnd) Read(b []byte) (int, error) {
	n, err := u.ReadCloser.Read(b)
	if err != nil {
		u.once.Do(func() { close(u.ended) })
	}
	return n, err
}

// explain describes a lost connection.
func (p *process) explain(name string, err error) error {
	how, ok := p.dead()
	if !ok {
		return fmt.Errorf("lost the connection to plugin %s: %w", name, err)
	}
	return fmt.Errorf("plugin %s died (%s)%s", name, how, p.output.lastLines())
}

// startError describes what a binary did instead of the handshake.
func (p *process) startError(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return fmt.Errorf("was not started: %w%s", context.Cause(ctx), p.output.lastLines())
	}
	line := p.first.line()
	var e *exec.Error
	switch {
	case errors.Is(err, syscall.ENOEXEC):
		return errors.New("is not a program for this machine")
	case errors.As(err, &e), errors.Is(err, os.ErrNotExist), errors.Is(err, os.ErrPermission):
		return fmt.Errorf("was not started: %w", err)
	case handshake(line) && protocol(line) > wire.Version:
		return fmt.Errorf("speaks protocol %d, and this troop protocol %d: update troop, or build the plugin with the SDK of this version", protocol(line), wire.Version)
	case handshake(line) && protocol(line) < wire.Version:
		return fmt.Errorf("speaks protocol %d, and this troop protocol %d: build the plugin with the SDK of this version", protocol(line), wire.Version)
	case line != "" && !handshake(line):
		return fmt.Errorf("printed %q where the handshake belongs: a plugin must not write to standard output before sdk.Serve", line)
	case line == "":
		if how, ok := p.dead(); ok {
			return fmt.Errorf("ended without a handshake (%s): is it a plugin?%s", how, p.output.lastLines())
		}
		return errors.New("closed its standard output without a handshake")
	}
	return fmt.Errorf("was not started: %w%s", err, p.output.lastLines())
}

// handshake reports whether a line is go-plugin's handshake: CORE|PROTOCOL|NETWORK|ADDRESS|….
func handshake(line string) bool {
	core, rest, ok := strings.Cut(line, "|")
	return ok && core == "1" && strings.Count(rest, "|") >= 3
}

// protocol returns a handshake's protocol version; 0 if it is not a number.
func protocol(line string) int {
	version, _ := strconv.Atoi(strings.Split(line, "|")[1])
	return version
}

// firstLine passes only the first line of the plugin's standard output, of bounded length, to go-plugin. The rest goes to
// the log: go-plugin would stop reading at the first long line and block the plugin.
type firstLine struct {
	r    *bufio.Reader
	rest io.Writer

	mu   sync.Mutex
	text []byte
	done bool
}

// Read returns the first line, then copies the rest to the log until EOF.
func (f *firstLine) Read(b []byte) (int, error) {
	f.mu.Lock()
	done := f.done
	f.mu.Unlock()
	if done {
		_, err := io.Copy(f.rest, f.r)
		if err == nil {
			err = io.EOF
		}
		return 0, err
	}
	c, err := f.r.ReadByte()
	if err != nil {
		return 0, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.done = c == '\n' || len(f.text) > 16<<10; f.done {
		c = '\n'
	} else {
		f.text = append(f.text, c)
	}
	b[0] = c
	return 1, nil
}

func (f *firstLine) Close() error { return nil }

// line returns the first line as far as read, shortened for a message.
func (f *firstLine) line() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	s := strings.ToValidUTF8(string(f.text), "\uFFFD")
	if len(s) > 80 && !handshake(s) {
		s = strings.ToValidUTF8(s[:80], "") + "…"
	}
	return s
}
