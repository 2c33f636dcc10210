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
	"regexp"
	"slices"
	"strings"

	"github.com/google/renameio/v2"
	"github.com/zclconf/go-cty/cty"

	"github.com/seed-b96de936/troop/core"
)

// ReadBy is a root module as a program reads it: OpenTofu takes main.tofu in place of main.tf, and Terraform knows only the
// latter. A module with such files is refused unless the program is said.
func ReadBy(module fs.FS, program string) (fs.FS, error) {
	if program == "" {
		for _, pattern := range []string{"*.tofu", "*.tofu.json"} {
			if found, err := fs.Glob(module, pattern); err == nil && len(found) > 0 {
				return nil, fmt.Errorf("only OpenTofu reads %s; say in the terraform block which program makes the hosts: program = \"tofu\", or program = \"terraform\"", list(found))
			}
		}
	}
	return readBy{module, program == "tofu"}, nil
}

var language = regexp.MustCompile(`\.(tf|tofu)(\.json)?$`)

type readBy struct {
	fs.FS

	tofu bool
}

func (r readBy) ReadDir(dir string) ([]fs.DirEntry, error) {
	entries, err := fs.ReadDir(r.FS, dir)
	all := map[string]bool{}
	for _, e := range entries {
		all[e.Name()] = true
	}
	return slices.DeleteFunc(entries, func(e fs.DirEntry) bool {
		ending := language.FindStringSubmatch(e.Name())
		switch {
		case ending == nil:
			return false
		case ending[1] == "tofu":
			return !r.tofu
		}
		return r.tofu && all[strings.TrimSuffix(e.Name(), ending[0])+".tofu"+ending[2]]
	}), err
}

// declared returns the variable names that a root module declares, sorted.
func declared(module fs.FS) ([]string, error) {
	all, err := blocks(module)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, block := range all {
		if block.Type == "variable" {
			names = append(names, block.Labels[0])
		}
	}
	slices.Sort(names)
	return slices.Compact(names), nil // an override names one again
}

// UndeclaredError: the manifest sets variables that the module does not declare. Terraform would only warn, and a
// misspelt limit would go unnoticed.
type UndeclaredError struct {
	Names, Declared []string
}

func (e *UndeclaredError) Error() string {
	return fmt.Sprintf("the module has no variable %s; it has %s", strings.Join(e.Names, ", "), strings.Join(e.Declared, ", "))
}

// Check checks a root module and the manifest's variables for it without running Terraform: syntax, modules that it calls
// outside of its folder, and undeclared variables as an *UndeclaredError.
func Check(module fs.FS, variables map[string]any) error {
	known, err := declared(module)
	if err != nil {
		return err
	}
	if err := checkCalls(module, ".", map[string]bool{}); err != nil {
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

// checkCalls refuses calls of modules outside of the root module's folder: Terraform gets a copy of that folder only.
func checkCalls(root fs.FS, dir string, seen map[string]bool) error {
	if seen[dir] {
		return nil
	}
	seen[dir] = true
	module, err := fs.Sub(root, dir)
	if err != nil {
		return err
	}
	all, err := blocks(module)
	if err != nil {
		return err
	}
	for _, block := range all {
		if block.Type != "module" {
			continue
		}
		call, _, diags := block.Body.PartialContent(&callGrammar)
		if diags.HasErrors() || call.Attributes["source"] == nil {
			continue // Terraform's error is better
		}
		value, diags := call.Attributes["source"].Expr.Value(nil)
		if diags.HasErrors() || value.Type() != cty.String || value.IsNull() || !strings.HasPrefix(value.AsString(), ".") {
			continue
		}
		to := path.Join(dir, value.AsString())
		if !fs.ValidPath(to) {
			r := call.Attributes["source"].Range
			r.Filename = path.Join(dir, r.Filename)
			return fmt.Errorf("%s: module %s is outside of the root module, and Terraform gets a copy of that folder only; move it below the folder, or make a symbolic link there and name the link",
				r, value.AsString())
		}
		if err := checkCalls(root, to, seen); err != nil {
			return err
		}
	}
	return nil
}

// writeVariables writes the variables to a file: every local user could read them on a command line.
func (w *Workspace) writeVariables() (file string, err error) {
	values, err := w.values()
	if err != nil {
		return "", err
	}
	return w.writeValues("variables.tfvars.json", values)
}

// writeEphemeral writes the values that Terraform wants again for the apply of a plan, as the plan does not keep them; empty:
// there are none. The caller removes the file.
func (w *Workspace) writeEphemeral() (file string, err error) {
	names, err := ephemeral(w.Module)
	if err != nil {
		return "", err
	}
	values, err := w.values()
	if err != nil {
		return "", err
	}
	maps.DeleteFunc(values, func(name string, _ any) bool { return !slices.Contains(names, name) })
	if len(values) == 0 {
		return "", nil
	}
	return w.writeValues("ephemeral.tfvars.json", values)
}

func (w *Workspace) writeValues(name string, values map[string]any) (file string, err error) {
	b, err := json.MarshalIndent(values, "", "  ")
	if err != nil {
		return "", fmt.Errorf("write variables: %w", err)
	}
	file = w.path(name)
	return file, writeFile(file, b)
}

// values are the module's variables: the manifest's and those that troop sets.
func (w *Workspace) values() (map[string]any, error) {
	known, err := declared(w.Module)
	if err != nil {
		return nil, err
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
	return values, nil
}

// sync copies the module to the working folder, removes files of an earlier version, and returns the module's digest. It
// does not touch unchanged files or files that are not the module's.
func (w *Workspace) sync() (core.Digest, error) {
	sums := map[string]core.Digest{}
	err := w.files(".", nil, func(name string) error {
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

// files calls each with the module's files. It follows symbolic links, but not back into a folder above.
func (w *Workspace) files(dir string, above []fs.FileInfo, each func(name string) error) error {
	here, err := fs.Stat(w.Module, dir)
	if err != nil {
		return err
	}
	if slices.ContainsFunc(above, func(a fs.FileInfo) bool { return os.SameFile(a, here) }) {
		return nil
	}
	entries, err := fs.ReadDir(w.Module, dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		base, name := e.Name(), path.Join(dir, e.Name())
		info, err := fs.Stat(w.Module, name)
		switch {
		case errors.Is(err, fs.ErrNotExist) && path.Ext(base) != ".tf":
			continue // an editor's lock, or a link to what only another machine has
		case err != nil:
			return err
		case info.IsDir():
			if base == ".terraform" || base == ".git" || name == own {
				continue
			}
			err = w.files(name, append(slices.Clone(above), here), each)
		case info.Mode().IsRegular() && !strings.Contains(base, ".tfstate"):
			err = each(name)
		}
		if err != nil {
			return err
		}
	}
	return nil
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
