package sample

import (
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// eventsBelow is the only file of older kernels. It counts what happened below, too.
const eventsBelow = "memory.events"

// maxCgroups limits how many cgroups are looked at: users may make many.
const maxCgroups = 4096

// killings knows in which cgroups the kernel has killed processes because memory was full, by its own counters.
type killings struct {
	root  string // of the host's cgroups that account for memory; empty: there are none
	files []string
	last  map[string]int64 // by path
	below bool             // a cgroup counts what happened below, too
}

func newKillings(v2 cgroup2, v1 map[string]string) *killings {
	k := &killings{}
	switch {
	case v1["memory"] != "":
		k.root, k.files = v1["memory"], []string{"memory.oom_control"}
	case v2.dir != "":
		k.root, k.files = v2.dir, []string{"memory.events.local", eventsBelow}
	}
	k.last = k.count()
	return k
}

// since returns the cgroups in which processes were killed since the last call, in order. One that has been removed
// meanwhile is missing.
func (k *killings) since() []string {
	now := k.count()
	var list []string
	for path, n := range now {
		if n > k.last[path] {
			list = append(list, path)
		}
	}
	k.last = now
	slices.Sort(list)
	if !k.below {
		return list
	}
	return slices.DeleteFunc(slices.Clone(list), func(path string) bool { // the innermost is meant
		return slices.ContainsFunc(list, func(other string) bool {
			return strings.HasPrefix(other, strings.TrimSuffix(path, "/")+"/") && other != path
		})
	})
}

func (k *killings) count() map[string]int64 {
	counts := map[string]int64{}
	if k.root == "" {
		return counts
	}
	seen := 0
	_ = filepath.WalkDir(k.root, func(dir string, d fs.DirEntry, err error) error {
		switch {
		case err != nil: // it has been removed meanwhile
			return fs.SkipDir
		case !d.IsDir():
			return nil
		}
		if seen++; seen > maxCgroups {
			return fs.SkipAll
		}
		for _, file := range k.files {
			n, err := keyValue(filepath.Join(dir, file), "oom_kill")
			if err == nil {
				counts["/"+strings.Trim(strings.TrimPrefix(dir, k.root), string(os.PathSeparator))] = n
				k.below = k.below || file == eventsBelow
				break
			}
		}
		return nil
	})
	return counts
}
