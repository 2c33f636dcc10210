// Package loader finds plugin binaries, makes private copies of them, verifies and starts those copies, and
// speaks for them in the core's own types. The core's programs import it: troop for whole folders of plugins,
// troop-agent on a host for one binary of a known digest.
package loader

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/seed-b96de936/troop/core"
	"github.com/seed-b96de936/troop/plugins/sdk/client"
)

// prefix is what the name of every plugin binary begins with.
const prefix = "troop-plugin-"

// Options say where plugins are and how they are started. The zero value is good.
type Options struct {
	Dirs         []string      // looked into first, in order
	Cache        string        // folder for copies and descriptions; "": troop in the user's cache folder
	Env          []string      // NAME=VALUE for every plugin, beside the allow-list
	StartTimeout time.Duration // 0: 20 s
	Grace        time.Duration // for a cancelled call to wind up, such as to put a canary back; 0: 20 s
}

// Loader implements core.Plugins. Its methods may be called from several goroutines.
type Loader struct {
	o      Options
	dirs   []string
	store  *store
	accept func(typ, path string, d core.Digest) error // judges a copy; nil: every one is good
}

// New returns a Loader over the folders that the caller names, the folder of the running program and
// ~/.troop/plugins, never the current folder.
func New(o Options) (*Loader, error) {
	s, err := openStore(o.Cache)
	if err != nil {
		return nil, err
	}
	l := &Loader{o: o, store: s}
	for _, dir := range o.Dirs {
		abs, err := filepath.Abs(dir)
		if err != nil {
			return nil, fmt.Errorf("find plugin folder: %w", err)
		}
		l.add(abs)
	}
	if exe, err := os.Executable(); err == nil {
		if real, err := filepath.EvalSymlinks(exe); err == nil {
			exe = real
		}
		l.add(filepath.Dir(exe))
	}
	if home, err := os.UserHomeDir(); err == nil {
		l.add(filepath.Join(home, ".troop", "plugins"))
	}
	return l, nil
}

func (l *Loader) add(dir string) {
	if !slices.Contains(l.dirs, dir) {
		l.dirs = append(l.dirs, dir)
	}
}

var validType = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_-]*$`)

// Path returns where the plugin of a type lies: the first one found. Else it is a *core.NotFoundError.
func (l *Loader) Path(typ string) (string, error) {
	if validType.MatchString(typ) {
		for _, dir := range l.dirs {
			path := filepath.Join(dir, prefix+typ)
			if isProgram(path) {
				return path, nil
			}
		}
	}
	return "", &core.NotFoundError{What: "plugin", Name: typ, Remedy: l.remedy(typ)}
}

func isProgram(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0
}

func (l *Loader) remedy(typ string) string {
	looked := fmt.Sprintf("troop looked for %s%s in %s", prefix, typ, strings.Join(l.dirs, ", "))
	if best := core.Nearest(typ, l.Types()); best != "" {
		return fmt.Sprintf("did you mean %q? (%s)", best, looked)
	}
	return looked
}

// Types returns the types of all plugins, sorted.
func (l *Loader) Types() []string {
	var types []string
	for _, dir := range l.dirs {
		paths, _ := filepath.Glob(filepath.Join(escapeGlob(dir), prefix+"*"))
		for _, path := range paths {
			typ := strings.TrimPrefix(filepath.Base(path), prefix)
			if validType.MatchString(typ) && !slices.Contains(types, typ) && isProgram(path) {
				types = append(types, typ)
			}
		}
	}
	slices.Sort(types)
	return types
}

var escapeGlob = strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`).Replace

// Open starts the plugin of a type. The caller closes it.
func (l *Loader) Open(ctx context.Context, typ string) (core.Plugin, error) {
	c, err := l.copy(typ)
	if err != nil {
		return nil, err
	}
	p, err := start(ctx, c.path, c.digest, l.o)
	if err != nil {
		return nil, err
	}
	if got := p.Description().Name; got != typ {
		_ = p.Close()
		return nil, fmt.Errorf("%s%s calls itself %q: name the binary %s%s", prefix, typ, got, prefix, got)
	}
	l.store.saveDescription(c.digest, p.Description())
	return p, nil
}

// Describe returns what the plugin of a type says of itself. A plugin that is known already is not started.
func (l *Loader) Describe(ctx context.Context, typ string) (core.Description, core.Digest, error) {
	c, err := l.copy(typ)
	if err != nil {
		return core.Description{}, "", err
	}
	if d, ok := l.store.description(c.digest); ok && d.Name == typ {
		return d, c.digest, nil
	}
	p, err := l.Open(ctx, typ)
	if err != nil {
		return core.Description{}, "", err
	}
	return p.Description(), p.Digest(), p.Close()
}

// Found is a plugin in a list.
type Found struct {
	Type, Path  string
	Digest      core.Digest
	Description core.Description
	Err         error // it could not be asked what it is
}

// List returns all plugins, sorted by type. One that is broken is in the list, with its error.
func (l *Loader) List(ctx context.Context) []Found {
	types := l.Types()
	list := make([]Found, len(types))
	var wg sync.WaitGroup
	for i, typ := range types {
		wg.Go(func() {
			list[i].Type = typ
			list[i].Path, _ = l.Path(typ)
			list[i].Description, list[i].Digest, list[i].Err = l.Describe(ctx, typ)
		})
	}
	wg.Wait()
	return list
}

// DigestError says that a binary is not the one that was meant.
type DigestError struct {
	Path      string
	Got, Want core.Digest
}

func (e *DigestError) Error() string {
	return fmt.Sprintf("%s has the digest %s, not %s: it was changed", e.Path, e.Got, e.Want)
}

// OpenPath starts the plugin at a path if the binary that is executed has the digest. A file that only root can
// change is executed where it lies; of another one a private copy is.
func OpenPath(ctx context.Context, path string, want core.Digest, o Options) (core.Plugin, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("find plugin: %w", err)
	}
	var c stored
	if ownedByRoot(path) {
		c.path = path
		c.digest, err = hashFile(path)
	} else {
		var s *store
		if s, err = openStore(o.Cache); err == nil {
			c, err = s.copy(path)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("read plugin: %w", err)
	}
	if c.digest != want {
		return nil, &DigestError{Path: path, Got: c.digest, Want: want}
	}
	return start(ctx, c.path, c.digest, o)
}

// defaultGrace is what the engine gives a stage to clean up.
const defaultGrace = 20 * time.Second

func start(ctx context.Context, path string, digest core.Digest, o Options) (*plugin, error) {
	if o.Grace == 0 {
		o.Grace = defaultGrace
	}
	p, err := client.Start(ctx, client.Options{Path: path, Env: o.Env, StartTimeout: o.StartTimeout, Grace: o.Grace})
	if err != nil {
		return nil, err
	}
	if p.Description().Name == "" {
		return nil, errors.Join(fmt.Errorf("%s gives no name", filepath.Base(path)), p.Close())
	}
	return &plugin{p, digest}, nil
}

// Table lists plugins.
func Table(list []Found) core.Table {
	t := core.Table{Columns: []string{"type", "version", "faces", "summary", "path", "digest"}}
	for _, f := range list {
		d := f.Description
		summary := d.Summary
		if f.Err != nil {
			summary = "broken: " + f.Err.Error()
		}
		t.Rows = append(t.Rows, []string{f.Type, d.Version, strings.Join(d.Faces(), ","), summary, f.Path, fmt.Sprintf("%.19s", f.Digest)})
	}
	return t
}
