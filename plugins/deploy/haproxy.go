package main

import (
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"time"
)

// haproxy speaks to HAProxy's admin socket, one connection a command. Safe for concurrent use.
type haproxy struct{ socket string }

// answerTime is how long HAProxy may take for one command.
const answerTime = 2 * time.Second

// ask sends one line, which may hold several commands between semicolons, and returns what HAProxy says.
func (h haproxy) ask(ctx context.Context, line string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	conn, err := new(net.Dialer).DialContext(ctx, "unix", h.socket)
	if err != nil {
		return "", fmt.Errorf("reach HAProxy: %w", err)
	}
	defer func() { _ = conn.Close() }() // all was read, or the error says so
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

// tell sends commands that say nothing when they succeed.
func (h haproxy) tell(ctx context.Context, commands ...string) error {
	answer, err := h.ask(ctx, strings.Join(commands, ";"))
	if err != nil {
		return err
	}
	if answer = strings.TrimSpace(answer); answer != "" {
		return fmt.Errorf("HAProxy refused %q: %s", strings.Join(commands, "; "), answer)
	}
	return nil
}

// server is one slot of a host as HAProxy sees it.
type server struct {
	Address  string // host:port
	Admin    admin
	Up, Down bool // what HAProxy's own check found; neither before the first
	Sessions int  // requests in flight
}

// admin is what HAProxy was told to do with a server.
type admin string

const (
	ready       admin = "ready"
	draining    admin = "drain" // finishes what it has
	maintenance admin = "maint" // gets nothing, is not checked
)

// servers returns all servers by "BACKEND/SERVER", and the text that HAProxy loads after a reload.
func (h haproxy) servers(ctx context.Context) (map[string]server, string, error) {
	state, err := h.ask(ctx, "show servers state")
	if err != nil {
		return nil, "", err
	}
	if !strings.HasPrefix(state, "1\n") {
		return nil, "", fmt.Errorf("read the servers' state: HAProxy says %q", strings.TrimSpace(state))
	}
	admins := map[string]admin{}
	for line := range strings.Lines(state) {
		const backend, name, adminState = 1, 3, 6
		if f := strings.Fields(line); len(f) > adminState && f[0] != "#" {
			bits, err := strconv.Atoi(f[adminState])
			if err != nil {
				return nil, "", fmt.Errorf("read the servers' state: %w", err)
			}
			admins[f[backend]+"/"+f[name]] = adminOf(bits)
		}
	}
	servers, err := h.statistics(ctx)
	for name, s := range servers {
		s.Admin = admins[name]
		servers[name] = s
	}
	return servers, state, err
}

// adminOf reads srv_admin_state: maintenance and drain, each forced, inherited or by name resolution. The bit that
// says that the configuration began with maintenance means nothing for the present.
func adminOf(bits int) admin {
	const maintenanceBits, drainBits = 0x01 | 0x02 | 0x20, 0x08 | 0x10
	switch {
	case bits&maintenanceBits != 0:
		return maintenance
	case bits&drainBits != 0:
		return draining
	}
	return ready
}

// statistics returns address, health and load of all servers.
func (h haproxy) statistics(ctx context.Context) (map[string]server, error) {
	const allServers = "show stat -1 4 -1"
	text, err := h.ask(ctx, allServers)
	if err != nil {
		return nil, err
	}
	r := csv.NewReader(strings.NewReader(strings.TrimPrefix(text, "# ")))
	r.FieldsPerRecord = -1
	rows, err := r.ReadAll()
	if err != nil {
		return nil, fmt.Errorf("read HAProxy's statistics: %w", err)
	}
	if len(rows) == 0 {
		return nil, errors.New("read HAProxy's statistics: they are empty")
	}
	column := map[string]int{}
	for i, name := range rows[0] {
		column[name] = i
	}
	servers := map[string]server{}
	for _, row := range rows[1:] {
		get := func(name string) string {
			if i, ok := column[name]; ok && i < len(row) {
				return row[i]
			}
			return ""
		}
		if get("svname") == "" {
			continue
		}
		// scur counts requests in flight, qcur those that wait for this server.
		current, _ := strconv.Atoi(get("scur"))
		queued, _ := strconv.Atoi(get("qcur"))
		servers[get("pxname")+"/"+get("svname")] = server{
			Address: get("addr"), Sessions: current + queued,
			// A server that left maintenance counts as up until its first check, and shows the result of a former life.
			Up:   strings.HasPrefix(get("status"), "UP") && strings.HasSuffix(get("check_status"), "OK"),
			Down: strings.HasPrefix(get("status"), "DOWN"),
		}
	}
	return servers, nil
}

// setState tells HAProxy what to do with a server.
func (h haproxy) setState(ctx context.Context, name string, a admin) error {
	return h.tell(ctx, fmt.Sprintf("set server %s state %s", name, a))
}

// mapValues returns the entries of a map by key.
func (h haproxy) mapValues(ctx context.Context, file string) (map[string]string, error) {
	text, err := h.ask(ctx, "show map "+file)
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
