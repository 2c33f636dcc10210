package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/seed-b96de936/troop/core"
	"github.com/seed-b96de936/troop/core/agent"
	"github.com/seed-b96de936/troop/core/bus/redistest"
)

const (
	memoryMost  = 45 // MiB of both plugins and their agents together, on average
	memoryStart = 10 * time.Second
	memoryLooks = 40 // one a second
)

// TestMemory runs the agents of a host of the application as the host does, with the programs that make build makes, and adds up
// their proportional shares of memory (PSS): what two have in common counts once.
func TestMemory(t *testing.T) {
	bin := programs(t)
	r := redistest.StartWithRules(t, []string{"router-1"}, []string{"web-1"})
	key, storage := storageHost(t)
	var pids []int
	for typ, block := range map[string]string{
		"doctor":      "leash = true",
		"maintenance": storage + "\nrule \"app\" {\n  paths = [\"/var/log/shop/*.log\"]\n  above = \"5MiB\"\n}",
	} {
		plugin := filepath.Join(bin, "troop-plugin-"+typ)
		digest, err := core.DigestFile(plugin)
		if err != nil {
			t.Fatal(err)
		}
		pids = append(pids, startAgent(t, bin, agent.Config{
			Type: typ, Name: "x", Plugin: plugin, Digest: digest, Pipeline: "shop", Environment: "lab", Host: "web-1", Role: "production",
			Block: core.Block{Source: []byte(block)}, Hosts: []core.Host{{Name: "web-1", Role: "production"}}, Trust: redistest.Trust, Storage: &key,
			Redis: agent.Redis{Address: r.Addr, Certificates: r.Certificates, Password: redistest.PasswordOf("web-1")},
		}))
	}
	for _, pid := range pids { // a plugin each
		for end := time.Now().Add(time.Minute); len(children(pid)) == 0; time.Sleep(50 * time.Millisecond) {
			if time.Now().After(end) {
				t.Fatal("an agent starts no plugin")
			}
		}
	}
	time.Sleep(memoryStart) // what only the start needs is another matter
	total := map[string]float64{}
	for range memoryLooks {
		time.Sleep(time.Second)
		for _, pid := range pids {
			plugins := children(pid)
			if len(plugins) != 1 {
				t.Fatalf("an agent has %d plugins", len(plugins))
			}
			total["agents"] += share(t, pid)
			total["plugins"] += share(t, plugins[0])
		}
	}
	agents, plugins := total["agents"]/memoryLooks, total["plugins"]/memoryLooks
	t.Logf("two agents %.1f MiB, their plugins %.1f MiB", agents, plugins)
	if agents+plugins > memoryMost {
		t.Errorf("together %.1f MiB on average, want %d at most", agents+plugins, memoryMost)
	}
}

// programs builds troop-agent and the plugins of a host of the application. Nothing in them may reach methods by names that are
// not known at build time: the linker then keeps those of all types.
func programs(t *testing.T) (dir string) {
	t.Helper()
	dir = t.TempDir()
	build := exec.CommandContext(t.Context(), "make", "-C", "../../..", "BIN="+dir, dir+"/troop-agent", dir+"/troop-plugin-doctor", dir+"/troop-plugin-maintenance")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	files, err := filepath.Glob(dir + "/*")
	if err != nil || len(files) != 3 {
		t.Fatalf("built %v, %v", files, err)
	}
	for _, file := range files {
		program, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, function := range []string{"net/rpc.suitableMethods", "text/template.(*state).evalField"} {
			if bytes.Contains(program, []byte(function)) {
				t.Errorf("%s has %s, with which it is larger by a third", filepath.Base(file), function)
			}
		}
	}
	return dir
}

func startAgent(t *testing.T, bin string, c agent.Config) (pid int) {
	t.Helper()
	text, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	state := t.TempDir()
	file := filepath.Join(state, "config.json")
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	a := exec.Command(filepath.Join(bin, "troop-agent"), file)
	a.Env = append(os.Environ(), "STATE_DIRECTORY="+state)
	a.Stderr = t.Output()
	if err := a.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = a.Process.Signal(syscall.SIGTERM)
		if err := a.Wait(); err != nil {
			t.Errorf("agent %s: %v", c.Type, err)
		}
	})
	return a.Process.Pid
}

// storageHost starts an OpenSSH server, and returns the key of a host's account there and the block that names it.
func storageHost(t *testing.T) (key core.StorageKey, block string) {
	t.Helper()
	dir := t.TempDir()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err := errors.Join(err, l.Close(), os.MkdirAll("/run/sshd", 0o755)); err != nil {
		t.Fatal(err)
	}
	var texts [2]string
	for i, name := range []string{"key", "host.pub"} {
		if out, err := exec.CommandContext(t.Context(), "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", filepath.Join(dir, strings.TrimSuffix(name, ".pub"))).CombinedOutput(); err != nil {
			t.Fatalf("ssh-keygen: %v: %s", err, out)
		}
		text, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		texts[i] = string(text)
	}
	server := exec.CommandContext(t.Context(), "/usr/sbin/sshd", "-D", "-e", "-f", "/dev/null", "-h", dir+"/host", "-o", "ListenAddress=127.0.0.1:"+port,
		"-o", "AuthorizedKeysFile="+dir+"/key.pub", "-o", "StrictModes=no", "-o", "PidFile=none", "-o", "Subsystem=sftp internal-sftp")
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = server.Process.Kill(); _ = server.Wait() })
	return core.StorageKey{PrivateKey: texts[0], KnownHosts: fmt.Sprintf("[127.0.0.1]:%s %s", port, texts[1])},
		fmt.Sprintf("storage {\n  address = \"127.0.0.1\"\n  port    = %s\n  user    = \"root\"\n  path    = %q\n}", port, dir)
}

// children are the processes that a process has started.
func children(pid int) (pids []int) {
	tasks, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	for _, file := range tasks {
		text, _ := os.ReadFile(file) // a thread may end
		for field := range strings.FieldsSeq(string(text)) {
			if child, err := strconv.Atoi(field); err == nil {
				pids = append(pids, child)
			}
		}
	}
	return pids
}

// share is a process's proportional share of memory in MiB.
func share(t *testing.T, pid int) float64 {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(text), "\nPss:")
	var kib float64
	if _, err := fmt.Sscan(rest, &kib); err != nil {
		t.Fatal(err)
	}
	return kib / 1024
}
