package environment

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/gofrs/flock"
	"github.com/google/renameio/v2"

	"github.com/seed-b96de936/troop/core"
	"github.com/seed-b96de936/troop/core/vault"
)

// share keeps the files of an environment's folder in a vault, where the whole team finds them. The folder is a copy: it
// is filled when the environment is opened, and what a holder of the environment changes there is written to the vault,
// while it works and when it ends. When nobody on this machine uses the copy any more, it is removed: private files stay
// nowhere but in the vault.
type share struct {
	vault *vault.Vault
	dir   string
	use   *flock.Flock  // shared by all processes that use the copy
	every time.Duration // how often a holder writes what has changed

	mu   sync.Mutex
	have map[string]core.Digest // files as they are in the vault
}

// The files that the team shares. The others are made anew where they are needed.
var (
	sharedFiles = []string{
		"ssh_key", "ssh_key.pub", "ssh_key.present", "ssh_key.former", "known_hosts", "secrets.json", "hosts.json", "configured.json", projectFile,
		"terraform/terraform.tfstate", "terraform/.terraform.lock.hcl",
		"terraform/.troop/plan", "terraform/.troop/plan.json", "terraform/.troop/shown.json", "terraform/.troop/approvals.jsonl", "terraform/.troop/begun.json",
	}
	sharedFolders = []string{"fingerprints", "terraform/.troop/states"}
	// leftovers are further private files in a folder, which are only removed.
	leftovers = []string{"inventory.yml", "ansible", "terraform/terraform.tfstate.backup"}
)

// projectFile holds what tells the environment's project from others, when that is not its store: the folder from which
// it was taken over.
const projectFile = "project"

// haveFile, in the folder, holds what was last read from or written to the vault: what differs from it was left by a
// command that was killed.
const haveFile = ".have.json"

// pushEvery is how often a holder writes what has changed.
const pushEvery = 5 * time.Second

// openShare opens the copy and brings it up to date, unless a process on this machine holds the environment: then the
// copy is newer.
func (e *Environment) openShare(ctx context.Context) error {
	if e.o.Vault == nil {
		return nil
	}
	if err := os.MkdirAll(e.dir, 0o700); err != nil {
		return err
	}
	s := &share{
		vault: e.o.Vault.of(e.o.Pipeline, e.conf.Name),
		dir:   e.dir, use: flock.New(filepath.Join(e.dir, ".use")), every: pushEvery, have: map[string]core.Digest{},
	}
	if err := s.use.RLock(); err != nil {
		return fmt.Errorf("open environment %s: %w", e.conf.Name, err)
	}
	holding := flock.New(filepath.Join(e.dir, ".holding"))
	free, err := holding.TryRLock()
	if err == nil && free {
		err = s.pull(ctx)
	}
	_ = holding.Close()
	if err != nil {
		return errors.Join(err, s.close())
	}
	e.share = s
	return nil
}

// Shared reports whether the environment's private files are on this machine only while it is open.
func (e *Environment) Shared() bool { return e.o.Vault != nil }

// files lists the paths of the shared files there are.
func (s *share) files() ([]string, error) {
	found := slices.Clone(sharedFiles)
	for _, dir := range sharedFolders {
		err := filepath.WalkDir(filepath.Join(s.dir, dir), func(path string, d fs.DirEntry, err error) error {
			if errors.Is(err, fs.ErrNotExist) {
				return nil
			}
			if err != nil || !d.Type().IsRegular() {
				return err
			}
			rel, err := filepath.Rel(s.dir, path)
			found = append(found, filepath.ToSlash(rel))
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	return slices.DeleteFunc(found, func(path string) bool {
		info, err := os.Lstat(s.path(path))
		return err != nil || !info.Mode().IsRegular()
	}), nil
}

func (s *share) path(name string) string { return filepath.Join(s.dir, filepath.FromSlash(name)) }

// pull makes the copy what the vault has. What a killed command has left is kept when nobody has worked since.
func (s *share) pull(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	d, at, err := s.vault.Load(ctx)
	if err != nil {
		return err
	}
	var last struct {
		Tag   string
		Files map[string]core.Digest
	}
	if b, err := os.ReadFile(s.path(haveFile)); err == nil {
		_ = json.Unmarshal(b, &last) // else everything is read again
	}
	if last.Tag == at.Tag && at.Tag != "" {
		s.have = last.Files
		return nil
	}
	here, err := s.files()
	if err != nil {
		return err
	}
	for _, path := range here {
		if _, ok := d.Files[path]; !ok {
			if err := os.Remove(s.path(path)); err != nil {
				return err
			}
		}
	}
	s.have = map[string]core.Digest{}
	for path, f := range d.Files {
		if !s.shares(path) {
			continue
		}
		s.have[path] = f.Digest
		if b, err := os.ReadFile(s.path(path)); err == nil && core.DigestOf(b) == f.Digest {
			continue
		}
		data, err := s.vault.Get(ctx, d, path)
		if err != nil {
			return err
		}
		if err := os.MkdirAll(filepath.Dir(s.path(path)), 0o700); err != nil {
			return err
		}
		if err := renameio.WriteFile(s.path(path), data, f.Mode&0o700); err != nil {
			return err
		}
	}
	return s.note(at.Tag)
}

// shares reports whether a path of a document is one that the folder may have: nothing else is written there.
func (s *share) shares(path string) bool {
	return slices.Contains(sharedFiles, path) || fs.ValidPath(path) &&
		slices.ContainsFunc(sharedFolders, func(dir string) bool { return strings.HasPrefix(path, dir+"/") })
}

func (s *share) note(tag string) error {
	b, err := json.Marshal(map[string]any{"Tag": tag, "Files": s.have})
	if err != nil {
		return err
	}
	return renameio.WriteFile(s.path(haveFile), b, 0o600)
}

// push writes what has changed in the copy. fence is the number of the lease under which it was changed: a document that
// a later holder has written is left alone. Without a lease (0), only what any command may change is written.
func (s *share) push(ctx context.Context, env string, fence int64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	here, err := s.files()
	if err != nil {
		return err
	}
	now, changed := map[string][]byte{}, false
	for _, path := range here {
		b, err := os.ReadFile(s.path(path))
		if err != nil {
			return err
		}
		now[path] = b
		changed = changed || s.have[path] != core.DigestOf(b)
	}
	if !changed && len(now) == len(s.have) {
		return nil
	}
	err = s.vault.Change(ctx, func(d *vault.Document) error {
		if fence == 0 {
			return s.addTo(ctx, d, now)
		}
		if d.Fence > fence {
			return &core.LostError{Environment: env}
		}
		d.Fence = fence
		for path := range d.Files {
			if _, ok := now[path]; !ok && s.shares(path) {
				delete(d.Files, path)
			}
		}
		for path, b := range now {
			if f, ok := d.Files[path]; ok && f.Digest == core.DigestOf(b) {
				continue
			}
			info, err := os.Stat(s.path(path))
			if err != nil {
				return err
			}
			if err := s.vault.Put(ctx, d, path, info.Mode(), b); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	s.have = map[string]core.Digest{}
	for path, b := range now {
		s.have[path] = core.DigestOf(b)
	}
	_, at, err := s.vault.Load(ctx)
	if err != nil {
		return err
	}
	return s.note(at.Tag)
}

// unleased are the files that a command without the lease may replace: the last plan and its approvals.
var unleased = []string{"terraform/.troop/plan", "terraform/.troop/plan.json", "terraform/.troop/shown.json", "terraform/.troop/approvals.jsonl", "terraform/.terraform.lock.hcl"}

// addTo adds what a command without the lease may add: files that the vault does not have, a plan over the one that it has
// read, and lines of known_hosts.
func (s *share) addTo(ctx context.Context, d *vault.Document, now map[string][]byte) error {
	for path, b := range now {
		f, ok := d.Files[path]
		switch {
		case !ok && s.have[path] == "", ok && slices.Contains(unleased, path) && f.Digest == s.have[path] && f.Digest != core.DigestOf(b):
			if err := s.vault.Put(ctx, d, path, 0o600, b); err != nil {
				return err
			}
		case ok && path == "known_hosts" && f.Digest != core.DigestOf(b):
			theirs, err := s.vault.Get(ctx, d, path)
			if err != nil {
				return err
			}
			for line := range bytes.Lines(b) {
				if !bytes.Contains(theirs, line) {
					theirs = append(theirs, line...)
				}
			}
			if err := s.vault.Put(ctx, d, path, 0o600, theirs); err != nil {
				return err
			}
		}
	}
	return nil
}

// claim marks the document with the number of a new holder before it is read: a write of an earlier holder that is still on
// its way fails from then on, and is not lost unseen.
func (s *share) claim(ctx context.Context, env string, fence int64) error {
	return s.vault.Change(ctx, func(d *vault.Document) error {
		if d.Fence > fence {
			return &core.LostError{Environment: env}
		}
		d.Fence = fence
		return nil
	})
}

// hold writes changes while the environment is held, until the returned function is called, which writes the last ones.
//
//nolint:contextcheck // it lasts until end, whatever ends before
func (s *share) hold(e *Environment, lease *core.Lease) (end func() error, err error) {
	holding := flock.New(filepath.Join(s.dir, ".holding"))
	if err := holding.Lock(); err != nil {
		return nil, err
	}
	err = s.claim(context.Background(), e.conf.Name, lease.Fence)
	if err == nil {
		err = s.pull(context.Background()) // what the holder before has written
	}
	if err != nil {
		return nil, errors.Join(err, holding.Close())
	}
	ctx, stop := context.WithCancel(context.Background()) // until end
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case <-ctx.Done():
				return
			case <-lease.Lost:
				return
			case <-time.After(s.every):
			}
			if err := s.push(ctx, e.conf.Name, lease.Fence); errors.As(err, new(*core.LostError)) {
				e.o.Stop(err)
				return
			} else if err != nil && ctx.Err() == nil {
				e.o.Log(fmt.Sprintf("environment %s: what has changed cannot be written to the store yet: %v", e.conf.Name, err))
			}
		}
	}()
	return func() error {
		stop()
		<-done
		defer func() { _ = holding.Close() }()
		select {
		case <-lease.Lost:
			return nil // the environment is somebody else's
		default:
		}
		if err := s.push(context.Background(), e.conf.Name, lease.Fence); err != nil {
			return fmt.Errorf("environment %s: what has changed is only on this machine, in %s: %w", e.conf.Name, s.dir, err)
		}
		return nil
	}, nil
}

// close removes the private files of the copy, unless another process uses it or something in it is not written yet.
func (s *share) close() error {
	if err := s.use.Unlock(); err != nil {
		return err
	}
	defer func() { _ = s.use.Close() }()
	if alone, err := s.use.TryLock(); err != nil || !alone {
		return err
	}
	here, err := s.files()
	if err != nil {
		return err
	}
	for _, path := range here {
		if d, err := core.DigestFile(s.path(path)); err != nil || s.have[path] != d {
			return err // of a killed command
		}
	}
	errs := []error{removeIf(s.path(haveFile))}
	for _, path := range here {
		errs = append(errs, removeIf(s.path(path)))
	}
	for _, path := range leftovers {
		errs = append(errs, os.RemoveAll(s.path(path)))
	}
	return errors.Join(errs...)
}

// terraformDir is the working folder of Terraform, as Terraform itself names it.
func (s *share) terraformDir() string {
	dir := s.path("terraform")
	if abs, err := filepath.Abs(dir); err == nil {
		dir = abs
	}
	if real, err := filepath.EvalSymlinks(dir); err == nil {
		dir = real
	}
	return dir
}

// project tells this environment from others on a machine, the same for all members of a team, whatever their folders.
// Empty: the folder does.
func (e *Environment) project() (string, error) {
	if e.share == nil || e.o.Pipeline.Store == nil {
		return "", nil
	}
	b, err := os.ReadFile(e.share.path(projectFile))
	if errors.Is(err, fs.ErrNotExist) {
		return e.o.Pipeline.Store.ID() + "/" + e.conf.Name, nil
	}
	return string(b), err
}

func removeIf(path string) error {
	if err := os.Remove(path); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// TakeOver writes the files of an environment's folder, such as one in .troop, into the vault of a shared store, unless
// that has files of the environment already. The folder stays as it is. It returns a line that says what was done.
func TakeOver(ctx context.Context, o Options, folder string) (string, error) {
	from := &share{dir: folder}
	paths, err := from.files()
	if err != nil {
		return "", err
	}
	if len(paths) == 0 {
		return fmt.Sprintf("environment %s: nothing to copy", o.Name), nil
	}
	v := o.Vault.of(o.Pipeline, o.Name)
	took := 0
	err = v.Change(ctx, func(d *vault.Document) error {
		took = 0
		if len(d.Files) > 0 {
			return errTaken
		}
		for _, path := range paths {
			b, err := os.ReadFile(from.path(path))
			if err != nil {
				return err
			}
			info, err := os.Stat(from.path(path))
			if err != nil {
				return err
			}
			if err := v.Put(ctx, d, path, info.Mode(), b); err != nil {
				return err
			}
			took++
		}
		return v.Put(ctx, d, projectFile, 0o600, []byte(from.terraformDir()))
	})
	if errors.Is(err, errTaken) {
		return fmt.Sprintf("environment %s: the store has it already; nothing was written over", o.Name), nil
	}
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("environment %s: %d private files copied, encrypted for %d members", o.Name, took, len(o.Pipeline.Team)), nil
}

var errTaken = errors.New("the store has the environment already")
