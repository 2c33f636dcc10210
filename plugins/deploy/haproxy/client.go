// Package haproxy speaks to a running HAProxy: commands through its admin socket, and the line that it logs for each
// request. It knows HAProxy's formats and nothing of releases. Used by the deploy agent on the router.
package haproxy

import (
	"context"
	"fmt"
	"io"
	"net"
	"strings"
	"time"
)

// Client sends commands to HAProxy's admin socket, each over a connection of its own. Safe for concurrent use.
type Client struct {
	socket string
	prefix string
}

// New returns a client of the admin socket at a path. It does not connect yet. Its pools are the backends with a prefix, which
// ends with a dot; without one, those whose names have no dot.
func New(socket, prefix string) Client { return Client{socket: socket, prefix: prefix} }

// Pool is the pool of a backend; ok is false for a backend of others.
func (c Client) Pool(backend string) (pool string, ok bool) {
	pool, ok = strings.CutPrefix(backend, c.prefix)
	return pool, ok && !strings.Contains(pool, ".")
}

// answerTime is how long HAProxy may take for one command.
const answerTime = 2 * time.Second

// Ask sends one line, which may hold several commands between semicolons, and returns HAProxy's answer.
func (c Client) Ask(ctx context.Context, line string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	conn, err := new(net.Dialer).DialContext(ctx, "unix", c.socket)
	if err != nil {
		return "", fmt.Errorf("reach HAProxy: %w", err)
	}
	defer func() { _ = conn.Close() }() // everything was read, or the error is returned
	deadline, _ := ctx.Deadline()
	if err := conn.SetDeadline(deadline); err != nil {
		return "", fmt.Errorf("reach HAProxy: %w", err)
	}
	if _, err := io.WriteString(conn, line+"\n"); err != nil {
		return "", fmt.Errorf("ask HAProxy: %w", err)
	}
	answer, err := io.ReadAll(conn)
	if err != nil {
		return "", fmt.Errorf("ask HAProxy: %w", err)
	}
	return string(answer), nil
}

// tell sends commands that answer nothing when they succeed.
func (c Client) tell(ctx context.Context, commands ...string) error {
	answer, err := c.Ask(ctx, strings.Join(commands, ";"))
	if err != nil {
		return err
	}
	if answer = strings.TrimSpace(answer); answer != "" {
		return fmt.Errorf("HAProxy refused %q: %s", strings.Join(commands, "; "), answer)
	}
	return nil
}

// Entry is one key of a map with its value.
type Entry struct{ Key, Value string }

// SetMap sets keys that a map already has, in order. The map's file is not changed.
func (c Client) SetMap(ctx context.Context, file string, entries ...Entry) error {
	var commands []string
	for _, e := range entries {
		commands = append(commands, fmt.Sprintf("set map %s %s %s", file, e.Key, e.Value))
	}
	return c.tell(ctx, commands...)
}

// AddMap adds keys that a map does not have. The map's file is not changed.
func (c Client) AddMap(ctx context.Context, file string, entries ...Entry) error {
	var commands []string
	for _, e := range entries {
		commands = append(commands, fmt.Sprintf("add map %s %s %s", file, e.Key, e.Value))
	}
	return c.tell(ctx, commands...)
}

// SetCertificate replaces a certificate that HAProxy has loaded from a file. The file is not changed.
func (c Client) SetCertificate(ctx context.Context, file, text string) error {
	answer, err := c.Ask(ctx, fmt.Sprintf("set ssl cert %s <<\n%s\n", file, strings.TrimSpace(text)))
	if err == nil && strings.Contains(answer, "ransaction") {
		answer, err = c.Ask(ctx, "commit ssl cert "+file)
	}
	if err == nil && !strings.Contains(answer, "Success!") {
		err = fmt.Errorf("HAProxy refused the certificate: %s", strings.TrimSpace(answer))
	}
	if err != nil {
		_, _ = c.Ask(ctx, "abort ssl cert "+file) // else the next one is refused; the first error tells more
	}
	return err
}

// Map returns the values of a map by key.
func (c Client) Map(ctx context.Context, file string) (map[string]string, error) {
	text, err := c.Ask(ctx, "show map "+file)
	if err != nil {
		return nil, err
	}
	values := map[string]string{}
	for line := range strings.Lines(text) {
		if f := strings.Fields(line); len(f) == 3 {
			values[f[1]] = f[2]
		}
	}
	return values, nil
}
