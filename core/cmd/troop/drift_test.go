package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/seed-b96de936/troop/core"
	"github.com/seed-b96de936/troop/core/remote"
	"github.com/seed-b96de936/troop/core/remote/remotetest"
)

// site is a project whose environment lab has hosts on this machine, made by nobody.
type site struct {
	*testing.T
	dir   string
	ssh   *remote.Client
	hosts []core.Host
}

func newSite(t *testing.T) *site {
	t.Helper()
	s := &site{T: t, dir: t.TempDir()}
	s.write("pipeline.hcl", "pipeline \"shop\" {\n  source { path = \".\" }\n}\nenvironment \"lab\" {}\n")
	var err error
	if s.ssh, err = remote.New(filepath.Join(s.dir, ".troop/lab")); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.ssh.Close() })
	return s
}

func (s *site) write(name, text string) {
	s.Helper()
	file := filepath.Join(s.dir, name)
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		s.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		s.Fatal(err)
	}
}

func (s *site) read(name string) string {
	s.Helper()
	b, err := os.ReadFile(filepath.Join(s.dir, name))
	if err != nil {
		s.Fatal(err)
	}
	return string(b)
}

// add makes a host, whose key is pinned and whose /etc is the folder that is returned.
func (s *site) add(name core.HostName) (server *remotetest.Server, etc string) {
	s.Helper()
	server, etc = remotetest.Listen(s.T, "127.0.0.1:0", s.ssh.PublicKey()), s.TempDir()
	server.Command = func(command string) string { return strings.ReplaceAll(command, "/etc/", etc+"/") }
	h := server.Host(name)
	h.Role, h.PrivateAddress = "production", h.Address
	if _, err := s.ssh.Run(s.Context(), h, "true", nil); err != nil {
		s.Fatal(err)
	}
	s.hosts = append(s.hosts, h)
	hosts, err := json.Marshal(s.hosts)
	if err != nil {
		s.Fatal(err)
	}
	s.write(".troop/lab/hosts.json", string(hosts))
	return server, etc
}

func (s *site) troop(args ...string) (code int, stdout, stderr string) {
	var out, errOut bytes.Buffer
	code = run(append(args, filepath.Join(s.dir, "pipeline.hcl")), strings.NewReader(""), &out, &errOut)
	return code, out.String(), errOut.String()
}

func TestDrift(t *testing.T) {
	s := newSite(t)
	if code, _, errOut := s.troop("drift"); code != 1 || !strings.Contains(errOut, "make them: troop apply "+filepath.Join(s.dir, "pipeline.hcl")+" --env lab") {
		t.Errorf("without hosts: exit status %d, %s", code, errOut)
	}
	_, etc := s.add("web-1")
	off, _ := s.add("web-2")
	replaced, _ := s.add("web-3")
	s.add("web-4")
	note := func(list, file, content string) {
		t.Helper()
		path := filepath.Join(etc, file)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		sh := "mkdir -p /etc/troop/installed && sha256sum /etc/" + file + " > /etc/troop/installed/" + list + ".sha256"
		if _, err := s.ssh.Run(t.Context(), s.hosts[0], sh, nil); err != nil {
			t.Fatal(err)
		}
	}
	note("one", "troop/agents/one.json", "{}")
	note("two", "troop/agents/two.json", "{}")
	note("unit", "systemd/system/never-heard-of.service", "")
	note("template", "systemd/system/template@.service", "")
	if code, out, errOut := s.troop("drift"); code != 2 || !strings.HasSuffix(out, "environment lab has drifted: web-1 is drifted\n") {
		t.Errorf("a unit that does not run: exit status %d\n%s%s", code, out, errOut)
	}
	if err := os.Remove(filepath.Join(etc, "troop/installed/unit.sha256")); err != nil {
		t.Fatal(err)
	}
	if code, out, errOut := s.troop("drift"); code != 0 || out != "environment lab: no drift on 4 hosts\n" || errOut != "" {
		t.Errorf("exit status %d\n%s%s", code, out, errOut)
	}

	if err := os.WriteFile(filepath.Join(etc, "troop/agents/one.json"), []byte("{by hand}"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(etc, "troop/agents/two.json")); err != nil {
		t.Fatal(err)
	}
	off.Stop()
	port := s.hosts[2].Port
	replaced.Stop()
	other := remotetest.Listen(t, address(port), s.ssh.PublicKey())
	pinned := strings.Split(s.read(".troop/lab/known_hosts"), "\n")
	s.write(".troop/lab/known_hosts", strings.Join(pinned[:3], "\n")+"\n") // web-4 was never met
	before := s.read(".troop/lab/known_hosts")

	code, out, errOut := s.troop("drift", "--json")
	var report core.Drift
	if err := json.Unmarshal([]byte(out), &report); err != nil || code != 2 {
		t.Fatalf("exit status %d, %v\n%s%s", code, err, out, errOut)
	}
	files := []core.Difference{
		{Layer: "installed", What: etc + "/troop/agents/one.json is not what was installed"},
		{Layer: "installed", What: etc + "/troop/agents/two.json is missing"},
	}
	if h := report.Hosts[0]; h.Status != core.HostDrifted || !slices.Equal(h.Differences, files) {
		t.Errorf("web-1: %+v", h)
	}
	for i, reason := range map[int]string{1: "connection refused", 2: "host key of web-3", 3: "host key of web-4: host key is not pinned yet"} {
		if h := report.Hosts[i]; h.Status != core.HostUnreachable || !strings.Contains(h.Reason, reason) {
			t.Errorf("%s: %+v, want %s", h.Host, h, reason)
		}
	}
	if after := s.read(".troop/lab/known_hosts"); after != before {
		t.Errorf("known_hosts was\n%s, is\n%s", before, after)
	}
	if n := other.Logins(); n != 0 {
		t.Errorf("logged in %d times to a host with another key", n)
	}
	_, out, _ = s.troop("drift")
	for _, want := range []string{
		"web-1 (production): drifted\n  installed  " + etc + "/troop/agents/one.json is not what was installed\n",
		"\nweb-2 (production): unreachable: ",
		"\nenvironment lab has drifted: web-1 is drifted, web-2 is unreachable, web-3 is unreachable, web-4 is unreachable\n",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in:\n%s", want, out)
		}
	}
}

func TestAccept(t *testing.T) {
	s := newSite(t)
	server, _ := s.add("web-1")
	port := s.hosts[0].Port
	old := remote.Fingerprint(server.HostKey)
	accept := func(args ...string) (int, string, string) {
		t.Helper()
		var out, errOut bytes.Buffer
		args = append([]string{"hosts", "accept", filepath.Join(s.dir, "pipeline.hcl")}, args...)
		return run(args, strings.NewReader(""), &out, &errOut), out.String(), errOut.String()
	}
	if code, out, _ := accept("web-1", "--yes"); code != 0 || out != "web-1 shows the key that is pinned, "+old+"\n" {
		t.Errorf("the same key: exit status %d, %s", code, out)
	}
	server.Stop()
	other := remotetest.Listen(t, address(port), s.ssh.PublicKey())
	if _, err := s.ssh.Run(t.Context(), s.hosts[0], "true", nil); err == nil || !strings.Contains(err.Error(), "troop hosts accept web-1 --env lab") {
		t.Errorf("a changed key: %v", err)
	}
	before := s.read(".troop/lab/known_hosts")
	both := "  pinned  " + old + "\n  now     " + remote.Fingerprint(other.HostKey) + "\n"
	if code, out, errOut := accept("web-1"); code == 0 || !strings.Contains(out, both) || !strings.Contains(errOut, "stdin is not a terminal") || s.read(".troop/lab/known_hosts") != before {
		t.Errorf("unconfirmed: exit status %d\n%s%s", code, out, errOut)
	}
	if code, out, errOut := accept("web-1", "--yes"); code != 0 || !strings.Contains(out, both) {
		t.Errorf("exit status %d\n%s%s", code, out, errOut)
	}
	if _, err := s.ssh.Run(t.Context(), s.hosts[0], "true", nil); err != nil {
		t.Error(err)
	}
	if code, _, errOut := accept("web-9", "--yes"); code != 1 || !strings.Contains(errOut, "there are web-1") {
		t.Errorf("no such host: exit status %d, %s", code, errOut)
	}
}

func address(port int) string { return "127.0.0.1:" + strconv.Itoa(port) }
