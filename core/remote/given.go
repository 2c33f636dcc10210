package remote

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/google/renameio/v2"
	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"
	"golang.org/x/crypto/ssh/knownhosts"

	"github.com/seed-b96de936/troop/core"
)

// settings say how a host is reached: a given one as the user's own SSH configuration says, another one as its module says.
type settings struct {
	name       string   // to connect to instead of the address
	proxy      string   // command whose input and output are the connection; empty: TCP
	identities []string // files of keys
	agent      string   // socket; empty: none
	only       bool     // the agent's other keys are not offered
	known      []string // files with keys of hosts that the user trusts
}

// settings asks ssh for the settings of a given host. The answer is kept.
func (c *Client) settings(ctx context.Context, h core.Host) (settings, error) {
	if h.Given == nil {
		return settings{proxy: proxyOf(h), only: true}, nil
	}
	c.mu.Lock()
	s, ok := c.given[login(h)]
	c.mu.Unlock()
	if ok {
		return s, nil
	}
	s, err := userSettings(ctx, h)
	if err != nil {
		return s, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.given[login(h)] = s
	return s, nil
}

func userSettings(ctx context.Context, h core.Host) (settings, error) {
	_, port, _ := net.SplitHostPort(address(h))
	args := []string{"-G", "-p", port, "-l", h.User}
	if h.Jump != "" {
		args = append(args, "-J", h.Jump)
	}
	ctx, cancel := context.WithTimeout(ctx, dialTimeout) // Match exec in the configuration may take its time
	defer cancel()
	var stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, "ssh", append(args, "--", h.Address)...)
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return settings{}, fmt.Errorf("read your SSH configuration for %s: %w: %s", h.Address, err, lastLines(stderr.Bytes(), 2))
	}
	s := settings{agent: os.Getenv("SSH_AUTH_SOCK")}
	var jump string
	for line := range strings.Lines(string(out)) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		switch name {
		case "hostname":
			if value != h.Address {
				s.name = value
			}
		case "proxycommand":
			s.proxy = value
		case "proxyjump":
			jump = value
		case "identityfile":
			s.identities = append(s.identities, home(value))
		case "identityagent":
			s.agent = agentSocket(value)
		case "identitiesonly":
			s.only = value == "yes"
		case "userknownhostsfile", "globalknownhostsfile":
			for file := range strings.FieldsSeq(value) {
				s.known = append(s.known, home(file))
			}
		}
	}
	if jump != "" && jump != "none" {
		s.proxy = through(jump)
	}
	if h.Given.Key != "" {
		s.identities, s.only = []string{h.Given.Key}, true
	}
	return s, nil
}

// proxyOf is the command that connects to a host that Terraform made; empty: TCP.
func proxyOf(h core.Host) string {
	switch {
	case h.SSM != nil:
		return fmt.Sprintf("aws ssm start-session --region %s --target %s --document-name AWS-StartSSHSession --parameters portNumber=%%p", h.SSM.Region, h.SSM.Instance)
	case h.Jump != "":
		return through(h.Jump)
	}
	return ""
}

// through is the command that connects through jump hosts. It reads the user's own configuration.
func through(jump string) string {
	hops := strings.Split(jump, ",")
	last := hops[len(hops)-1]
	if rest := last[strings.LastIndex(last, "]")+1:]; strings.Contains(rest, ":") && !strings.HasPrefix(last, "ssh://") {
		last = "ssh://" + last
	}
	command := "ssh -o BatchMode=yes "
	if n := len(hops) - 1; n > 0 {
		command += "-J " + strings.Join(hops[:n], ",") + " "
	}
	return command + "-W [%h]:%p " + last
}

func home(path string) string {
	if dir, err := os.UserHomeDir(); err == nil && strings.HasPrefix(path, "~/") {
		return dir + path[1:]
	}
	return path
}

// agentSocket reads ssh_config's IdentityAgent.
func agentSocket(value string) string {
	switch {
	case value == "none":
		return ""
	case value == "SSH_AUTH_SOCK":
		return os.Getenv(value)
	case strings.HasPrefix(value, "$"):
		return os.Getenv(strings.Trim(value, "${}"))
	}
	return home(value)
}

// offer are the keys to log in to a host with.
type offer struct {
	signers []ssh.Signer
	names   []string // of the keys, and why others are not among them
	close   func()
}

// offer collects the environment's keys and, for a given host, the user's.
func (c *Client) offer(ctx context.Context, h core.Host) (offer, error) {
	o := offer{close: func() {}, names: []string{"the environment's own key"}}
	for _, k := range c.keys() {
		o.signers = append(o.signers, k.signer)
	}
	s, err := c.settings(ctx, h)
	if err != nil || h.Given == nil || c.alone {
		return o, err
	}
	var locked []string // public halves of keys that only an agent can use
	for _, file := range s.identities {
		text, err := os.ReadFile(file)
		if err != nil {
			if h.Given.Key != "" {
				o.names = append(o.names, fmt.Sprintf("not %s (%v)", file, errors.Unwrap(err)))
			}
			continue
		}
		if signer, err := ssh.ParsePrivateKey(text); err == nil {
			o.signers, o.names = append(o.signers, signer), append(o.names, file)
			continue
		}
		if public, err := os.ReadFile(strings.TrimSuffix(file, ".pub") + ".pub"); err == nil {
			if key, _, _, _, err := ssh.ParseAuthorizedKey(public); err == nil {
				locked = append(locked, authorized(key))
			}
		}
		o.names = append(o.names, fmt.Sprintf("%s if the agent has it", file))
	}
	if s.agent == "" {
		return o, nil
	}
	socket, err := new(net.Dialer).DialContext(ctx, "unix", s.agent)
	if err != nil {
		o.names = append(o.names, "none of the agent, which does not answer")
		return o, nil //nolint:nilerr // the other keys may do; else the names tell
	}
	o.close = func() { _ = socket.Close() }
	held, err := agent.NewClient(socket).Signers()
	n := 0
	for _, signer := range held {
		if !s.only || slices.Contains(locked, authorized(signer.PublicKey())) {
			o.signers = append(o.signers, signer)
			n++
		}
	}
	o.names = append(o.names, fmt.Sprintf("%d of the agent", n))
	return o, err
}

// trusted reports whether the user's own files have the key of a given host.
func (s settings) trusted(h core.Host, key ssh.PublicKey) bool {
	for _, file := range s.known {
		check, err := knownhosts.New(file)
		if err == nil && check(address(h), &net.TCPAddr{}, key) == nil {
			return true
		}
	}
	return false
}

// UnknownHostError: nobody has said yet that the key of a given host is its own.
type UnknownHostError struct {
	Host             core.HostName
	Address, Command string // the command pins the key
	Key              string // authorized_keys format
}

func (e *UnknownHostError) Error() string { return e.state() + "; " + e.remedy() }

func (e *UnknownHostError) state() string {
	return fmt.Sprintf("the host key of %s (%s) is not known yet: %s", e.Host, e.Address, Fingerprint(e.Key))
}

func (e *UnknownHostError) remedy() string {
	return fmt.Sprintf("compare it with ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub on the host; then %s, or write into its block: host_key = %q", e.Command, e.Key)
}

// RefusedError: a given host refuses every key for its user.
type RefusedError struct {
	Host    core.Host
	Offered []string
	Key     string // of the environment, in authorized_keys format
}

func (e *RefusedError) Error() string { return e.state() + "; " + e.remedy() }

func (e *RefusedError) state() string {
	return fmt.Sprintf("refuses every key for the user %s (offered: %s)", e.Host.User, strings.Join(e.Offered, ", "))
}

func (e *RefusedError) remedy() string {
	return fmt.Sprintf(`name a key that it accepts in its block, such as key = "~/.ssh/id_ed25519", or add the environment's to ~%s/.ssh/authorized_keys there: %s`, e.Host.User, e.Key)
}

// refused reports whether a host answered and accepts none of our keys. The library has no type for it.
func refused(err error) bool {
	return strings.Contains(err.Error(), "unable to authenticate") || strings.Contains(err.Error(), "Too many authentication failures")
}

// SudoError: the user of a given host cannot become root.
type SudoError struct {
	User, Text string
}

func (e *SudoError) Error() string { return e.state() + "; " + e.remedy() }

func (e *SudoError) missing() bool { return strings.Contains(e.Text, "not found") }

func (e *SudoError) state() string {
	if e.missing() {
		return "there is no sudo on it"
	}
	return fmt.Sprintf("sudo refuses the user %s without a password (%s)", e.User, strings.TrimPrefix(e.Text, "sudo: "))
}

func (e *SudoError) remedy() string {
	if e.missing() {
		return "as root there: apt-get install sudo"
	}
	return fmt.Sprintf("as root there: echo '%[1]s ALL=(ALL) NOPASSWD: ALL' > /etc/sudoers.d/%[1]s", e.User)
}

// Explain says why a host could not be reached, or its user not become root, and what to do.
func (c *Client) Explain(h core.Host, err error) (text, remedy string) {
	said, ok := errors.AsType[interface {
		error
		state() string
		remedy() string
	}](err)
	if ok {
		return said.state(), said.remedy()
	}
	o := c.obstacle(h, err)
	return o.state, o.remedy
}

// Root checks that the user of a host can become root; if not, the error is a *SudoError.
func (c *Client) Root(ctx context.Context, h core.Host) error {
	_, err := c.RunRoot(ctx, h, "true", nil)
	if exit, ok := errors.AsType[*ssh.ExitError](err); ok {
		_, text, _ := strings.Cut(err.Error(), exit.Error()+": ")
		return &SudoError{User: h.User, Text: text}
	}
	return err
}

// dialHost opens the connection that SSH runs over.
func (c *Client) dialHost(ctx context.Context, h core.Host) (net.Conn, error) {
	s, err := c.settings(ctx, h)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errLocal, err)
	}
	name, port := cmp.Or(s.name, h.Address), strconv.Itoa(cmp.Or(h.Port, 22))
	if s.proxy == "" || s.proxy == "none" {
		return new(net.Dialer).DialContext(ctx, "tcp", net.JoinHostPort(name, port))
	}
	return startProxy(strings.NewReplacer("%%", "%", "%h", name, "%n", h.Address, "%p", port, "%r", h.User).Replace(s.proxy))
}

// proxied is a stream through the input and output of a command.
type proxied struct {
	io.ReadCloser
	io.WriteCloser

	cmd    *exec.Cmd
	stderr *limited
	ended  chan struct{}
}

// proxyConn is a connection over one.
type proxyConn struct {
	net.Conn

	over *proxied
}

// startProxy starts a command, which ends with the connection.
func startProxy(command string) (net.Conn, error) {
	p := &proxied{cmd: exec.Command("sh", "-c", "exec "+command), stderr: &limited{}, ended: make(chan struct{})} //nolint:noctx // lives as long as the connection
	p.cmd.Stderr, p.cmd.WaitDelay = p.stderr, time.Second
	in, err := p.cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, writer := io.Pipe()
	p.cmd.Stdout, p.WriteCloser, p.ReadCloser = writer, in, out
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("%w: %w", errLocal, err)
	}
	go func() {
		defer close(p.ended)
		_ = p.cmd.Wait()
		_ = writer.Close()
	}()
	return proxyConn{Conn: withDeadlines(p), over: p}, nil
}

func (p *proxied) Close() error {
	_ = p.WriteCloser.Close()
	_ = p.ReadCloser.Close()
	select {
	case <-p.ended:
	case <-time.After(time.Second):
		_ = p.cmd.Process.Kill()
		<-p.ended
	}
	return nil
}

// said returns what the command said before it ended, if it has, in place of err.
func (c proxyConn) said(err error) error {
	select {
	case <-c.over.ended:
		if text := lastLines(c.over.stderr.Bytes(), 2); text != "" {
			return &proxyError{text}
		}
	case <-time.After(time.Second):
	}
	return err
}

// proxyError is what a command of ProxyCommand or ProxyJump said before it ended.
type proxyError struct{ text string }

func (e *proxyError) Error() string { return e.text }

// configure writes the file in ssh_config's format with which OpenSSH's programs reach hosts as this client does, and
// returns its path; "none" if no host is given or behind another.
func (c *Client) configure(ctx context.Context, hosts []core.Host) (string, error) {
	var b strings.Builder
	count := map[string]int{}
	for _, h := range hosts {
		count[h.Address]++
	}
	for _, h := range hosts {
		s, err := c.settings(ctx, h)
		if err != nil {
			return "", err
		}
		if h.Given == nil && s.proxy == "" {
			continue
		}
		fmt.Fprintf(&b, "Match originalhost %s", h.Address)
		if count[h.Address] > 1 {
			fmt.Fprintf(&b, ` exec "test %%p = %d"`, cmp.Or(h.Port, 22))
		}
		b.WriteString("\n")
		if s.name != "" {
			fmt.Fprintf(&b, "  HostName %s\n  HostKeyAlias %s\n", s.name, knownhosts.Normalize(address(h)))
		}
		if s.proxy != "" {
			fmt.Fprintf(&b, "  ProxyCommand %s\n", s.proxy)
		}
		if s.agent != "" {
			fmt.Fprintf(&b, "  IdentityAgent %s\n", quoteOption(s.agent))
		}
		for _, file := range s.identities {
			fmt.Fprintf(&b, "  IdentityFile %s\n", quoteOption(file))
		}
		fmt.Fprintf(&b, "  IdentitiesOnly %s\n", map[bool]string{true: "yes", false: "no"}[s.only])
	}
	if b.Len() == 0 {
		return "none", nil
	}
	file := filepath.Join(filepath.Dir(c.known.file), "ssh_config")
	b.WriteString("Match all\n  IdentitiesOnly yes\n  IdentityAgent none\n")
	if err := renameio.WriteFile(file, []byte(b.String()), 0o600); err != nil {
		return "", fmt.Errorf("write SSH configuration: %w", err)
	}
	return file, nil
}
