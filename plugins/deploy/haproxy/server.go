package haproxy

import (
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// Server is one server of a backend as HAProxy sees it.
type Server struct {
	Address  string // host:port
	Admin    Admin
	Up, Down bool   // result of HAProxy's health check; both false before the first check
	Sessions int    // requests in flight
	Downs    int64  // how often HAProxy found it down, since HAProxy started
	Check    string // what the last health check found, if it is bad
}

// Admin is the administrative state of a server.
type Admin string

// The administrative states.
const (
	Ready       Admin = "ready"
	Drain       Admin = "drain" // gets no new requests, finishes those it has
	Maintenance Admin = "maint" // gets no requests and is not checked
)

// SetState changes the administrative state of the server "POOL/SERVER".
func (c Client) SetState(ctx context.Context, server string, a Admin) error {
	return c.tell(ctx, fmt.Sprintf("set server %s state %s", c.prefix+server, a))
}

// State is the text that HAProxy loads after a reload, so that the servers keep their states.
type State string

// Timeless is the state without the column that counts seconds: equal texts mean that no server changed.
func (s State) Timeless() string {
	const sinceLastChange = 9
	var b strings.Builder
	for line := range strings.Lines(string(s)) {
		if f := strings.Fields(line); len(f) > sinceLastChange && f[0] != "#" {
			f[sinceLastChange] = "-"
			line = strings.Join(f, " ") + "\n"
		}
		b.WriteString(line)
	}
	return b.String()
}

// admins returns the administrative states by "BACKEND/SERVER".
func (s State) admins() (map[string]Admin, error) {
	if !strings.HasPrefix(string(s), "1\n") {
		return nil, fmt.Errorf("read the servers' state: HAProxy answers %q", strings.TrimSpace(string(s)))
	}
	admins := map[string]Admin{}
	for line := range strings.Lines(string(s)) {
		const backend, name, adminState = 1, 3, 6
		if f := strings.Fields(line); len(f) > adminState && f[0] != "#" {
			bits, err := strconv.Atoi(f[adminState])
			if err != nil {
				return nil, fmt.Errorf("read the servers' state: %w", err)
			}
			admins[f[backend]+"/"+f[name]] = adminOf(bits)
		}
	}
	return admins, nil
}

// adminOf reads srv_admin_state: maintenance and drain, each forced, inherited or set by name resolution. The bit 0x04
// only says that the server was in maintenance when HAProxy started.
func adminOf(bits int) Admin {
	const maintenanceBits, drainBits = 0x01 | 0x02 | 0x20, 0x08 | 0x10
	switch {
	case bits&maintenanceBits != 0:
		return Maintenance
	case bits&drainBits != 0:
		return Drain
	}
	return Ready
}

// Servers returns the servers of the caller's pools by "POOL/SERVER", and the state to load after a reload, which is of all.
func (c Client) Servers(ctx context.Context) (map[string]Server, State, error) {
	text, err := c.Ask(ctx, "show servers state")
	if err != nil {
		return nil, "", err
	}
	state := State(text)
	admins, err := state.admins()
	if err != nil {
		return nil, "", err
	}
	const allServers = "show stat -1 4 -1"
	if text, err = c.Ask(ctx, allServers); err != nil {
		return nil, "", err
	}
	all, err := statistics(text)
	servers := map[string]Server{}
	for name, s := range all {
		s.Admin = admins[name]
		if own, ok := c.Pool(name); ok {
			servers[own] = s
		}
	}
	return servers, state, err
}

// statistics reads address, health and load of all servers from HAProxy's CSV.
func statistics(text string) (map[string]Server, error) {
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
	servers := map[string]Server{}
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
		downs, _ := strconv.ParseInt(get("chkdown"), 10, 64)
		servers[get("pxname")+"/"+get("svname")] = Server{
			Address: get("addr"), Sessions: current + queued, Downs: downs,
			// A server that left maintenance counts as UP before its first check, and still shows the result of a check
			// from before the maintenance.
			Up:    strings.HasPrefix(get("status"), "UP") && strings.HasSuffix(get("check_status"), "OK"),
			Down:  strings.HasPrefix(get("status"), "DOWN"),
			Check: checked(get("check_status"), get("check_code")),
		}
	}
	return servers, nil
}

// checked says what a health check found, which HAProxy gives as a code.
func checked(status, code string) string {
	switch {
	case status == "INI" || strings.HasSuffix(status, "OK"): // INI: there was none yet
		return ""
	case strings.HasPrefix(status, "L7") && code != "" && code != "0":
		return "answers " + code
	}
	said, ok := map[string]string{
		"L4CON": "the connection is refused", "L4TOUT": "there is no connection in time", "L6RSP": "the answer is not HTTP",
		"L7RSP": "the answer is not HTTP", "L7TOUT": "there is no answer in time",
	}[status]
	if !ok {
		return strings.TrimSpace(status)
	}
	return said
}
