package haproxy

import (
	"bufio"
	"net"
	"path/filepath"
	"strings"
	"testing"
)

// Answers of HAProxy 2.6, shortened to the columns that matter.
const (
	stateText = `1
# be_id be_name srv_id srv_name srv_addr srv_op_state srv_admin_state srv_uweight srv_iweight srv_time_since_last_change
4 production 1 web-1-a 127.0.0.1 2 4 1 1 17
4 production 2 web-1-b 127.0.0.1 2 5 1 1 18
5 canary 1 canary-1-a 127.0.0.1 2 12 1 1 19
`
	statText = `# pxname,svname,qcur,scur,status,check_status,addr,
production,web-1-a,1,2,UP,L7OK,127.0.0.1:21000,
production,web-1-b,0,0,MAINT,,127.0.0.1:21001,
canary,canary-1-a,0,3,UP,INI,127.0.0.1:21002,
canary,canary-1-b,0,0,DOWN,L4CON,127.0.0.1:21003,

`
)

// standIn answers each command as the map says, and records all.
func standIn(t *testing.T, answers map[string]string) (c Client, commands chan string) {
	t.Helper()
	socket := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	commands = make(chan string, 10)
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			line, _ := bufio.NewReader(conn).ReadString('\n')
			line = strings.TrimSpace(line)
			commands <- line
			_, _ = conn.Write([]byte(answers[line]))
			_ = conn.Close()
		}
	}()
	return New(socket, ""), commands
}

func TestServers(t *testing.T) {
	t.Parallel()
	c, _ := standIn(t, map[string]string{"show servers state": stateText, "show stat -1 4 -1": statText})
	servers, state, err := c.Servers(t.Context())
	if err != nil || state != stateText {
		t.Fatalf("got %v and the state %q", err, state)
	}
	for name, want := range map[string]Server{
		"production/web-1-a": {Address: "127.0.0.1:21000", Admin: Ready, Up: true, Sessions: 3},
		"production/web-1-b": {Address: "127.0.0.1:21001", Admin: Maintenance},
		"canary/canary-1-a":  {Address: "127.0.0.1:21002", Admin: Drain, Sessions: 3}, // no check since its maintenance
		"canary/canary-1-b":  {Address: "127.0.0.1:21003", Down: true, Check: "the connection is refused"},
	} {
		if servers[name] != want {
			t.Errorf("%s: got %+v, want %+v", name, servers[name], want)
		}
	}
}

func TestServersRefusesWhatIsNoState(t *testing.T) {
	t.Parallel()
	c, _ := standIn(t, map[string]string{"show servers state": "Unknown command\n"})
	if _, _, err := c.Servers(t.Context()); err == nil || !strings.Contains(err.Error(), "Unknown command") {
		t.Errorf("got %v", err)
	}
}

func TestTimeless(t *testing.T) {
	t.Parallel()
	older := State(strings.Replace(stateText, "1 1 17", "1 1 99", 1))
	other := State(strings.Replace(stateText, "2 5 1 1", "2 4 1 1", 1))
	if older.Timeless() != State(stateText).Timeless() {
		t.Error("a second is a change")
	}
	if other.Timeless() == State(stateText).Timeless() {
		t.Error("a server that left maintenance is no change")
	}
}

func TestAdminOf(t *testing.T) {
	t.Parallel()
	for bits, want := range map[int]Admin{
		0x00: Ready, 0x04: Ready, 0x40: Ready,
		0x01: Maintenance, 0x02: Maintenance, 0x20: Maintenance, 0x05: Maintenance, 0x09: Maintenance,
		0x08: Drain, 0x10: Drain, 0x0c: Drain,
	} {
		if got := adminOf(bits); got != want {
			t.Errorf("%#02x: got %s, want %s", bits, got, want)
		}
	}
}

func TestCommands(t *testing.T) {
	t.Parallel()
	c, commands := standIn(t, map[string]string{
		"show map /w":               "0x1 canary 1\n0x2 total 3\n\n",
		"set server a/b state bad!": "'bad!' is not a state\n",
	})
	if err := c.SetMap(t.Context(), "/w", Entry{"total", "3"}, Entry{"canary", "1"}); err != nil {
		t.Error(err)
	}
	if got, want := <-commands, "set map /w total 3;set map /w canary 1"; got != want {
		t.Errorf("sent %q, want %q: in order, in one line", got, want)
	}
	if m, err := c.Map(t.Context(), "/w"); err != nil || m["canary"] != "1" || m["total"] != "3" {
		t.Errorf("got %v and %v", m, err)
	}
	if err := c.SetState(t.Context(), "a/b", "bad!"); err == nil || !strings.Contains(err.Error(), "is not a state") {
		t.Errorf("a refused command gave %v", err)
	}
}

func TestLog(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "l")
	old, err := ListenLog(path)
	if err != nil {
		t.Fatal(err)
	}
	_ = old.Close() // leaves its socket behind, as a killed agent does
	l, err := ListenLog(path)
	if err != nil {
		t.Fatal(err)
	}
	out, err := net.Dial("unixgram", path)
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{"Proxy canary started.", "canary canary-1-a -1 -1 20 0 /a", "production web-1-a 200 7 +9 1 cart of a shop"} {
		if _, err := out.Write([]byte(line)); err != nil {
			t.Fatal(err)
		}
	}
	var got []Request
	l.Each(func(r Request) {
		if got = append(got, r); len(got) == 2 {
			_ = l.Close()
		}
	})
	if len(got) != 2 || got[0].First >= 0 || got[1].First.Milliseconds() != 7 || got[1].Last.Milliseconds() != 9 || got[1].Status != 200 || got[0].Missed || !got[1].Missed || got[0].Class != "/a" || got[1].Class != "cart of a shop" {
		t.Errorf("got %+v", got)
	}
}
