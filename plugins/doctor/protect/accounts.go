package protect

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/seed-b96de936/troop/plugins/doctor/process"
)

// adminGroups are the administrators' groups of Debian, Ubuntu and Red Hat.
var adminGroups = []string{"root", "sudo", "wheel", "admin", "adm"}

// Accounts are the users and groups in the host's files. Users of a directory service are missing; their processes are
// never touched.
type Accounts struct {
	names     map[uint32]string   // user by uid, from the first line of a uid
	primary   map[uint32][]uint32 // gids by uid, of all lines
	admins    map[string]bool     // names that an admin group lists
	adminGIDs map[uint32]bool
	grants    *grants // of sudo and polkit
	systemMax uint32  // the highest uid of a system user
}

// ReadAccounts reads passwd, group, login.defs and the rules of sudo and polkit in a folder (/etc), and polkit's defaults in
// share (/usr/share).
func ReadAccounts(etc, share string) (*Accounts, error) {
	g := readGrants(etc, share)
	a := &Accounts{
		grants: g,
		names:  map[uint32]string{}, primary: map[uint32][]uint32{}, admins: map[string]bool{},
		adminGIDs: map[uint32]bool{}, systemMax: 999,
	}
	err := eachRecord(filepath.Join(etc, "passwd"), 4, func(f []string) error {
		uid, gid, err := ids(f[2], f[3])
		if err != nil {
			return err
		}
		if _, ok := a.names[uid]; !ok {
			a.names[uid] = f[0]
		}
		a.primary[uid] = append(a.primary[uid], gid)
		return nil
	})
	if err != nil {
		return nil, err
	}
	err = eachRecord(filepath.Join(etc, "group"), 4, func(f []string) error {
		gid, _, err := ids(f[2], "0")
		if err != nil {
			return err
		}
		if !slices.Contains(adminGroups, f[0]) && !g.groups[f[0]] && !g.gids[gid] {
			return nil
		}
		a.adminGIDs[gid] = true
		for name := range strings.SplitSeq(f[3], ",") {
			a.admins[strings.TrimSpace(name)] = true
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	a.systemMax = max(a.systemMax, systemMax(filepath.Join(etc, "login.defs")))
	return a, nil
}

// Name returns the name of a user, or "".
func (a *Accounts) Name(uid uint32) string { return a.names[uid] }

// Ordinary reports whether uid is a person's who is no administrator, as far as the host's files say.
func (a *Accounts) Ordinary(uid uint32) bool {
	return judgeUser(a, process.Facts{UIDs: []uint32{uid}}) == nil
}

// systemMax is the highest uid of system users in login.defs; 0 if there is none.
func systemMax(file string) uint32 {
	b, err := os.ReadFile(file)
	if err != nil {
		return 0
	}
	var highest uint32
	for line := range strings.Lines(string(b)) {
		f := strings.Fields(line)
		if len(f) < 2 {
			continue
		}
		n, err := strconv.ParseUint(f[1], 0, 32)
		switch {
		case err != nil:
		case f[0] == "SYS_UID_MAX":
			highest = max(highest, uint32(n))
		case f[0] == "UID_MIN" && n > 0:
			highest = max(highest, uint32(n-1))
		}
	}
	return highest
}

// eachRecord calls each with the fields of every line. An invalid line is an error, since it could make a user an
// administrator.
func eachRecord(file string, fields int, each func([]string) error) error {
	b, err := os.ReadFile(file)
	if err != nil {
		return fmt.Errorf("read accounts: %w", err)
	}
	sc := bufio.NewScanner(bytes.NewReader(b))
	sc.Buffer(nil, 1<<20)
	for n := 1; sc.Scan(); n++ {
		line := strings.TrimSpace(sc.Text())
		if line == "" || line[0] == '#' || line[0] == '+' || line[0] == '-' {
			continue
		}
		f := strings.Split(line, ":")
		if len(f) < fields {
			return fmt.Errorf("read accounts: %s:%d: %d fields, want %d or more", file, n, len(f), fields)
		}
		if err := each(f); err != nil {
			return fmt.Errorf("read accounts: %s:%d: %w", file, n, err)
		}
	}
	if err := sc.Err(); err != nil {
		return fmt.Errorf("read accounts: %s: %w", file, err)
	}
	return nil
}

func ids(a, b string) (x, y uint32, err error) {
	nx, err := strconv.ParseUint(a, 10, 32)
	if err != nil {
		return 0, 0, err
	}
	ny, err := strconv.ParseUint(b, 10, 32)
	return uint32(nx), uint32(ny), err
}
