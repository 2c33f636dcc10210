package process

import (
	"bytes"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Owner says whose process it is.
type Owner struct {
	UID     uint32 // effective
	Session bool   // started by a person, over a login, cron or at: not a service of the system
	Slice   uint32 // uid of the user's slice of systemd that it is in; 0: in none
	Agent   bool   // its unit is an agent of troop's: OfAgent
}

// AgentSlice is the slice of systemd that troop's agents run in.
const AgentSlice = "troop.slice"

// ReadOwner reads the owner of the process of a folder /proc/PID into buf, which it uses as scratch space.
func ReadOwner(dir string, buf []byte) (Owner, error) {
	status, err := readInto(filepath.Join(dir, "status"), buf)
	if err != nil {
		return Owner{}, asGone(err)
	}
	var o Owner
	_, rest, _ := bytes.Cut(status, []byte("\nUid:\t"))
	_, rest, _ = bytes.Cut(rest, []byte{'\t'})
	o.UID = uint32(number(rest))
	cgroup, err := Cgroup(dir)
	if err != nil {
		return Owner{}, asGone(err)
	}
	o.Session, o.Slice = sessionOf(cgroup)
	o.Agent = OfAgent(cgroup)
	return o, nil
}

// OfAgent reports whether a cgroup is that of an agent of troop. A user may name a unit like one, but not outside of the
// user's slice.
func OfAgent(cgroup string) bool {
	return !strings.Contains(cgroup, "/user.slice/") && strings.HasPrefix(UnitOf(cgroup), "troop-agent@")
}

func readInto(name string, buf []byte) ([]byte, error) {
	fd, err := unix.Open(name, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	n, err := unix.Read(fd, buf)
	_ = unix.Close(fd) // read only
	return buf[:max(n, 0)], err
}

// sessionUnits are the services of the system that start processes for people.
var sessionUnits = []string{"ssh.service", "sshd.service", "cron.service", "crond.service", "atd.service"}

// sessionOf reports whether a cgroup holds what people started, and whose slice it is in. A host without systemd has one
// cgroup for all.
func sessionOf(cgroup string) (session bool, slice uint32) {
	parts := strings.Split(strings.Trim(cgroup, "/"), "/")
	for len(parts) > 1 && parts[0] == ".." { // a cgroup outside of the namespace
		parts = parts[1:]
	}
	switch {
	case len(parts) == 1 && parts[0] == "":
		return true, 0
	case parts[0] == "user.slice":
		if len(parts) > 1 {
			name := strings.TrimSuffix(strings.TrimPrefix(parts[1], "user-"), ".slice")
			if n, err := strconv.ParseUint(name, 10, 32); err == nil {
				slice = uint32(n)
			}
		}
		return true, slice
	}
	unit := UnitOf(cgroup)
	return slices.Contains(sessionUnits, unit) || strings.HasPrefix(unit, "ssh@") || strings.HasPrefix(unit, "sshd@"), 0
}
