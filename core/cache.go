package core

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// CacheFolder is the folder for what troop can make again: in the user's cache folder, or, for a process without HOME such as
// a CI job's, /var/tmp/troop-UID, which is made if nobody else has made it.
func CacheFolder() (string, error) {
	cache, err := os.UserCacheDir()
	if err == nil {
		return filepath.Join(cache, "troop"), nil
	}
	dir := fmt.Sprintf("/var/tmp/troop-%d", os.Getuid())
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return "", fmt.Errorf("make folder: %w", err)
	}
	info, err := os.Lstat(dir)
	if err != nil {
		return "", err
	}
	if st, ok := info.Sys().(*syscall.Stat_t); !info.IsDir() || !ok || int(st.Uid) != os.Getuid() || info.Mode().Perm()&0o022 != 0 {
		return "", fmt.Errorf("%s is not a folder of this user alone; remove it, or set HOME or XDG_CACHE_HOME", dir)
	}
	return dir, nil
}
