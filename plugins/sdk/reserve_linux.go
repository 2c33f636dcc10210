package sdk

import (
	"os"

	"golang.org/x/sys/unix"
)

// allocate gives a file space on disk.
func allocate(f *os.File, bytes int64) error {
	return unix.Fallocate(int(f.Fd()), 0, 0, bytes)
}

// fullBelow is the number of free bytes below which a disk counts as full.
const fullBelow = 64 << 10

// full reports whether the file system of a folder has no space left for other users than root.
func full(dir string) bool {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return false
	}
	return int64(st.Bavail)*st.Bsize < fullBelow
}
