package ansible

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/gofrs/flock"
	"github.com/google/renameio/v2"
	"go.yaml.in/yaml/v3"

	"github.com/seed-b96de936/troop/core"
	"github.com/seed-b96de936/troop/core/remote"
)

// requirements is a team's requirements.yml, as ansible-galaxy reads it.
type requirements struct {
	Roles []struct{ Name, Src string }
}

// requiredRoles are the names of the roles that a requirements file asks for.
func requiredRoles(file string) ([]string, error) {
	if file == "" {
		return nil, nil
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var all requirements
	if err := yaml.Unmarshal(text, &all); err != nil && yaml.Unmarshal(text, &all.Roles) != nil { // the older form is a list of roles
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	var names []string
	for _, r := range all.Roles {
		name := r.Name
		if name == "" {
			name = strings.TrimSuffix(strings.TrimSuffix(filepath.Base(r.Src), ".tar.gz"), ".git")
		}
		names = append(names, name)
	}
	return names, nil
}

// lockOf is the file beside a requirements file with the digest of what was installed from it.
func lockOf(requirements string) string {
	return strings.TrimSuffix(requirements, filepath.Ext(requirements)) + ".lock"
}

// galaxy returns the folder with the collections and roles that a requirements file asks for; empty: there is none. It
// installs them once, with ansible-galaxy, and records their digest in the lock file beside the requirements; what differs
// from that digest is refused. Concurrent calls wait for each other.
func (r *Runner) galaxy(ctx context.Context) (string, error) {
	file := r.conf.Requirements
	if file == "" {
		return "", nil
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return "", err
	}
	parent := filepath.Join(r.conf.Dir, "ansible")
	dir := filepath.Join(parent, "galaxy-"+core.DigestOf(text).Hex()[:12])
	if err := os.MkdirAll(parent, 0o700); err != nil {
		return "", err
	}
	lock := flock.New(dir + ".lock")
	if err := lock.Lock(); err != nil {
		return "", err
	}
	defer func() { _ = lock.Close() }()
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		if err := r.install(ctx, file, dir); err != nil {
			return "", fmt.Errorf("install what %s asks for: %w", r.place(file), err)
		}
	}
	installed, err := readTree(os.DirFS(dir))
	if err != nil {
		return "", err
	}
	want, err := os.ReadFile(lockOf(file))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return dir, renameio.WriteFile(lockOf(file), []byte(string(installed.digest)+"\n"), 0o644)
	case err != nil:
		return "", err
	case strings.TrimSpace(string(want)) != string(installed.digest):
		return "", errors.Join(os.RemoveAll(dir), fmt.Errorf(
			"what %s asks for is not what %s has the digest of: got %s; if it was changed on purpose, remove that file, run again and commit it",
			r.place(file), r.place(lockOf(file)), installed.digest))
	}
	return dir, nil
}

// install runs ansible-galaxy in the folder of the requirements, so that names of archives there are found without a
// network.
func (r *Runner) install(ctx context.Context, file, dir string) error {
	playbook, err := Find()
	if err != nil {
		return err
	}
	program := filepath.Join(filepath.Dir(playbook), "ansible-galaxy")
	made := dir + ".new"
	if err := errors.Join(os.RemoveAll(made), os.MkdirAll(made, 0o700)); err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(made) }()
	for _, kind := range []string{"collection", "role"} {
		into := filepath.Join(made, kind+"s")
		c := exec.CommandContext(ctx, program, kind, "install", "-r", file, "-p", into)
		c.Dir = filepath.Dir(file)
		c.Env = append(os.Environ(), "ANSIBLE_NOCOLOR=true", "ANSIBLE_COLLECTIONS_PATH="+into, "ANSIBLE_ROLES_PATH="+into)
		var said bytes.Buffer
		c.Stdout, c.Stderr = &said, &said
		if err := c.Run(); err != nil {
			return fmt.Errorf("ansible-galaxy %s install: %w: %s", kind, err, strings.TrimSpace(said.String()))
		}
	}
	if err := forgetTimes(made); err != nil {
		return err
	}
	return os.Rename(made, dir)
}

// forgetTimes removes the files in which ansible-galaxy notes when and where it installed something, so that equal contents
// have an equal digest.
func forgetTimes(dir string) error {
	return filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && strings.HasSuffix(d.Name(), ".info"):
			return errors.Join(os.RemoveAll(path), fs.SkipDir)
		case d.Name() == ".galaxy_install_info":
			return os.Remove(path)
		}
		return nil
	})
}

// vaultScript writes a program for Ansible that says the vault password by running the manifest's command, in the manifest's
// folder and with the user's PATH. It holds no secret.
func (w *workspace) vaultScript(command []string, manifest string) error {
	if len(command) == 0 {
		return nil
	}
	words := make([]string, 0, len(command))
	for _, word := range command {
		words = append(words, remote.Quote(word))
	}
	text := fmt.Sprintf("#!/bin/sh\ncd %s && PATH=%s exec %s\n", remote.Quote(manifest), remote.Quote(os.Getenv("PATH")), strings.Join(words, " "))
	w.vault = filepath.Join(w.dir, "vault-password")
	return os.WriteFile(w.vault, []byte(text), 0o700)
}
