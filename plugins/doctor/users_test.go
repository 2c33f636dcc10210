package main

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// The users whose processes the tests start. They belong to this run of the tests alone: another run on this machine
// would end their processes, and be seen using the CPU. bombUID is a user of its own since RLIMIT_NPROC counts what is
// left of others' processes, too.
var hogUID, bombUID, adminUID, unknownUID, serviceUID uint32

func TestMain(m *testing.M) {
	lock, err := reserveUsers()
	if err != nil {
		panic(err)
	}
	defer lock.Close() // m.Run's result is the exit status when TestMain returns
	m.Run()
}

// reserveUsers chooses users that no other run has, until this process ends.
func reserveUsers() (*os.File, error) {
	for n := range uint32(99) {
		f, err := os.OpenFile(filepath.Join(os.TempDir(), fmt.Sprintf("troop-doctor-test-users-%d.lock", n)), os.O_RDWR|os.O_CREATE, 0o600)
		if err != nil {
			return nil, fmt.Errorf("reserve users for the tests: %w", err)
		}
		if unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) != nil {
			_ = f.Close() // another run has them
			continue
		}
		first := 61000 + 10*n
		hogUID, bombUID, adminUID, unknownUID, serviceUID = first, first+1, first+2, first+3, 900+n
		return f, nil
	}
	return nil, fmt.Errorf("reserve users for the tests: all are taken: see %s", filepath.Join(os.TempDir(), "troop-doctor-test-users-*.lock"))
}
