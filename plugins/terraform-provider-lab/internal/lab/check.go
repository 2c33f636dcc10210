package lab

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// Wanted is the lab to be made.
type Wanted struct {
	Lab    ID
	Subnet netip.Prefix
	Hosts  map[string]Size
}

// Size is a host's limits in bytes.
type Size struct{ Memory, Disk int64 }

// Check is the result of checking one prerequisite of a lab.
type Check struct {
	Name   string `json:"name"`
	Status string `json:"status"` // passed or failed
	Detail string `json:"detail"`
	Remedy string `json:"remedy,omitempty"`
}

// Examine checks this machine's prerequisites for a lab. It changes nothing.
func Examine(w Wanted) ([]Check, error) {
	m, err := thisMachine(w.Lab)
	if err != nil {
		return nil, err
	}
	return m.examine(w), nil
}

// surroundings are the properties of a machine that a lab depends on.
type surroundings struct {
	status, filesystems, meminfo, routes string // contents of files in /proc
	firewalled                           bool   // the machine's firewall filters traffic between hosts
	has                                  func(program string) bool
	loads                                func(module string) bool
	free                                 func(dir string) int64 // free bytes in the file system of dir
	based, bridged                       bool                   // the base tree exists; the lab's bridge exists
	hosts                                []string               // existing hosts of the lab
}

func thisMachine(l ID) (surroundings, error) {
	m := surroundings{
		has:     has,
		loads:   func(module string) bool { return exec.Command("modprobe", "--dry-run", module).Run() == nil }, //nolint:noctx // short
		free:    free,
		bridged: linkExists(l.bridge()),
	}
	for file, text := range map[string]*string{
		"/proc/self/status": &m.status, "/proc/filesystems": &m.filesystems, "/proc/meminfo": &m.meminfo, "/proc/net/route": &m.routes,
	} {
		b, err := os.ReadFile(file)
		if err != nil {
			return m, err
		}
		*text = string(b)
	}
	filtered, err := os.ReadFile("/proc/sys/net/bridge/bridge-nf-call-iptables")
	m.firewalled = err == nil && strings.TrimSpace(string(filtered)) == "1"
	_, err = os.Stat(base())
	m.based = err == nil
	m.hosts, err = Hosts(l)
	if errors.Is(err, fs.ErrPermission) { // checked as "not root"; nothing more can be read
		err = nil
	}
	return m, err
}

// has looks for a program in root's PATH: a user's PATH often lacks sbin folders.
func has(program string) bool {
	if _, err := exec.LookPath(program); err == nil {
		return true
	}
	for _, dir := range []string{"/usr/sbin", "/sbin"} {
		if _, err := os.Stat(filepath.Join(dir, program)); err == nil && os.Geteuid() != 0 {
			return true
		}
	}
	return false
}

// free returns the free bytes where dir is or will be.
func free(dir string) int64 {
	for ; ; dir = filepath.Dir(dir) {
		var s syscall.Statfs_t
		if err := syscall.Statfs(dir, &s); err == nil {
			return int64(s.Bavail) * s.Bsize
		} else if dir == "/" {
			return 0
		}
	}
}

func (m surroundings) examine(w Wanted) []Check {
	var checks []Check
	for _, look := range []struct {
		name string
		at   func(Wanted) (found, problem, remedy string)
	}{
		{"rights", m.rights},
		{"programs", m.programs},
		{"kernel", m.kernel},
		{"network", m.network},
		{"memory", m.memory},
		{"disk", m.disk},
	} {
		c := Check{Name: look.name, Status: "passed"}
		var problem string
		if c.Detail, problem, c.Remedy = look.at(w); problem != "" {
			c.Status, c.Detail = "failed", problem
		}
		checks = append(checks, c)
	}
	return checks
}

// Capabilities, see capabilities(7), that containers often drop.
var capabilities = []struct {
	name string
	bit  uint
}{{"CAP_NET_ADMIN", 12}, {"CAP_SYS_ADMIN", 21}, {"CAP_MKNOD", 27}}

func (m surroundings) rights(Wanted) (found, problem, remedy string) {
	uid, _, _ := strings.Cut(field(m.status, "Uid:"), "\t")
	if uid != "0" {
		return "", "not root; only root can make machines", "sudo troop …, or run troop as root"
	}
	has, err := strconv.ParseUint(field(m.status, "CapEff:"), 16, 64)
	if err != nil {
		return "", "the capabilities of this process cannot be read", ""
	}
	var missing []string
	for _, c := range capabilities {
		if has&(1<<c.bit) == 0 {
			missing = append(missing, c.name)
		}
	}
	if len(missing) > 0 {
		return "", "root, without " + strings.Join(missing, ", "), "run troop outside the container, or add these capabilities to it"
	}
	return "root", "", ""
}

// programs needed to make hosts, with their packages.
var programs = [][2]string{
	{"systemd-nspawn", "systemd-container"},
	{"ip", "iproute2"},
	{"mkfs.ext4", "e2fsprogs"},
	{"mount", "mount"},
	{"nsenter", "util-linux"},
	{"unshare", "util-linux"},
	{"debootstrap", "debootstrap"},
}

func (m surroundings) programs(Wanted) (found, problem, remedy string) {
	var there, missing, packages []string
	for _, p := range programs {
		switch {
		case m.has(p[0]):
			there = append(there, p[0])
		case p[0] == "debootstrap" && m.based: // needed once
		default:
			missing = append(missing, p[0])
			packages = append(packages, p[1])
		}
	}
	if len(missing) > 0 {
		return "", "missing: " + strings.Join(missing, ", "), "apt-get install " + strings.Join(slices.Compact(packages), " ")
	}
	return strings.Join(there, ", "), "", ""
}

func (m surroundings) kernel(Wanted) (found, problem, remedy string) {
	known := strings.Fields(m.filesystems)
	for _, need := range []string{"overlay", "ext4"} {
		if !slices.Contains(known, need) && !m.loads(need) {
			return "", "the kernel lacks " + need, "run troop on a machine with Debian's or Ubuntu's own kernel"
		}
	}
	return "overlay, ext4", "", ""
}

func (m surroundings) network(w Wanted) (found, problem, remedy string) {
	note := ""
	if m.firewalled {
		note = "; this machine's firewall filters traffic between hosts; if they cannot reach each other: " +
			"iptables -I FORWARD -i " + bridgePrefix + "+ -j ACCEPT"
	}
	if m.bridged {
		return "the lab's bridge exists: " + w.Lab.bridge() + note, "", ""
	}
	if err := checkRoutes(strings.NewReader(m.routes), w.Subnet); err != nil {
		return "", err.Error(), "set the module's variable subnet to a free one, such as 172.30.5.0/24"
	}
	return w.Subnet.String() + " is free" + note, "", ""
}

// wanted returns the hosts that do not exist yet.
func (m surroundings) wanted(w Wanted) (hosts int, size Size) {
	for name, s := range w.Hosts {
		if !slices.Contains(m.hosts, name) {
			hosts++
			size.Memory += s.Memory
			size.Disk += s.Disk
		}
	}
	return hosts, size
}

func (m surroundings) memory(w Wanted) (found, problem, remedy string) {
	available := int64(0)
	for _, name := range []string{"MemAvailable:", "SwapFree:"} {
		kib, _, _ := strings.Cut(field(m.meminfo, name), " ")
		n, err := strconv.ParseInt(kib, 10, 64)
		if err != nil {
			return "", "the memory of this machine cannot be read", ""
		}
		available += n << 10
	}
	hosts, size := m.wanted(w)
	if size.Memory > available {
		return "", fmt.Sprintf("%d hosts may use %s, but only %s are available", hosts, gib(size.Memory), gib(available)),
			"reduce the hosts' memory in the module's variable hosts, or stop other programs"
	}
	return fmt.Sprintf("%s available; hosts to be made: %d, with at most %s", gib(available), hosts, gib(size.Memory)), "", ""
}

const (
	baseSize = 1 << 30   // of the base tree and the packages that it is built from
	hostSize = 256 << 20 // written by a host in a demo; disks are sparse
)

func (m surroundings) disk(w Wanted) (found, problem, remedy string) {
	hosts, size := m.wanted(w)
	needed := int64(hosts) * hostSize
	if !m.based {
		needed += baseSize
	}
	available := min(m.free(root), m.free(cache)) // overestimates if they are on two file systems
	if available < needed {
		return "", fmt.Sprintf("%s free for %s and %s, but %s needed", gib(available), root, cache, gib(needed)), "free some space there"
	}
	return fmt.Sprintf("%s free; needed: %s, and at most %s on disks", gib(available), gib(needed), gib(size.Disk)), "", ""
}

func gib(n int64) string { return fmt.Sprintf("%.1f GiB", float64(n)/(1<<30)) }

// field returns the text after a name at the beginning of a line.
func field(text, name string) string {
	lines := bufio.NewScanner(strings.NewReader(text))
	for lines.Scan() {
		if value, ok := strings.CutPrefix(lines.Text(), name); ok {
			return strings.TrimSpace(value)
		}
	}
	return ""
}
