// Package remote connects to the hosts of one environment over SSH, with the environment's own key, pinned host keys and
// shared connections made on first use. It waits for new hosts, runs short commands and tunnels to services; core/ansible
// changes the hosts. core/environment, core/ansible and the command line import it.
package remote

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/seed-b96de936/troop/core"
)

const (
	dialTimeout = 10 * time.Second // one attempt: TCP and handshake
	keepAlive   = 10 * time.Second // interval; a host that misses one is considered gone
	maxOutput   = 16 << 20         // bytes kept of a command's output
)

// Client connects to hosts. It is safe for concurrent use.
type Client struct {
	key      keyPair   // with which hosts are made
	later    []keyPair // of rotations, the newest first
	known    knownHosts
	patience patience
	alone    bool // offer no key of the user

	mu     sync.Mutex
	conns  map[string]*conn // by user@address:port
	given  map[string]settings
	closed bool
}

// conn is the one connection to a host. Only the holder of slot may make or replace client.
type conn struct {
	slot   chan struct{}
	client *ssh.Client
}

// New reads the SSH key in an environment's folder dir, or makes it. The folder also holds the pinned host keys.
func New(dir string) (*Client, error) {
	key, err := openKey(dir)
	if err != nil {
		return nil, err
	}
	later, err := rotated(filepath.Dir(key.file), key)
	if err != nil {
		return nil, err
	}
	return &Client{key: key, later: later, known: knownHosts{file: dir + "/known_hosts"}, patience: usual(), conns: map[string]*conn{}, given: map[string]settings{}}, nil
}

// Admitted returns the public keys of this client that a configuration puts on the hosts, and Retired those that it
// removes from there.
func (c *Client) Admitted() []string { return publics(c.later[:min(1, len(c.later))]) }

// Retired is the other part of Admitted.
func (c *Client) Retired() []string {
	if len(c.later) == 0 {
		return []string{}
	}
	return publics(append(c.later[1:len(c.later):len(c.later)], c.key))
}

func publics(keys []keyPair) []string {
	all := []string{}
	for _, k := range keys {
		all = append(all, k.public)
	}
	return all
}

// keys are the client's keys in the order in which hosts are offered them.
func (c *Client) keys() []keyPair { return append(slices.Clone(c.later), c.key) }

// PublicKey returns the public half of the key in authorized_keys format, without a newline.
func (c *Client) PublicKey() string { return c.key.public }

// KeyFile returns the private key's file.
func (c *Client) KeyFile() string { return c.key.file }

// KnownHostsFile returns the file of pinned host keys.
func (c *Client) KnownHostsFile() string { return c.known.file }

// Run runs a command in the login shell of the host's user and returns its standard output. The error of a failed command
// contains the end of its standard error and wraps *ssh.ExitError. stdin may be nil. When ctx ends, the channel is closed,
// which sends SIGHUP only to commands with a terminal.
func (c *Client) Run(ctx context.Context, h core.Host, command string, stdin io.Reader) ([]byte, error) {
	var stdout, stderr limited
	err := c.session(ctx, h, func(s *ssh.Session) error {
		stdout.Reset()
		stderr.Reset()
		s.Stdin, s.Stdout, s.Stderr = stdin, &stdout, &stderr
		stop := context.AfterFunc(ctx, func() { _ = s.Close() })
		defer stop()
		return s.Run(command)
	})
	switch {
	case err == nil:
		return stdout.Bytes(), nil
	case ctx.Err() != nil:
		return stdout.Bytes(), fmt.Errorf("run command on %s: %w", h.Name, context.Cause(ctx))
	}
	if text := lastLines(stderr.Bytes(), 3); text != "" {
		err = fmt.Errorf("%w: %s", err, text)
	}
	return stdout.Bytes(), fmt.Errorf("run command on %s: %w", h.Name, err)
}

// Exited reports whether an error of Run means that the command ran and exited with a status other than 0.
func Exited(err error) bool { return errors.As(err, new(*ssh.ExitError)) }

// RunRoot is Run as root. Users other than root need sudo without a password.
func (c *Client) RunRoot(ctx context.Context, h core.Host, command string, stdin io.Reader) ([]byte, error) {
	if h.User != "root" {
		command = "sudo -n sh -c " + Quote(command)
	}
	return c.Run(ctx, h, command, stdin)
}

// Stream is RunRoot for a command that goes on: it calls each with every line of standard output as it comes. The command's
// standard input ends with ctx, or with the connection.
func (c *Client) Stream(ctx context.Context, h core.Host, command string, each func(line []byte)) error {
	if h.User != "root" {
		command = "sudo -n sh -c " + Quote(command)
	}
	var stderr limited
	err := c.session(ctx, h, func(s *ssh.Session) error {
		s.Stderr = &stderr
		if _, err := s.StdinPipe(); err != nil { // open as long as the session
			return err
		}
		stdout, err := s.StdoutPipe()
		if err != nil {
			return err
		}
		if err := s.Start(command); err != nil {
			return err
		}
		stop := context.AfterFunc(ctx, func() { _ = s.Close() })
		defer stop()
		const longest = 1 << 20
		lines := bufio.NewScanner(stdout)
		lines.Buffer(nil, longest)
		for lines.Scan() {
			each(lines.Bytes())
		}
		if err := lines.Err(); err != nil {
			return err
		}
		return s.Wait()
	})
	if text := lastLines(stderr.Bytes(), 3); err != nil && text != "" {
		err = fmt.Errorf("%w: %s", err, text)
	}
	return causeOr(ctx, err)
}

// DialContext opens a TCP connection from the host to addr, which the host resolves. The connection supports deadlines,
// as clients such as go-redis need.
func (c *Client) DialContext(ctx context.Context, h core.Host, network, addr string) (net.Conn, error) {
	var far net.Conn
	err := c.try(ctx, h, func(client *ssh.Client) (err error) {
		far, err = client.DialContext(ctx, network, addr)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("dial %s through %s: %w", addr, h.Name, err)
	}
	return withDeadlines(far), nil
}

// Dialer returns DialContext bound to one host.
func (c *Client) Dialer(h core.Host) func(ctx context.Context, network, addr string) (net.Conn, error) {
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		return c.DialContext(ctx, h, network, addr)
	}
}

// Close closes all connections. Running and later calls fail.
func (c *Client) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	c.disconnect()
	return nil
}

// Disconnect closes all connections, for example after hosts were replaced. Running calls fail; later ones reconnect.
func (c *Client) Disconnect() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.disconnect()
}

func (c *Client) disconnect() {
	for _, x := range c.conns {
		select {
		case x.slot <- struct{}{}:
			if x.client != nil {
				_ = x.client.Close()
			}
			<-x.slot
		default: // being dialled: the dialler checks closed
		}
	}
	clear(c.conns)
}

func (c *Client) session(ctx context.Context, h core.Host, do func(*ssh.Session) error) error {
	var s *ssh.Session
	err := c.try(ctx, h, func(client *ssh.Client) (err error) {
		s, err = client.NewSession()
		return err
	})
	if err != nil {
		return err
	}
	defer func() { _ = s.Close() }()
	return do(s)
}

// try opens a channel on the host's connection. It reconnects once if the connection has died since its last use.
func (c *Client) try(ctx context.Context, h core.Host, open func(*ssh.Client) error) error {
	for attempt := 0; ; attempt++ {
		client, err := c.connect(ctx, h)
		if err != nil {
			return err
		}
		err = open(client)
		if refused := new(ssh.OpenChannelError); err == nil || attempt > 0 || ctx.Err() != nil || errors.As(err, &refused) {
			return err
		}
		_ = client.Close()
		c.forget(h, client)
	}
}

// connect returns the host's connection and dials if there is none.
func (c *Client) connect(ctx context.Context, h core.Host) (*ssh.Client, error) {
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		return nil, net.ErrClosed
	}
	x := c.conns[login(h)]
	if x == nil {
		x = &conn{slot: make(chan struct{}, 1)}
		c.conns[login(h)] = x
	}
	c.mu.Unlock()

	select {
	case x.slot <- struct{}{}:
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	defer func() { <-x.slot }()
	if x.client != nil {
		return x.client, nil
	}
	client, err := c.dial(ctx, h)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	closed := c.closed
	c.mu.Unlock()
	if closed {
		_ = client.Close()
		return nil, net.ErrClosed
	}
	x.client = client
	go c.watch(h, client)
	return client, nil
}

// errLocal: the cause is on this machine, not on the host.
var errLocal = errors.New("connect")

// noAnswer: a host did not answer in time.
type noAnswer struct{ after time.Duration }

func (e noAnswer) Error() string { return fmt.Sprintf("no answer within %s", e.after) }

func (c *Client) dial(ctx context.Context, h core.Host) (*ssh.Client, error) {
	keys, err := c.offer(ctx, h)
	defer keys.close()
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errLocal, err)
	}
	conf, err := c.config(ctx, h, keys.signers)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errLocal, err)
	}
	client, err := c.handshake(ctx, h, conf)
	if err != nil && h.Given != nil && refused(err) {
		err = &RefusedError{Host: h, Offered: keys.names, Key: c.keys()[0].public}
	}
	return client, err
}

// handshake makes a connection; its timeout is dialTimeout.
func (c *Client) handshake(ctx context.Context, h core.Host, conf *ssh.ClientConfig) (*ssh.Client, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, dialTimeout, noAnswer{dialTimeout})
	defer cancel()
	addr := address(h)
	nc, err := c.dialHost(ctx, h)
	if err != nil {
		return nil, causeOr(ctx, err)
	}
	stop := context.AfterFunc(ctx, func() { _ = nc.Close() })
	defer stop()
	sc, channels, requests, err := ssh.NewClientConn(nc, addr, conf)
	if err != nil {
		if through, ok := nc.(proxyConn); ok && ctx.Err() == nil && (errors.Is(err, io.EOF) || errors.Is(err, io.ErrClosedPipe)) {
			err = through.said(err)
		}
		_ = nc.Close()
		return nil, causeOr(ctx, err)
	}
	return ssh.NewClient(sc, channels, requests), nil
}

func (c *Client) config(ctx context.Context, h core.Host, signers []ssh.Signer) (*ssh.ClientConfig, error) {
	algorithms, err := c.known.algorithms(h)
	if err != nil {
		return nil, err
	}
	s, err := c.settings(ctx, h)
	if err != nil {
		return nil, err
	}
	return &ssh.ClientConfig{
		User:              h.User,
		Auth:              []ssh.AuthMethod{ssh.PublicKeys(signers...)},
		HostKeyAlgorithms: algorithms,
		HostKeyCallback:   func(_ string, _ net.Addr, key ssh.PublicKey) error { return c.known.check(h, key, s) },
	}, nil
}

// watch drops a connection when it ends, and closes it if the host misses a keep-alive.
func (c *Client) watch(h core.Host, client *ssh.Client) {
	ended := make(chan struct{})
	go func() {
		_ = client.Wait()
		close(ended)
	}()
	tick := time.NewTicker(keepAlive)
	defer tick.Stop()
	for {
		select {
		case <-ended:
			c.forget(h, client)
			return
		case <-tick.C:
			late := time.AfterFunc(keepAlive, func() { _ = client.Close() })
			_, _, _ = client.SendRequest("keepalive@openssh.com", true, nil)
			late.Stop()
		}
	}
}

func (c *Client) forget(h core.Host, client *ssh.Client) {
	c.mu.Lock()
	x := c.conns[login(h)]
	c.mu.Unlock()
	if x == nil {
		return
	}
	x.slot <- struct{}{}
	if x.client == client {
		x.client = nil
	}
	<-x.slot
}

func address(h core.Host) string {
	port := h.Port
	if port == 0 {
		port = 22
	}
	return net.JoinHostPort(h.Address, strconv.Itoa(port))
}

func login(h core.Host) string { return h.User + "@" + address(h) }

// causeOr returns the cause of ctx instead of an error that only says that ctx ended.
func causeOr(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// Quote quotes s as one word for a POSIX shell.
func Quote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

func lastLines(b []byte, n int) string {
	lines := strings.Split(strings.TrimSpace(string(b)), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "; ")
}

// limited is a writer that keeps the first maxOutput bytes and discards the rest.
type limited struct{ bytes.Buffer }

func (l *limited) Write(p []byte) (int, error) {
	if room := maxOutput - l.Len(); room > 0 {
		l.Buffer.Write(p[:min(room, len(p))])
	}
	return len(p), nil
}
