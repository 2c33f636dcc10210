// Package store keeps runs, their journals and their artifacts as files in the folder .troop beside a manifest. The
// process that executes a run writes it; any other may read it at any time. It also holds the locks that keep two runs
// out of one environment. The core's main program imports it; package storetest is the suite that every store passes.
package store

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/google/renameio/v2"

	"github.com/seed-b96de936/troop/core"
)

// Files is a store in a folder:
//
//	runs/ID/events.jsonl   journal: results and events, each line with the hash of the line before; lines are only added
//	runs/ID/run.json       the line that ended the run, with its hash; written once
//	workspaces/ID/src/     checked-out commit, removed by Prune; in Workspaces when it is set
//	artifacts/HEX.EXT      content-addressed, never changed
//	stages/TYPE.NAME/      what a stage keeps between runs
//	ENVIRONMENT/lock       who works on an environment
//
// Its methods may be called from several goroutines; several processes may use one folder.
type Files struct {
	// Workspaces is the folder that holds workspaces, of this project and of others. Empty: in the store's own.
	Workspaces string
	// Lease is how long an environment in a shared store belongs to a holder that is not heard of. 0: 30 seconds.
	Lease time.Duration

	dir    string
	shared *shared // nil: nobody else uses it

	mu       sync.Mutex
	journals map[core.RunID]*journal // of the runs that this process writes
}

// Folders are the names that the store uses itself, which no environment may have.
func Folders() []string { return []string{"runs", "workspaces", "artifacts", "plugins", "stages"} }

// Open returns the store in a folder. The folder is made when something is first written.
func Open(dir string) *Files {
	return &Files{dir: dir, journals: map[core.RunID]*journal{}}
}

// Close sends what is left to others and closes the journals.
//
//nolint:contextcheck // what is not sent yet is sent, whatever has ended
func (f *Files) Close() error {
	errs := []error{f.endSending(context.Background())}
	if f.shared != nil {
		if a, ok := f.shared.Objects.(*Announced); ok {
			errs = append(errs, a.Close())
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for id, j := range f.journals {
		errs = append(errs, j.file.Close())
		delete(f.journals, id)
	}
	return errors.Join(errs...)
}

// StageState returns the folder that a stage of a pipeline keeps between runs.
func (f *Files) StageState(pipeline string, id core.StageID) (string, error) {
	return f.makeFolder("stages", url.PathEscape(pipeline), url.PathEscape(string(id)))
}

// Dir is the folder of the store, and with it of every environment.
func (f *Files) Dir() string { return f.dir }

// OpenLog opens a file of the store to which lines are added.
func (f *Files) OpenLog(name string) (*os.File, error) {
	dir, err := f.makeFolder()
	if err != nil {
		return nil, err
	}
	return os.OpenFile(filepath.Join(dir, name), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o644)
}

// makeFolder makes a folder of the store. The store itself is hidden from git: it lies in a work tree.
func (f *Files) makeFolder(names ...string) (string, error) {
	dir := filepath.Join(append([]string{f.dir}, names...)...)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", fmt.Errorf("make folder: %w", err)
	}
	ignore := filepath.Join(f.dir, ".gitignore")
	if _, err := os.Lstat(ignore); !errors.Is(err, fs.ErrNotExist) {
		return dir, nil
	}
	if err := renameio.WriteFile(ignore, []byte("*\n"), 0o644); err != nil {
		return "", fmt.Errorf("hide folder from git: %w", err)
	}
	return dir, nil
}
