// Package scaffold creates a new plugin: a Go module with a stage, tests, a Makefile and a pipeline to try it. The troop
// program calls it for `troop plugin new`.
package scaffold

import (
	"bytes"
	"context"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"text/template"

	"golang.org/x/mod/modfile"
)

//go:embed all:templates
var files embed.FS

const templateExt = ".tmpl"

var templates = template.Must(template.New("").Funcs(template.FuncMap{"quote": modfile.AutoQuote}).ParseFS(files, "templates/*"+templateExt, "templates/.*/*"+templateExt))

// sdkModule is the module that plugins import.
const sdkModule = "github.com/seed-b96de936/troop"

// Plugin is the data of the templates.
type Plugin struct {
	Name string // TYPE in `stage "TYPE" "NAME"`
	SDK  SDK
}

// SDK is a checkout of troop, which contains the SDK.
type SDK struct {
	Dir string // absolute
	Go  string // Go version in its go.mod
}

// Module returns the path of the SDK's module.
func (SDK) Module() string { return sdkModule }

var validName = regexp.MustCompile(`^[a-z][a-z0-9]*(-[a-z0-9]+)*$`)

// CheckName returns an error if name is not a valid plugin name, or is taken already by what taken says.
func CheckName(name string, taken map[string]string) error {
	if !validName.MatchString(name) || len(name) > 40 {
		return fmt.Errorf("invalid plugin name %q: want lower-case letters, digits and single dashes, starting with a letter, 40 at most", name)
	}
	if by := taken[name]; by != "" {
		return fmt.Errorf("%s is %s already; choose another name", name, by)
	}
	return nil
}

// OpenSDK returns the checkout of troop in a folder.
func OpenSDK(dir string) (SDK, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return SDK{}, fmt.Errorf("find checkout of troop: %w", err)
	}
	file := filepath.Join(dir, "go.mod")
	text, err := os.ReadFile(file)
	if err != nil {
		return SDK{}, fmt.Errorf("%s is not a checkout of troop: %w", dir, err)
	}
	mod, err := modfile.ParseLax(file, text, nil)
	if err != nil {
		return SDK{}, fmt.Errorf("%s is not a checkout of troop: %w", dir, err)
	}
	if mod.Module == nil || mod.Module.Mod.Path != sdkModule || mod.Go == nil {
		return SDK{}, fmt.Errorf("%s is not a checkout of troop: its go.mod names another module", dir)
	}
	return SDK{Dir: dir, Go: mod.Go.Version}, nil
}

// FindSDK returns the checkout in a folder, or, without one, the checkout that contains this program in a subfolder such as
// bin. The binary itself does not know its source folder (-trimpath).
func FindSDK(dir string) (SDK, error) {
	if dir != "" {
		return OpenSDK(dir)
	}
	exe, err := os.Executable()
	if err != nil {
		return SDK{}, fmt.Errorf("find own program: %w", err)
	}
	return sdkOf(exe)
}

func sdkOf(program string) (SDK, error) {
	sdk, err := OpenSDK(filepath.Join(filepath.Dir(program), ".."))
	if err != nil {
		return SDK{}, fmt.Errorf("this troop binary is not in a checkout: %w; pass --sdk FOLDER", err)
	}
	return sdk, nil
}

// New writes a plugin's module to a new folder. If the folder exists, the error is fs.ErrExist. On any other error the
// folder is removed.
func New(ctx context.Context, dir string, p Plugin) (err error) {
	err = os.Mkdir(dir, 0o755)
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("%s is there already; choose another name, or move it away: %w", dir, err)
	}
	if err != nil {
		return fmt.Errorf("make folder: %w", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.RemoveAll(dir))
		}
	}()
	err = fs.WalkDir(files, "templates", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		name := strings.TrimSuffix(strings.TrimPrefix(path, "templates/"), templateExt)
		return p.write(filepath.Join(dir, filepath.FromSlash(name)), filepath.Base(path))
	})
	if err != nil {
		return fmt.Errorf("write module: %w", err)
	}
	return p.require(ctx, dir)
}

// write executes one template. Scripts are made executable.
func (p Plugin) write(path, name string) error {
	var text bytes.Buffer
	if err := templates.ExecuteTemplate(&text, name, p); err != nil {
		return err
	}
	mode := fs.FileMode(0o644)
	if bytes.HasPrefix(text.Bytes(), []byte("#!")) {
		mode = 0o755
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return os.WriteFile(path, text.Bytes(), mode)
}

// require adds the SDK's dependencies to go.mod, in the checkout's versions. It copies the checkout's go.sum, so that no
// network is needed where troop itself was built; go mod tidy may trim it.
func (p Plugin) require(ctx context.Context, dir string) error {
	sums, err := os.ReadFile(filepath.Join(p.SDK.Dir, "go.sum"))
	if err != nil {
		return fmt.Errorf("read checksums of the checkout: %w", err)
	}
	if err := os.WriteFile(filepath.Join(dir, "go.sum"), sums, 0o644); err != nil {
		return fmt.Errorf("write checksums: %w", err)
	}
	list := exec.CommandContext(ctx, "go", "list", "-mod=mod", "-deps", "-test", "./...")
	list.Dir = dir
	list.Env = append(os.Environ(), "GOWORK=off")
	var complaint bytes.Buffer
	list.Stderr = &complaint
	err = list.Run()
	if errors.Is(err, exec.ErrNotFound) {
		return fmt.Errorf("complete go.mod: go not found: install Go %s or newer", p.SDK.Go)
	}
	if err != nil {
		return fmt.Errorf("complete go.mod: %w: %s", err, bytes.TrimSpace(complaint.Bytes()))
	}
	return nil
}
