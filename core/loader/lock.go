package loader

import (
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"

	"github.com/google/renameio/v2"
	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/gohcl"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/hashicorp/hcl/v2/hclwrite"
	"github.com/zclconf/go-cty/cty"

	"github.com/seed-b96de936/troop/core"
	"github.com/seed-b96de936/troop/plugins/sdk/client"
)

// LockFile is the name of the lock beside a manifest.
const LockFile = "troop.lock.hcl"

// Platform names the platform of this program, as the lock writes it.
const Platform = runtime.GOOS + "_" + runtime.GOARCH

const lockHeader = `# The plugins that the pipelines of this folder may run. Commit this file.
# It is written by: troop plugin lock
`

// Lock is the list of the plugins that may be executed, and of no others. A Loader with a lock compares the digest
// of the copy that it executes.
type Lock struct {
	File    string
	Plugins map[string]Locked // by type
}

// Locked is what a lock says of one plugin.
type Locked struct {
	Version  string // for people
	Protocol int
	Digests  map[string]core.Digest // by platform, such as linux_amd64
}

// ReadLock reads a lock. A file that does not exist is fs.ErrNotExist, one that is wrong core.Diagnostics.
func ReadLock(file string) (*Lock, error) {
	src, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var content struct {
		Plugins []struct {
			Type     string            `hcl:"type,label"`
			Version  string            `hcl:"version"`
			Protocol int               `hcl:"protocol"`
			Digests  map[string]string `hcl:"digests"`
		} `hcl:"plugin,block"`
	}
	parsed, diags := hclsyntax.ParseConfig(src, file, hcl.InitialPos)
	if !diags.HasErrors() {
		diags = gohcl.DecodeBody(parsed.Body, nil, &content)
	}
	if diags.HasErrors() {
		return nil, lockDiagnostics(diags)
	}
	l := &Lock{File: file, Plugins: map[string]Locked{}}
	for _, p := range content.Plugins {
		locked := Locked{Version: p.Version, Protocol: p.Protocol, Digests: map[string]core.Digest{}}
		for platform, d := range p.Digests {
			locked.Digests[platform] = core.Digest(d)
		}
		l.Plugins[p.Type] = locked
	}
	return l, nil
}

func lockDiagnostics(in hcl.Diagnostics) core.Diagnostics {
	var out core.Diagnostics
	for _, d := range in {
		x := core.Diagnostic{
			Warning: d.Severity == hcl.DiagWarning, Summary: d.Summary,
			Detail: d.Detail + " The file is written by: troop plugin lock.",
		}
		if d.Subject != nil {
			x.Range = core.Range{File: d.Subject.Filename, Start: core.Pos(d.Subject.Start), End: core.Pos(d.Subject.End)}
		}
		out = append(out, x)
	}
	return out
}

// Accept pins a plugin on this platform, and reports whether the lock has changed. What another version had on other
// platforms is forgotten.
func (l *Lock) Accept(typ, version string, d core.Digest) (changed bool) {
	old := l.Plugins[typ]
	accepted := Locked{Version: version, Protocol: client.Protocol, Digests: map[string]core.Digest{}}
	if old.Version == version && old.Protocol == client.Protocol {
		maps.Copy(accepted.Digests, old.Digests)
	}
	accepted.Digests[Platform] = d
	if l.Plugins == nil {
		l.Plugins = map[string]Locked{}
	}
	l.Plugins[typ] = accepted
	return old.Version != version || old.Protocol != client.Protocol || old.Digests[Platform] != d
}

// Write writes the lock to its file.
func (l *Lock) Write() error {
	f := hclwrite.NewEmptyFile()
	for _, typ := range slices.Sorted(maps.Keys(l.Plugins)) {
		p := l.Plugins[typ]
		f.Body().AppendNewline()
		body := f.Body().AppendNewBlock("plugin", []string{typ}).Body()
		body.SetAttributeValue("version", cty.StringVal(p.Version))
		body.SetAttributeValue("protocol", cty.NumberIntVal(int64(p.Protocol)))
		digests := map[string]cty.Value{}
		for platform, d := range p.Digests {
			digests[platform] = cty.StringVal(string(d))
		}
		body.SetAttributeValue("digests", cty.ObjectVal(digests))
	}
	return renameio.WriteFile(l.File, append([]byte(lockHeader), hclwrite.Format(f.Bytes())...), 0o644)
}

// check compares a copy with the lock.
func (l *Lock) check(typ, path string, d core.Digest) error {
	e := &LockError{Type: typ, Path: path, File: filepath.Base(l.File), Got: d}
	p, ok := l.Plugins[typ]
	if !ok {
		return e
	}
	e.Want = p.Digests[Platform]
	switch {
	case p.Protocol != client.Protocol:
		return fmt.Errorf("plugin %s is locked for protocol %d, and this troop speaks %d; update the older one of both, then accept it with: troop plugin lock",
			typ, p.Protocol, client.Protocol)
	case e.Want != d:
		return e
	}
	return nil
}

// LockError says that a plugin is not the one that the lock names.
type LockError struct {
	Type, Path string
	File       string
	Got, Want  core.Digest // Want is empty when the lock has none for this platform
}

func (e *LockError) Error() string {
	if e.Want == "" {
		return fmt.Sprintf("plugin %s: %s has no digest of it for %s, and %s has the digest %s; if you trust it, accept it with: troop plugin lock",
			e.Type, e.File, Platform, e.Path, e.Got)
	}
	return fmt.Sprintf("plugin %s: %s has the digest %s, but %s has %s: the binary was changed; if you trust it, accept it with: troop plugin lock",
		e.Type, e.Path, e.Got, e.File, e.Want)
}

// Locked returns a Loader like l that executes nothing but what the lock names.
func (l *Loader) Locked(lock *Lock) *Loader {
	locked := *l
	locked.accept = lock.check
	return &locked
}

// copy makes a private copy of the plugin of a type, which nobody can change any more, and judges that copy.
func (l *Loader) copy(typ string) (stored, error) {
	path, err := l.Path(typ)
	if err != nil {
		return stored{}, err
	}
	c, err := l.store.copy(path)
	if err != nil {
		return stored{}, fmt.Errorf("copy plugin: %w", err)
	}
	if l.accept != nil {
		if err := l.accept(typ, path, c.digest); err != nil {
			return stored{}, err
		}
	}
	return c, nil
}

// Accept accepts the plugins of the types in used as they are now, and writes the lock. With prune, plugins that are not
// used are removed from it. The table says what has changed.
func (l *Loader) Accept(ctx context.Context, lock *Lock, used map[string]bool, prune bool) (core.Table, error) {
	t := core.Table{Columns: []string{"plugin", "version", "platform", "digest", "status"}}
	for _, typ := range slices.Sorted(maps.Keys(used)) {
		d, digest, err := l.Describe(ctx, typ)
		if err != nil {
			return t, err
		}
		_, known := lock.Plugins[typ]
		status := "as before"
		if lock.Accept(typ, d.Version, digest) {
			status = "changed"
			if !known {
				status = "new"
			}
		}
		t.Rows = append(t.Rows, []string{typ, d.Version, Platform, string(digest), status})
	}
	for _, typ := range slices.Sorted(maps.Keys(lock.Plugins)) {
		if prune && !used[typ] {
			t.Rows = append(t.Rows, []string{typ, lock.Plugins[typ].Version, "", "", "not used, removed"})
			delete(lock.Plugins, typ)
		}
	}
	if err := lock.Write(); err != nil {
		return t, fmt.Errorf("write lock: %w", err)
	}
	return t, nil
}
