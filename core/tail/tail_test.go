package tail_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/seed-b96de936/troop/core"
	"github.com/seed-b96de936/troop/core/tail"
)

// fake is two hosts. What each sends in each of its connections is written beforehand.
type fake struct {
	mu    sync.Mutex
	sends map[core.HostName][]string // a connection each: lines, and ! at the end where it breaks
	asked []string
}

func (f *fake) Stream(ctx context.Context, h core.Host, command string, each func([]byte)) error {
	f.mu.Lock()
	f.asked = append(f.asked, command[strings.LastIndex(command, "'{"):])
	connections := f.sends[h.Name]
	if len(connections) == 0 {
		f.mu.Unlock()
		<-ctx.Done()
		return context.Cause(ctx)
	}
	f.sends[h.Name] = connections[1:]
	f.mu.Unlock()
	text, breaks := strings.CutSuffix(connections[0], "!")
	for line := range strings.Lines(text) {
		each([]byte(line))
	}
	switch {
	case breaks:
		return errors.New("connection lost")
	case strings.Contains(text, "none"):
		return nil
	}
	<-ctx.Done()
	return context.Cause(ctx)
}

func sent(seconds int, program, text string) string {
	return fmt.Sprintf(`{"time":%d,"service":"shop","program":%q,"text":%q,"cursor":"c%d"}`+"\n", seconds, program, text, seconds)
}

// TestRun merges two hosts of which one goes away and comes back.
func TestRun(t *testing.T) {
	t.Parallel()
	f := &fake{sends: map[core.HostName][]string{
		"web-1":    {sent(1, "", "a") + sent(3, "", "c") + `{"ready":true}` + "\n!", `{"ready":true}` + "\n" + sent(5, "worker", "e")},
		"canary-1": {sent(2, "worker", "b") + sent(4, "", "not this") + sent(4, "", "d") + `{"ready":true}` + "\n"},
		"router-1": {`{"none":true}` + "\n"},
	}}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var lines, said []string
	err := tail.Run(ctx, f, tail.Options{
		Hosts: []core.Host{{Name: "web-1"}, {Name: "canary-1"}, {Name: "router-1"}}, Service: "shop", Follow: true, Grep: regexp.MustCompile("^.$"),
	}, func(l tail.Line) {
		lines = append(lines, strings.Join(strings.Fields(l.String())[1:], " "))
		if l.Text == "e" {
			stop()
		}
	}, func(text string) { said = append(said, text) })
	if !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if want := []string{"web-1 shop a", "canary-1 shop/worker b", "web-1 shop c", "canary-1 shop d", "web-1 shop/worker e"}; !slices.Equal(lines, want) {
		t.Errorf("lines:\n%s\nwant:\n%s", strings.Join(lines, "\n"), strings.Join(want, "\n"))
	}
	if want := []string{"web-1 is away: connection lost; trying again", "web-1 is back"}; !slices.Equal(said, want) {
		t.Errorf("said %q, want %q", said, want)
	}
	if again := f.asked[len(f.asked)-1]; !strings.Contains(again, `"cursor":"c3"`) || !strings.Contains(again, `"since":3`) {
		t.Errorf("after the break: %s", again)
	}
}

// TestPrograms selects by program, and says when no host has the service.
func TestPrograms(t *testing.T) {
	t.Parallel()
	both := sent(1, "", "web") + sent(2, "worker", "work") + `{"ready":true}` + "\n!"
	for name, want := range map[string]string{"": "web work", "shop": "web", "worker": "work", "other": ""} {
		f := &fake{sends: map[core.HostName][]string{"web-1": {both}}}
		ctx, stop := context.WithCancel(t.Context())
		var got []string
		_ = tail.Run(ctx, f, tail.Options{Hosts: []core.Host{{Name: "web-1"}}, Program: name, Follow: true},
			func(l tail.Line) { got = append(got, l.Text) }, func(string) { time.AfterFunc(time.Second, stop) })
		if strings.Join(got, " ") != want {
			t.Errorf("program %q: %q, want %q", name, got, want)
		}
	}
	f := &fake{sends: map[core.HostName][]string{"web-1": {`{"none":true}` + "\n"}}}
	if err := tail.Run(t.Context(), f, tail.Options{Hosts: []core.Host{{Name: "web-1"}}, Service: "shop"}, nil, nil); err == nil || err.Error() != "no host has the service shop" {
		t.Errorf("got %v", err)
	}
}

// TestFollow runs the program of the hosts on log files: one with times, one without, one that is renamed while it is
// written, and one that appears later.
func TestFollow(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write := func(name, text string) {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		f, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o755)
		if err == nil {
			_, err = f.WriteString(text)
			_ = f.Close()
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	write("opt/shop/exec", "")
	write("log/shop/app.log", `{"time":"2026-01-01T00:00:00.000Z","m":"old"}`+"\n"+`{"time":"2026-01-01T00:00:02.500Z","m":"new"}`+"\n")
	write("log/shop/plain.log", "2026-01-01 00:00:01,000 no\n  at line 7\n2026-01-01 00:00:03 yes\n  at line 8\n")
	write("bin/journalctl", "#!/bin/sh\ncase $* in *--follow*) exec sleep 1d ;; esac\n"+
		`echo '{"__CURSOR":"s=1","__REALTIME_TIMESTAMP":"1767225604000000","MESSAGE":[104,105,255],"TROOP_SERVICE":"shop","TROOP_PROGRAM":"worker"}'`+"\n")
	text, err := os.ReadFile("follow.py")
	if err != nil {
		t.Fatal(err)
	}
	write("follow.py", strings.NewReplacer("/opt/", dir+"/opt/", "/var/log/", dir+"/log/", `p.split("/")[2]`, `p.split("/")[-2]`).Replace(string(text)))
	cmd := exec.CommandContext(t.Context(), "python3", filepath.Join(dir, "follow.py"), `{"services":[],"since":1767225601.5,"cursor":null,"follow":true}`)
	cmd.Env = append(os.Environ(), "PATH="+filepath.Join(dir, "bin")+":"+os.Getenv("PATH"))
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	next := func() string {
		if !lines.Scan() {
			return "the end"
		}
		var m struct {
			Text  string
			Ready bool
		}
		if err := json.Unmarshal(lines.Bytes(), &m); err != nil {
			t.Fatal(err)
		}
		if m.Ready {
			return "ready"
		}
		return m.Text
	}
	expect := func(want ...string) {
		t.Helper()
		for _, w := range want {
			if got := next(); got != w {
				t.Errorf("got %q, want %q", got, w)
			}
		}
	}
	expect("hi\ufffd", `{"time":"2026-01-01T00:00:02.500Z","m":"new"}`, "2026-01-01 00:00:03 yes", "  at line 8", "ready")
	write("log/shop/plain.log", "half a ")
	write("log/shop/plain.log", "line\n")
	expect("half a line")
	if err := os.Rename(filepath.Join(dir, "log/shop/plain.log"), filepath.Join(dir, "log/shop/plain.log.1")); err != nil {
		t.Fatal(err)
	}
	write("log/shop/plain.log.1", "to the old one\n")
	expect("to the old one")
	write("log/shop/plain.log", "to the new one\n")
	expect("to the new one")
	_ = in.Close()
	expect("the end")
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
}
