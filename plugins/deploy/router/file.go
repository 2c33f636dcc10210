package router

import (
	"os"
	"path/filepath"
)

// overwriteFile writes content over a file of the same length. Replacing the file may wait for the disk, 100 ms and
// more; traffic must not wait for that.
func overwriteFile(path, content string) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE, 0o640)
	if err != nil {
		return err
	}
	_, err = f.WriteString(content)
	if info, serr := f.Stat(); err == nil && serr == nil && info.Size() != int64(len(content)) {
		err = f.Truncate(int64(len(content)))
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	return err
}

// ReplaceFile puts content in a file's place: a reader sees either the old or the new content. It does not wait for the
// disk: HAProxy reads the file after a reload, and after a crash of the machine the agent writes it again.
func ReplaceFile(path, content string) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".new-*")
	if err != nil {
		return err
	}
	_, err = f.WriteString(content)
	if err == nil {
		err = f.Chmod(0o640) // HAProxy reads it through the folder's group
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		_ = os.Remove(f.Name()) // the first error tells more
	}
	return err
}
