package lab

import (
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"
)

func TestNamesFit(t *testing.T) {
	const most = 15 // IFNAMSIZ less the final zero
	long := host{"01234567", strings.Repeat("a", 32)}
	if err := long.lab.Validate(); err != nil {
		t.Error(err)
	}
	if err := ValidateHost(long.name); err != nil {
		t.Error(err)
	}
	seen := map[string]bool{}
	for _, h := range []host{long, {"01234567", "web-1"}, {"01234567", "web-2"}, {"abc", "web-1"}} {
		for _, name := range []string{h.link(), h.peer()} {
			if len(name) > most || seen[name] {
				t.Errorf("%+v: link %q", h, name)
			}
			seen[name] = true
		}
		if name := h.lab.bridge(); len(name) > most || seen[name] {
			t.Errorf("%+v: bridge %q", h, name)
		}
	}
}

func TestBadNames(t *testing.T) {
	for _, name := range []string{"", "123456789", "A", "a-b", "../x"} {
		if ID(name).Validate() == nil {
			t.Errorf("lab %q is accepted", name)
		}
	}
	for _, name := range []string{"", "-a", "a-", "1a", "a_b", "a/b", "..", strings.Repeat("a", 33)} {
		if ValidateHost(name) == nil {
			t.Errorf("host %q is accepted", name)
		}
	}
}

func TestParseSize(t *testing.T) {
	for text, want := range map[string]int64{"1MiB": 1 << 20, "512MiB": 512 << 20, "2GiB": 2 << 30} {
		if got, err := ParseSize(text); err != nil || got != want {
			t.Errorf("%s is %d, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "512", "512MB", "MiB", "-1MiB", "0GiB", "1.5GiB", "99999999999GiB"} {
		if got, err := ParseSize(text); err == nil {
			t.Errorf("%q is %d", text, got)
		}
	}
}

func TestParseAddress(t *testing.T) {
	for _, text := range []string{"10.1.2.2", "10.1.2.254"} {
		if _, err := ParseAddress(text); err != nil {
			t.Error(err)
		}
	}
	for _, text := range []string{"", "10.1.2.1", "10.1.2.0", "10.1.2.255", "::1", "10.1.2", "10.1.2.3/24"} {
		if _, err := ParseAddress(text); err == nil {
			t.Errorf("%q is accepted", text)
		}
	}
	for _, text := range []string{"10.1.2.0/16", "10.1.2.1/24", "fd00::/24", "10.1.2.0"} {
		if _, err := ParseSubnet(text); err == nil {
			t.Errorf("%q is accepted", text)
		}
	}
	subnet, err := ParseSubnet("172.30.5.0/24")
	if err != nil || gateway(subnet).String() != "172.30.5.1" {
		t.Errorf("gateway of %s is %s, %v", subnet, gateway(subnet), err)
	}
}

func TestParseStat(t *testing.T) {
	line := "7 (a) b (c) S 1 7 7 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 123456 9 9 9"
	got, err := parseStat([]byte(line))
	if want := (procStat{state: 'S', start: 123456}); err != nil || got != want {
		t.Errorf("got %+v, %v", got, err)
	}
	for _, bad := range []string{"", "7 (a)", "7 (a) S 1 2", strings.Replace(line, "123456", "x", 1)} {
		if got, err := parseStat([]byte(bad)); err == nil {
			t.Errorf("%q is %+v", bad, got)
		}
	}
}

func TestParseHierarchies(t *testing.T) {
	const mountinfo = `25 1 254:0 / / rw,relatime - ext4 /dev/vda rw
40 38 0:33 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
41 38 0:34 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:9 - cgroup cgroup rw,cpu,cpuacct
42 38 0:34 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu,cpuacct
43 38 0:35 /troop/x /mnt/cgroup rw,relatime - cgroup cgroup rw,pids
44 38 0:36 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
`
	got, err := parseHierarchies(strings.NewReader(mountinfo))
	want := []hierarchy{
		{dir: "/sys/fs/cgroup/memory", controllers: []string{"rw", "memory"}},
		{dir: "/sys/fs/cgroup/cpu,cpuacct", controllers: []string{"rw", "cpu", "cpuacct"}},
		{dir: "/sys/fs/cgroup/unified", unified: true},
	}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, %v", got, err)
	}
}

func TestParseRoutes(t *testing.T) {
	const table = `Iface	Destination	Gateway 	Flags	RefCnt	Use	Metric	Mask		MTU	Window	IRTT
eth0	00000000	010200C0	0003	0	0	0	00000000	0	0	0
eth0	000200C0	00000000	0001	0	0	0	00FFFFFF	0	0	0
vpn0	0000400A	00000000	0001	0	0	0	0000C0FF	0	0	0
`
	got, err := parseRoutes(strings.NewReader(table))
	want := []route{
		{"eth0", netip.MustParsePrefix("0.0.0.0/0")},
		{"eth0", netip.MustParsePrefix("192.0.2.0/24")},
		{"vpn0", netip.MustParsePrefix("10.64.0.0/10")},
	}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, %v", got, err)
	}
	for _, bad := range []string{"x y z 1 0 0 0 00FFFFFF", "eth0 00000000 0 0 0 0 0 FF"} {
		if _, err := parseRoutes(strings.NewReader("Iface\n" + bad + "\n")); err == nil {
			t.Errorf("%q is accepted", bad)
		}
	}
}

func TestNewHostKey(t *testing.T) {
	public, private, err := newHostKey("web-1")
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(file, []byte(private), 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("ssh-keygen", "-y", "-f", file).Output()
	if err != nil || !strings.HasPrefix(string(out), public) {
		t.Errorf("ssh-keygen makes of the private key %q, want %q: %v", out, public, err)
	}
}

func TestTerminate(t *testing.T) {
	start := func(command ...string) (*exec.Cmd, Process) {
		cmd := exec.Command(command[0], command[1:]...)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		stat, err := readStat(cmd.Process.Pid)
		if err != nil {
			t.Fatal(err)
		}
		return cmd, Process{cmd.Process.Pid, stat.start}
	}
	cmd, p := start("sleep", "60")
	other := p
	other.Start++
	if other.Alive() {
		t.Error("a process with another start time is taken for ours")
	}
	if err := terminate(t.Context(), other, time.Second); err != nil || !p.Alive() {
		t.Errorf("a process with our number was ended in the place of ours: %v", err)
	}
	if err := terminate(t.Context(), p, 5*time.Second); err != nil {
		t.Error(err)
	}
	if p.Alive() { // it is a zombie until we wait for it
		t.Error("a zombie is alive")
	}
	_ = cmd.Wait()
	if err := terminate(t.Context(), p, time.Second); err != nil {
		t.Errorf("a process that is gone: %v", err)
	}
}

func TestLockDir(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "lab", "host")
	first, err := lockDir(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	got := make(chan error)
	go func() {
		second, err := lockDir(t.Context(), dir)
		if err == nil {
			err = second.Close()
		}
		got <- err
	}()
	select {
	case err := <-got:
		t.Fatalf("two have the lock: %v", err)
	case <-time.After(50 * time.Millisecond):
	}
	if err := os.Remove(dir); err != nil { // as who removes a host does
		t.Fatal(err)
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-got; err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(dir); err != nil {
		t.Errorf("the second holder locked a folder that does not exist: %v", err)
	}
}

func TestIsInit(t *testing.T) {
	if isInit(1) || isInit(os.Getpid()) {
		t.Error("a process of this machine's own namespace is no host's PID 1")
	}
	if got := command(os.Getpid()); len(got) == 0 || got[0] != os.Args[0] {
		t.Errorf("own command is %q", got)
	}
	if got := command(1 << 30); got != nil {
		t.Errorf("command of process %s is %q", strconv.Itoa(1<<30), got)
	}
}

func TestTail(t *testing.T) {
	last := &tail{limit: 5}
	for _, s := range []string{"abc", "defgh", "i\n"} {
		if _, err := last.Write([]byte(s)); err != nil {
			t.Fatal(err)
		}
	}
	if got := last.String(); got != "fghi" {
		t.Errorf("kept %q", got)
	}
}
