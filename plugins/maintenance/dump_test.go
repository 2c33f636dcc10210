package main

import (
	"bytes"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/seed-b96de936/troop/plugins/maintenance/rule"
)

// serveDrills does what the units of the role data do: each connection to the socket is input and output of its program.
func serveDrills(t *testing.T, socket string, words ...string) {
	t.Helper()
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			f, err := c.(*net.UnixConn).File()
			if err == nil {
				cmd := exec.CommandContext(t.Context(), words[0], words[1:]...)
				cmd.Stdin, cmd.Stdout, cmd.Stderr = f, f, f
				_ = cmd.Run()
				_ = f.Close()
			}
			_ = c.Close()
		}
	}()
}

// TestDrillOfDumps moves dumps, as the role data makes them of a real Redis, and drills them: one is whole, one was cut before
// it was moved, one is damaged on the storage host.
func TestDrillOfDumps(t *testing.T) {
	f := newFixture(t)
	f.config.Rules = []rule.Rule{{Name: "dumps", Paths: []string{filepath.Join(f.logs, "*.dump")}, Above: 1, Reopen: "rename"}}
	socket := filepath.Join(t.TempDir(), "drill.sock")
	serveDrills(t, socket, "sh", "../../playbooks/roles/data/files/drill.sh")

	data := t.TempDir()
	sh := func(line string) []byte {
		t.Helper()
		out, err := exec.CommandContext(t.Context(), "sh", "-ec", line, "sh", data).CombinedOutput()
		if err != nil {
			t.Fatalf("%s: %v\n%s", line, err, out)
		}
		return out
	}
	sh(`cd "$1"; redis-server --port 0 --unixsocket "$1/sock" --dir "$1" --save '' --daemonize yes >/dev/null
		until redis-cli -s sock ping >/dev/null 2>&1; do sleep 0.05; done
		for i in 1 2 3; do redis-cli -s sock set key$i value; done >/dev/null
		redis-cli -s sock save >/dev/null; redis-cli -s sock shutdown nosave; gzip -1 dump.rdb`)
	whole, err := os.ReadFile(filepath.Join(data, "dump.rdb.gz"))
	if err != nil {
		t.Fatal(err)
	}
	cut := whole[:len(whole)-20]
	for name, content := range map[string][]byte{"redis-a.dump": whole, "redis-b.dump": cut, "redis-c.dump": append(bytes.Clone(whole), 0)} {
		f.write(name, string(content))
	}
	a := f.agent(nil)
	t.Cleanup(a.Close)
	a.dumps = restorer{folder: f.logs, socket: socket}
	f.ticks(a, 5)
	if n := len(a.journal.Receipts()); n != 3 {
		t.Fatalf("%d dumps were moved", n)
	}
	drill := func(name string) answer {
		t.Helper()
		for _, r := range a.journal.Receipts() {
			if strings.HasSuffix(string(r.Path), name) {
				return a.Serve(t.Context(), request{Time: time.Now(), Receipt: r.ID})
			}
		}
		t.Fatalf("no receipt of %s", name)
		return answer{}
	}
	if got := drill("a.dump"); got.Error != "" || got.Restored != "3 keys" {
		t.Errorf("a whole dump: %+v", got)
	}
	if got := drill("b.dump"); !strings.Contains(got.Error, "cannot be restored") || !strings.Contains(got.Error, "unexpected end of file") {
		t.Errorf("a dump that was cut before it was moved: %+v", got)
	}
	names, err := f.store.Names()
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		if full := filepath.Join(f.store.dir, name); strings.HasPrefix(name, "redis-c") && !strings.HasSuffix(name, ".json") {
			if err := os.WriteFile(full, []byte("damaged"), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	if got := drill("c.dump"); !strings.Contains(got.Error, "differs from what was sent") {
		t.Errorf("a dump that is damaged on the storage host: %+v", got)
	}
	a.dumps.socket += "gone"
	if got := drill("b.dump"); got.Error != "" || got.Restored != "" {
		t.Errorf("where nothing restores dumps, a file that is what was sent: %+v", got)
	}
}
