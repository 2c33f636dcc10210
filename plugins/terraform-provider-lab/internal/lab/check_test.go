package lab

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
)

// capable is a machine on which a lab can be made.
func capable() surroundings {
	return surroundings{
		status:      "Name:\ttest\nUid:\t0\t0\t0\t0\nCapEff:\t000001ffffffffff\n",
		filesystems: "nodev\tsysfs\nnodev\toverlay\n\text4\n",
		meminfo:     "MemTotal:        4000000 kB\nMemAvailable:    2097152 kB\nSwapFree:        1048576 kB\n",
		routes:      "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\neth0\t00000000\t0100A8C0\t0003\t0\t0\t0\t00000000\neth0\t0000A8C0\t00000000\t0001\t0\t0\t0\t0000FFFF\n",
		has:         func(string) bool { return true },
		loads:       func(string) bool { return false },
		free:        func(string) int64 { return 2 << 30 },
	}
}

func TestExamine(t *testing.T) {
	without := func(missing ...string) func(*surroundings) {
		return func(m *surroundings) { m.has = func(program string) bool { return !slices.Contains(missing, program) } }
	}
	for _, c := range []struct {
		what, name, status string
		detail, remedy     string // what they have in them
		change             func(*surroundings)
	}{
		{"root", "rights", "passed", "root", "", nil},
		{"a user", "rights", "failed", "not root", "sudo", func(m *surroundings) { m.status = "Uid:\t1000\t1000\nCapEff:\t0\n" }},
		{"a container", "rights", "failed", "root, without CAP_SYS_ADMIN", "outside the container", func(m *surroundings) { m.status = "Uid:\t0\nCapEff:\t00000000a80c75fb\n" }},
		{"all programs", "programs", "passed", "systemd-nspawn, ip", "", nil},
		{"missing programs", "programs", "failed", "missing: systemd-nspawn, nsenter, unshare", "apt-get install systemd-container util-linux", without("systemd-nspawn", "nsenter", "unshare")},
		{"no debootstrap", "programs", "failed", "missing: debootstrap", "apt-get install debootstrap", without("debootstrap")},
		{"no debootstrap, and a base", "programs", "passed", "systemd-nspawn", "", func(m *surroundings) { without("debootstrap")(m); m.based = true }},
		{"kernel", "kernel", "passed", "overlay", "", nil},
		{"kernel that can load it", "kernel", "passed", "overlay", "", func(m *surroundings) {
			m.filesystems, m.loads = "\text4\n", func(module string) bool { return module == "overlay" }
		}},
		{"small kernel", "kernel", "failed", "lacks overlay", "own kernel", func(m *surroundings) { m.filesystems = "\text4\n" }},
		{"free network", "network", "passed", "10.70.1.0/24 is free", "", nil},
		{"firewall", "network", "passed", "iptables -I FORWARD -i troop-+ -j ACCEPT", "", func(m *surroundings) { m.firewalled = true }},
		{"network in use", "network", "failed", "tun0 has a route to 10.0.0.0/8", "variable subnet", func(m *surroundings) {
			m.routes += "tun0\t0000000A\t00000000\t0001\t0\t0\t0\t000000FF\n"
		}},
		{"network of the lab itself", "network", "passed", "bridge exists: troop-abc", "", func(m *surroundings) {
			m.bridged, m.routes = true, m.routes+"troop-abc\t0001460A\t00000000\t0001\t0\t0\t0\t00FFFFFF\n"
		}},
		{"memory", "memory", "passed", "3.0 GiB available; hosts to be made: 2, with at most 3.0 GiB", "", nil},
		{"little memory", "memory", "failed", "2 hosts may use 3.0 GiB, but only 2.0 GiB are available", "reduce the hosts' memory", func(m *surroundings) {
			m.meminfo = strings.Replace(m.meminfo, "1048576", "0", 1)
		}},
		{"little memory, and a host that has its own", "memory", "passed", "hosts to be made: 1", "", func(m *surroundings) {
			m.meminfo, m.hosts = strings.Replace(m.meminfo, "1048576", "0", 1), []string{"web-1"}
		}},
		{"disk", "disk", "passed", "2.0 GiB free; needed: 1.5 GiB, and at most 4.0 GiB", "", nil},
		{"little disk", "disk", "failed", "1.0 GiB free for /var/lib/troop/lab and /var/cache/troop, but 1.5 GiB needed", "free some space", func(m *surroundings) {
			m.free = func(string) int64 { return 1 << 30 }
		}},
		{"little disk, and a base", "disk", "passed", "needed: 0.5 GiB", "", func(m *surroundings) {
			m.based, m.free = true, func(string) int64 { return 1 << 30 }
		}},
	} {
		t.Run(c.what, func(t *testing.T) {
			m := capable()
			if c.change != nil {
				c.change(&m)
			}
			size := Size{Memory: 3 << 29, Disk: 2 << 30}
			checks := m.examine(Wanted{
				Lab: "abc", Subnet: netip.MustParsePrefix("10.70.1.0/24"), Hosts: map[string]Size{"web-1": size, "router-1": size},
			})
			i := slices.IndexFunc(checks, func(x Check) bool { return x.Name == c.name })
			got := checks[i]
			if got.Status != c.status || !strings.Contains(got.Detail, c.detail) || !strings.Contains(got.Remedy, c.remedy) || (c.remedy == "") != (got.Remedy == "") {
				t.Errorf("got  %s: %s; %s\nwant %s: %s; %s", got.Status, got.Detail, got.Remedy, c.status, c.detail, c.remedy)
			}
		})
	}
}
