package ansible

import (
	"errors"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"

	"github.com/seed-b96de936/troop/core"
)

// tree is a folder of playbooks in memory.
type tree struct {
	files  map[string][]byte // by slash-separated path
	digest core.Digest
}

func readTree(fsys fs.FS) (tree, error) {
	t := tree{files: map[string][]byte{}}
	err := fs.WalkDir(fsys, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		t.files[name], err = fs.ReadFile(fsys, name)
		return err
	})
	t.digest = t.sum()
	return t, err
}

// sum is the digest of names and contents.
func (t tree) sum() core.Digest {
	var parts [][]byte
	for _, name := range slices.Sorted(maps.Keys(t.files)) {
		parts = append(parts, []byte(name), t.files[name])
	}
	return core.DigestAll(parts...)
}

// playbooks lists the names of the playbooks.
func (t tree) playbooks() []string {
	var names []string
	for name := range t.files {
		if path.Ext(name) == ".yml" && path.Dir(name) == "." {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// dir is the folder that unpack writes to.
func (t tree) dir(parent string) string {
	return filepath.Join(parent, "playbooks-"+t.digest.Hex()[:12])
}

// unpack writes the tree to a folder in parent, named by its digest, unless that exists.
func (t tree) unpack(parent string) (string, error) {
	dir := t.dir(parent)
	if _, err := os.Stat(dir); err == nil {
		return dir, nil
	}
	if err := os.MkdirAll(parent, 0o700); err != nil {
		return "", err
	}
	tmp, err := os.MkdirTemp(parent, ".playbooks-*")
	if err != nil {
		return "", err
	}
	defer func() { _ = os.RemoveAll(tmp) }()
	for name, content := range t.files {
		file := filepath.Join(tmp, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			return "", err
		}
		if err := os.WriteFile(file, content, 0o644); err != nil {
			return "", err
		}
	}
	if err := os.Rename(tmp, dir); err != nil && !errors.Is(err, fs.ErrExist) {
		return "", err
	}
	return dir, nil
}
