package terraform

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/google/renameio/v2"

	"github.com/seed-b96de936/troop/core"
)

// declared returns the variable names that a root module declares, sorted.
func declared(module fs.FS) ([]string, error) {
	all, err := blocks(module)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, block := range all {
		if block.Type == "variable" && len(block.Labels) == 1 {
			names = append(names, block.Labels[0])
		}
	}
	slices.Sort(names)
	return names, nil
}

// UndeclaredError: the manifest sets variables that the module does not declare. Terraform would only warn, and a
// misspelt limit would go unnoticed.
type UndeclaredError struct {
	Names, Declared []string
}

func (e *UndeclaredError) Error() string {
	return fmt.Sprintf("the module has no variable %s; it has %s", strings.Join(e.Names, ", "), strings.Join(e.Declared, ", "))
}

// Check checks a root module and the manifest's variables for it without running Terraform: syntax, and undeclared
// variables as an *UndeclaredError. Modules that declare variables in JSON are not checked.
func Check(module fs.FS, variables map[string]any) error {
	if files, err := fs.Glob(module, "*.tf.json"); err != nil || len(files) > 0 {
		return err
	}
	known, err := declared(module)
	if err != nil {
		return err
	}
	var unknown []string
	for _, name := range slices.Sorted(maps.Keys(variables)) {
		if !slices.Contains(known, name) {
			unknown = append(unknown, name)
		}
	}
	if len(unknown) > 0 {
		return &UndeclaredError{Names: unknown, Declared: known}
	}
	return nil
}

// writeVariables writes the variables to a file: every local user could read them on a command line.
func (w *Workspace) writeVariables() (file string, err error) {
	known, err := declared(w.Module)
	if err != nil {
		return "", err
	}
	values := map[string]any{}
	for name, value := range map[string]any{"environment": w.Environment, "ssh_public_key": w.PublicKey} {
		if slices.Contains(known, name) {
			values[name] = value
		}
	}
	if w.Project != "" && slices.Contains(known, "troop_project") {
		values["troop_project"] = w.Project
	}
	maps.Copy(values, w.Variables)
	b, err := json.MarshalIndent(values, "", "  ")
	if err != nil {
		return "", fmt.Errorf("write variables: %w", err)
	}
	file = w.path("variables.tfvars.json")
	return file, writeFile(file, b)
}

// sync copies the module to the working folder, removes files of an earlier version, and returns the module's digest. It
// does not touch unchanged files or files that are not the module's.
func (w *Workspace) sync() (core.Digest, error) {
	sums := map[string]core.Digest{}
	err := fs.WalkDir(w.Module, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if base := path.Base(name); base == ".terraform" || base == ".git" || name == own {
				return fs.SkipDir
			}
			return nil
		}
		if !d.Type().IsRegular() || strings.Contains(path.Base(name), ".tfstate") {
			return nil
		}
		b, err := fs.ReadFile(w.Module, name)
		if err != nil {
			return err
		}
		sums[name] = core.DigestOf(b)
		return w.copyFile(name, b)
	})
	if err != nil {
		return "", fmt.Errorf("copy module: %w", err)
	}
	if w.Backend != nil {
		b, err := json.MarshalIndent(map[string]any{
			"terraform": map[string]any{"backend": map[string]any{w.Backend.Type: w.Backend.Arguments}},
		}, "", "  ")
		if err != nil {
			return "", fmt.Errorf("write backend: %w", err)
		}
		sums[backendFile] = core.DigestOf(b)
		if err := w.copyFile(backendFile, b); err != nil {
			return "", fmt.Errorf("write backend: %w", err)
		}
	}
	list, err := json.MarshalIndent(sums, "", "  ") // sorted by name
	if err != nil {
		return "", err
	}
	if err := w.removeOld(sums); err != nil {
		return "", fmt.Errorf("copy module: %w", err)
	}
	if err := writeFile(w.path("module.json"), list); err != nil {
		return "", err
	}
	return core.DigestOf(list), nil
}

// backendFile is an override file: it takes precedence over the backend in the module's own files.
const backendFile = "troop_override.tf.json"

const lockFile = ".terraform.lock.hcl"

func (w *Workspace) copyFile(name string, b []byte) error {
	target := filepath.Join(w.Dir, filepath.FromSlash(name))
	old, err := os.ReadFile(target)
	if err == nil && (bytes.Equal(old, b) || name == lockFile) {
		return nil // the module's lock file is only the initial one; init maintains it from then on
	}
	if err := os.MkdirAll(filepath.Dir(target), 0o700); err != nil {
		return err
	}
	return writeFile(target, b)
}

func (w *Workspace) removeOld(current map[string]core.Digest) error {
	b, err := os.ReadFile(w.path("module.json"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	} else if err != nil {
		return err
	}
	var old map[string]string
	if err := json.Unmarshal(b, &old); err != nil {
		return err
	}
	for name := range old {
		if _, ok := current[name]; ok || name == lockFile || !filepath.IsLocal(name) {
			continue
		}
		if err := os.Remove(filepath.Join(w.Dir, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// writeFile replaces a file atomically. Only the owner may read it: states, plans and variables hold secrets.
func writeFile(name string, b []byte) error {
	return renameio.WriteFile(name, b, 0o600)
}
