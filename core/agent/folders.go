package agent

import (
	"context"
	"fmt"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// foldersEvery is the time between two looks at the folders that a plugin may write to.
const foldersEvery = 2 * time.Second

// watchFolders calls fail when a folder that the plugin may write to appears and is read-only. The unit of an agent sees
// the host read-only, except for these folders as they were at its start: one that is made later, or made anew, can be
// written to only after the next start. A folder that is read-only now is the host's matter. It watches until ctx ends.
func (a *Agent) watchFolders(ctx context.Context, fail func(error)) {
	readOnly := a.readOnly
	if readOnly == nil {
		readOnly = isReadOnly
	}
	watched := slices.DeleteFunc(slices.Clone(a.Config.Writable), readOnly)
	if len(watched) == 0 {
		return
	}
	go func() {
		for {
			select {
			case <-ctx.Done():
				return
			case <-time.After(foldersEvery):
			}
			if i := slices.IndexFunc(watched, readOnly); i >= 0 {
				fail(fmt.Errorf("folder %s is newer than this agent, which must be started again to write to it", watched[i]))
				return
			}
		}
	}()
}

// isReadOnly reports whether a folder exists and is on a read-only mount.
func isReadOnly(folder string) bool {
	var st unix.Statfs_t
	return unix.Statfs(folder, &st) == nil && st.Flags&unix.ST_RDONLY != 0
}
