package terraform

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"

	"github.com/hashicorp/terraform-exec/tfexec"
	ctyjson "github.com/zclconf/go-cty/cty/json"
)

// MovedError: the manifest or the module keeps the state in another place than the last command of this folder did.
type MovedError struct{ From, Arguments string }

func (e *MovedError) Error() string {
	return fmt.Sprintf("the state is still kept in %s, and the manifest or the module names another place; move it there: troop state migrate%s", e.From, e.Arguments)
}

// Migration is what Migrate is about to move.
type Migration struct {
	From      string `json:"from"`
	To        string `json:"to"`
	Serial    uint64 `json:"serial"`
	Lineage   string `json:"lineage"`
	Resources int    `json:"resources"`
}

// ErrNotMoved: the state is already where the manifest or the module keeps it.
var ErrNotMoved = errors.New("the state is where the manifest or the module keeps it; there is nothing to move")

// location is where a state is kept.
type location struct {
	name   string // for people
	local  string // the file; empty: in a backend
	bucket string // of a backend that has one
	block  []byte // a configuration that has only the backend
}

// BucketError: the backend's bucket does not exist.
type BucketError struct{ Name string }

func (e *BucketError) Error() string {
	return fmt.Sprintf("there is no bucket %s for the state; make it, with versions: aws s3 mb s3://%[1]s && aws s3api put-bucket-versioning --bucket %[1]s --versioning-configuration Status=Enabled", e.Name)
}

// noBucket is what Terraform says, and OpenTofu without the name.
var noBucket = regexp.MustCompile(`S3 bucket (?:"[^"]+" )?does not exist`)

// backendError turns the error of an init at a location into a *MovedError if the state is kept in another place, or a
// *BucketError.
func (w *Workspace) backendError(at location, err error) error {
	text := strings.Join(strings.Fields(err.Error()), " ")
	if noBucket.MatchString(text) {
		return &BucketError{cmp.Or(at.bucket, "BUCKET")}
	}
	if !strings.Contains(text, "migrat") {
		return err
	}
	from, e := w.formerLocation()
	if e != nil {
		return errors.Join(err, e)
	}
	return &MovedError{from.name, w.arguments()}
}

// Migrate moves the state from where the last command of this folder kept it to where the manifest or the module keeps it
// now, once agree has agreed. A copy is set aside first; the former place keeps its state, except for a local file. It
// refuses a state there that is another one or newer. Terraform holds the locks of both places while it copies. After a
// failure it can be repeated.
func (w *Workspace) Migrate(ctx context.Context, agree func(Migration) error) error {
	release, err := w.lock(ctx)
	if err != nil {
		return err
	}
	defer release()
	if err := w.errored(); err != nil {
		return err
	}
	from, err := w.formerLocation()
	if err != nil {
		return err
	}
	to, err := w.presentLocation()
	if err != nil {
		return err
	}
	state, h, before, err := w.peek(ctx, from)
	if err != nil {
		return fmt.Errorf("read state in %s: %w", from.name, err)
	}
	there, present, after, err := w.peek(ctx, to)
	if err != nil {
		return fmt.Errorf("read state in %s: %w", to.name, err)
	}
	switch {
	case before == after:
		return ErrNotMoved
	case there != nil && (state == nil || present.Lineage != h.Lineage):
		return fmt.Errorf("%s has another state already: its lineage is %s; choose another place, or remove it there", to.name, present.Lineage)
	case there != nil && present.Serial > h.Serial:
		return fmt.Errorf("the state in %s is newer: its serial is %d, that in %s %d; remove the older one", to.name, present.Serial, from.name, h.Serial)
	}
	if err := agree(Migration{From: from.name, To: to.name, Serial: h.Serial, Lineage: h.Lineage, Resources: h.managed()}); err != nil {
		return err
	}
	if state != nil {
		if err := w.keepCopy(state, h); err != nil {
			return err
		}
	}
	return w.migrate(ctx, to, state, h)
}

// migrate lets Terraform copy the state and checks what is there then.
func (w *Workspace) migrate(ctx context.Context, to location, state []byte, want header) error {
	if _, err := w.sync(); err != nil {
		return err
	}
	providers, err := w.mirror()
	if err != nil {
		return err
	}
	if _, err := w.writeCLIConfig(providers); err != nil {
		return err
	}
	if err := remove(w.initMark()); err != nil { // of the former location
		return err
	}
	err = w.locking(ctx, func(tf *tfexec.Terraform) error {
		if err := tf.Init(ctx, tfexec.ForceCopy(true)); err != nil || state == nil {
			return undecorated(err)
		}
		return w.keepLineage(ctx, tf, state, want)
	})
	if err != nil {
		return fmt.Errorf("move state to %s: %w", to.name, w.attribute(err))
	}
	if info, err := os.Stat(w.stateFile()); to.local != w.stateFile() && err == nil && info.Size() == 0 {
		return os.Remove(w.stateFile()) // Terraform empties it
	}
	return nil
}

// keepLineage checks that the state was moved as it was. Most backends give it a new lineage and serial: it gets the former
// lineage back, and a serial that is not lower, so that copies of it can be restored.
func (w *Workspace) keepLineage(ctx context.Context, tf *tfexec.Terraform, state []byte, want header) error {
	there, got, err := w.pull(ctx, tf)
	if err != nil {
		return err
	}
	if !sameContent(state, there) {
		return fmt.Errorf("what is there is not what was moved; the copy is in troop state history%s", w.arguments())
	}
	if got.Lineage == want.Lineage && got.Serial == want.Serial {
		return nil
	}
	file := w.path("restore.tfstate")
	defer func() { _ = os.Remove(file) }()
	if err := writeFile(file, state); err != nil {
		return err
	}
	if err := tf.StatePush(ctx, file, tfexec.Lock(true), tfexec.Force(true)); err != nil {
		return undecorated(err)
	}
	if _, got, err = w.pull(ctx, tf); err == nil && (got.Lineage != want.Lineage || got.Serial < want.Serial) {
		err = fmt.Errorf("its serial is %d and its lineage %s, after %d and %s; the copy is in troop state history%s",
			got.Serial, got.Lineage, want.Serial, want.Lineage, w.arguments())
	}
	return err
}

// sameContent reports whether two states hold the same, whatever their serial and lineage.
func sameContent(a, b []byte) bool {
	var x, y map[string]any
	if json.Unmarshal(a, &x) != nil || json.Unmarshal(b, &y) != nil {
		return false
	}
	for _, name := range []string{"resources", "outputs"} {
		if !reflect.DeepEqual(x[name], y[name]) {
			return false
		}
	}
	return true
}

// formerLocation is where the last command of this folder kept the state.
func (w *Workspace) formerLocation() (location, error) {
	text := backendOf(w.Dir)
	if text == "" {
		return w.located("local", nil)
	}
	kind, config, _ := strings.Cut(text, " ")
	var arguments map[string]any
	if err := json.Unmarshal([]byte(config), &arguments); err != nil {
		return location{}, fmt.Errorf("read the backend of the last command: %w", err)
	}
	return w.located(kind, arguments)
}

// presentLocation is where the manifest keeps the state, else the module.
func (w *Workspace) presentLocation() (location, error) {
	if w.Backend != nil {
		return w.located(w.Backend.Type, w.Backend.Arguments)
	}
	all, err := blocks(w.Module)
	if err != nil {
		return location{}, err
	}
	for _, outer := range all {
		if outer.Type != "terraform" {
			continue
		}
		settings, _, diags := outer.Body.PartialContent(&settingsGrammar)
		if diags.HasErrors() {
			return location{}, diags
		}
		for _, b := range settings.Blocks {
			if b.Type == "required_providers" {
				continue
			}
			attributes, diags := b.Body.JustAttributes()
			if b.Type == "cloud" || diags.HasErrors() {
				return location{}, fmt.Errorf("%s: troop cannot move a state there; use terraform init -migrate-state in %s", b.DefRange, w.Dir)
			}
			arguments := map[string]any{}
			for name, a := range attributes {
				v, diags := a.Expr.Value(nil) // Terraform allows no references there either
				if diags.HasErrors() {
					return location{}, diags
				}
				arguments[name] = ctyjson.SimpleJSONValue{Value: v}
			}
			return w.located(b.Labels[0], arguments)
		}
	}
	return w.located("local", nil)
}

func (w *Workspace) located(kind string, arguments map[string]any) (location, error) {
	given := map[string]any{}
	for name, v := range arguments {
		if v != nil {
			given[name] = v
		}
	}
	b, err := json.MarshalIndent(map[string]any{"terraform": map[string]any{"backend": map[string]any{kind: given}}}, "", "  ")
	if err != nil {
		return location{}, err
	}
	var plain struct {
		Terraform struct{ Backend map[string]map[string]any }
	}
	if err := json.Unmarshal(b, &plain); err != nil {
		return location{}, err
	}
	text := func(argument string) string {
		s, _ := plain.Terraform.Backend[kind][argument].(string)
		return s
	}
	if kind == "local" {
		file := cmp.Or(text("path"), w.stateFile())
		if !filepath.IsAbs(file) {
			file = filepath.Join(w.Dir, file)
		}
		return location{name: file, local: file}, nil
	}
	name := strings.Join(strings.Fields(strings.Join([]string{kind, text("bucket"), text("key"), text("address")}, " ")), " ")
	return location{name: name, bucket: text("bucket"), block: b}, nil
}

// peek reads the state of a location, nil if there is none, and what tells the location from others. It uses a folder of its
// own.
func (w *Workspace) peek(ctx context.Context, l location) (state []byte, h header, id string, err error) {
	if l.local != "" {
		b, err := os.ReadFile(l.local)
		if errors.Is(err, fs.ErrNotExist) || err == nil && len(b) == 0 {
			return nil, h, l.local, nil
		} else if err != nil {
			return nil, h, "", err
		}
		if json.Unmarshal(b, &h) != nil {
			return nil, h, "", &DamagedError{l.local, w.Environment}
		}
		return b, h, l.local, nil
	}
	dir, err := os.MkdirTemp(w.path(), "state-*")
	if err != nil {
		return nil, h, "", err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	if err := writeFile(filepath.Join(dir, "backend.tf.json"), l.block); err != nil {
		return nil, h, "", err
	}
	err = w.runIn(ctx, dir, func(tf *tfexec.Terraform) error {
		if err := tf.Init(ctx); err != nil {
			return undecorated(w.backendError(l, err))
		}
		state, h, err = w.pull(ctx, tf)
		return err
	})
	return state, h, backendOf(dir), err
}
