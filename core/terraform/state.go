package terraform

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"

	"github.com/hashicorp/terraform-exec/tfexec"
	tfjson "github.com/hashicorp/terraform-json"

	"github.com/seed-b96de936/troop/core"
)

// State is Terraform's state, with sensitive values hidden.
type State struct {
	Serial    uint64         `json:"serial"`
	Lineage   string         `json:"lineage,omitempty"` // empty: never written
	Resources []Resource     `json:"resources"`         // by host and address
	Outputs   map[string]any `json:"outputs"`

	outputs map[string]any // not hidden
}

// Resource is one resource of a state.
type Resource struct {
	Address string         `json:"address"`
	Type    string         `json:"type"`
	Host    core.HostName  `json:"host,omitempty"` // the host that the resource belongs to, if any
	Role    string         `json:"role,omitempty"`
	Tainted bool           `json:"tainted,omitempty"` // not created completely; will be replaced
	Values  map[string]any `json:"values"`

	values map[string]any // not hidden
	marks  any            // which of them are sensitive
}

// DamagedError: the local state file cannot be read.
type DamagedError struct{ File, Environment string }

func (e *DamagedError) Error() string {
	return fmt.Sprintf("the state %s is damaged; restore a copy: troop state history --env %s lists them, troop state restore restores one",
		e.File, e.Environment)
}

// stateFile is where Terraform keeps the state of a module without a backend.
func (w *Workspace) stateFile() string { return filepath.Join(w.Dir, "terraform.tfstate") }

// header holds the fields that all versions of the state format have.
type header struct {
	Serial  uint64 `json:"serial"`
	Lineage string `json:"lineage"`
	Outputs map[string]struct {
		Value json.RawMessage `json:"value"`
	} `json:"outputs"`
	Resources []struct {
		Mode      string            `json:"mode"`
		Instances []json.RawMessage `json:"instances"`
	} `json:"resources"`
}

// managed counts the managed resources.
func (h header) managed() (n int) {
	for _, r := range h.Resources {
		if r.Mode == "managed" {
			n += len(r.Instances)
		}
	}
	return n
}

// pull reads the state from the module's backend; nil: there is none. The folder must be prepared.
func (w *Workspace) pull(ctx context.Context, tf *tfexec.Terraform) ([]byte, header, error) {
	var h header
	text, err := tf.StatePull(ctx)
	if err != nil {
		return nil, h, fmt.Errorf("read state: %w", undecorated(err))
	}
	if text != "" {
		if err := json.Unmarshal([]byte(text), &h); err != nil {
			return nil, h, fmt.Errorf("read state: %w", err)
		}
	}
	if h.Lineage == "" { // some backends return an empty state that was never written
		return nil, h, nil
	}
	return []byte(text), h, nil
}

// State returns the present state.
func (w *Workspace) State(ctx context.Context) (*State, error) {
	if err := w.ready(ctx); err != nil {
		return nil, err
	}
	s := &State{Resources: []Resource{}, Outputs: map[string]any{}}
	err := w.run(ctx, func(tf *tfexec.Terraform) error {
		b, h, err := w.pull(ctx, tf)
		if err != nil || b == nil {
			return err
		}
		file, err := os.CreateTemp(w.path(), "shown-*.tfstate")
		if err != nil {
			return err
		}
		defer func() { _ = os.Remove(file.Name()) }()
		_, err = file.Write(b)
		if err = errors.Join(err, file.Close()); err != nil {
			return err
		}
		s, err = w.show(ctx, tf, file.Name(), h)
		return err
	})
	return s, err
}

// ready prepares the folder if it never was. Reading a state does not need a folder that is up to date with the module.
func (w *Workspace) ready(ctx context.Context) error {
	damaged, err := w.damaged()
	if err != nil {
		return err
	}
	if _, err := os.Stat(w.initMark()); !damaged && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	release, err := w.lock(ctx)
	if err != nil {
		return err
	}
	defer release()
	if damaged, err = w.damaged(); err != nil { // perhaps an apply was just writing
		return err
	} else if damaged {
		return &DamagedError{w.stateFile(), w.Environment}
	}
	return w.prepare(ctx)
}

// show reads a state file.
func (w *Workspace) show(ctx context.Context, tf *tfexec.Terraform, file string, h header) (*State, error) {
	shown, err := tf.ShowStateFile(ctx, file)
	if err != nil {
		return nil, fmt.Errorf("show state: %w", err)
	}
	s, err := readState(shown)
	if err != nil {
		return nil, fmt.Errorf("read state: %w", err)
	}
	s.Serial, s.Lineage = h.Serial, h.Lineage
	return s, nil
}

// readState converts Terraform's state to a State.
func readState(shown *tfjson.State) (*State, error) {
	s := &State{Resources: []Resource{}, Outputs: map[string]any{}, outputs: map[string]any{}}
	if shown.Values == nil {
		return s, nil
	}
	hidden := secrets{}
	roles := map[string]string{}
	for name, o := range shown.Values.Outputs {
		s.outputs[name] = o.Value
		hidden.collect(o.Value, o.Sensitive)
		if name == output {
			for host, v := range object(o.Value) {
				roles[host] = roleOf(object(v))
			}
		}
	}
	for _, r := range managed(shown.Values.RootModule) {
		one := Resource{Address: r.Address, Type: r.Type, Tainted: r.Tainted, values: r.AttributeValues}
		if r.DeposedKey != "" {
			one.Address += " (deposed " + r.DeposedKey + ")"
		}
		one.Host, one.Role = hostOf(r.Address, roles)
		if len(r.SensitiveValues) > 0 {
			if err := json.Unmarshal(r.SensitiveValues, &one.marks); err != nil {
				return nil, fmt.Errorf("%s: %w", r.Address, err)
			}
		}
		hidden.collect(one.values, one.marks)
		s.Resources = append(s.Resources, one)
	}
	for i, r := range s.Resources {
		s.Resources[i].Values = object(hidden.hide(r.values, r.marks))
	}
	for name, o := range shown.Values.Outputs {
		s.Outputs[name] = hidden.hide(o.Value, o.Sensitive)
	}
	slices.SortFunc(s.Resources, func(a, b Resource) int {
		return cmp.Or(cmp.Compare(a.Host, b.Host), cmp.Compare(a.Address, b.Address))
	})
	return s, nil
}

// managed lists the managed resources of a module and its child modules, without data sources.
func managed(m *tfjson.StateModule) []*tfjson.StateResource {
	if m == nil {
		return nil
	}
	var all []*tfjson.StateResource
	for _, r := range m.Resources {
		if r.Mode == tfjson.ManagedResourceMode {
			all = append(all, r)
		}
	}
	for _, child := range m.ChildModules {
		all = append(all, managed(child)...)
	}
	return all
}

// secrets is the set of texts marked as sensitive anywhere in a state. They are hidden everywhere, since a value that a
// provider computes from a sensitive one is not marked.
type secrets map[string]bool

// shortest is the minimum length of a text to hide it where it is not marked; "true" and "80" are everywhere.
const shortest = 6

// collect adds the texts of a value that are marked in the parallel tree of marks.
func (s secrets) collect(v, marks any) {
	m, _ := marks.(bool)
	switch v := v.(type) {
	case string:
		if m && len(v) >= shortest {
			s[v] = true
		}
	case map[string]any:
		for name, e := range v {
			s.collect(e, below(m, object(marks)[name]))
		}
	case []any:
		list, _ := marks.([]any)
		for i, e := range v {
			s.collect(e, below(m, at(list, i)))
		}
	}
}

// below returns the mark of a part; a marked whole marks all its parts.
func below(whole bool, part any) any {
	if whole {
		return true
	}
	return part
}

func at(list []any, i int) any {
	if i < len(list) {
		return list[i]
	}
	return nil
}

func (s secrets) hide(v, marks any) any {
	if m, ok := marks.(bool); ok && m {
		return sensitive
	}
	switch v := v.(type) {
	case string:
		if s[v] {
			return sensitive
		}
	case map[string]any:
		hidden := make(map[string]any, len(v))
		for name, e := range v {
			hidden[name] = s.hide(e, object(marks)[name])
		}
		return hidden
	case []any:
		list, _ := marks.([]any)
		hidden := make([]any, len(v))
		for i, e := range v {
			hidden[i] = s.hide(e, at(list, i))
		}
		return hidden
	}
	return v
}

// Lines is the resource as text: its address, then its values.
func (r Resource) Lines() []string {
	head := r.Address
	if r.Host != "" {
		head += fmt.Sprintf("  # %s (%s)", r.Host, r.Role)
	}
	if r.Tainted {
		head += "  # tainted, will be replaced"
	}
	width := 0
	for name := range r.Values {
		width = max(width, len(name))
	}
	lines := []string{head}
	for _, name := range slices.Sorted(maps.Keys(r.Values)) {
		lines = append(lines, fmt.Sprintf("  %-*s = %s", width, name, cmp.Or(text(r.Values[name]), "null")))
	}
	return lines
}

// Resources are some of a state's.
type Resources []Resource

// Lines are the resources as text.
func (r Resources) Lines() []string {
	var lines []string
	for _, one := range r {
		lines = append(lines, one.Lines()...)
	}
	return lines
}

// Find returns the resource with an address, or all resources of a host.
func (s *State) Find(name string) (Resources, error) {
	found := slices.DeleteFunc(slices.Clone(s.Resources), func(r Resource) bool {
		return r.Address != name && string(r.Host) != name
	})
	if len(found) == 0 {
		return nil, &core.NotFoundError{What: "resource or host", Name: name, Remedy: "troop state list lists them"}
	}
	return found, nil
}

// Table lists the resources by host.
func (s *State) Table() core.Table {
	t := core.Table{Columns: []string{"host", "role", "resource", "tainted"}}
	for _, r := range s.Resources {
		tainted := ""
		if r.Tainted {
			tainted = "yes"
		}
		t.Rows = append(t.Rows, []string{string(r.Host), r.Role, r.Address, tainted})
	}
	return t
}

// Difference is the difference between two states.
type Difference struct {
	Changes []Change `json:"changes"` // by host and address; sensitive values are hidden
	Outputs []string `json:"outputs"` // names of the outputs that differ, sorted
}

// Empty reports whether the two states are equal.
func (d Difference) Empty() bool { return len(d.Changes) == 0 && len(d.Outputs) == 0 }

// Table lists the difference by host.
func (d Difference) Table() core.Table {
	t := core.Table{Columns: []string{"host", "", "resource", "attribute", "from", "to"}}
	for _, c := range d.Changes {
		host := cmp.Or(string(c.Host), "-")
		if len(c.Attributes) == 0 {
			t.Rows = append(t.Rows, []string{host, c.Action.Mark(), c.Address, "", "", ""})
		}
		for _, at := range c.Attributes {
			t.Rows = append(t.Rows, []string{host, c.Action.Mark(), c.Address, at.Name, at.Before, at.After})
		}
	}
	for _, name := range d.Outputs {
		t.Rows = append(t.Rows, []string{"-", Update.Mark(), "output " + name, "", "", ""})
	}
	return t
}

// Diff returns the changes from state a to state b.
func Diff(a, b *State) Difference {
	before, after := byAddress(a), byAddress(b)
	d := Difference{Changes: []Change{}, Outputs: []string{}}
	add := func(r Resource, action Action, attributes []Attribute) {
		d.Changes = append(d.Changes, Change{
			Address: r.Address, Type: r.Type, Host: r.Host, Role: r.Role, Action: action, Attributes: attributes,
		})
	}
	for _, r := range a.Resources {
		if _, ok := after[r.Address]; !ok {
			add(r, Destroy, nil)
		}
	}
	for _, r := range b.Resources {
		if old, ok := before[r.Address]; !ok {
			add(r, Create, nil)
		} else if attributes := differing(old, r); len(attributes) > 0 {
			add(r, Update, attributes)
		}
	}
	slices.SortFunc(d.Changes, func(a, b Change) int {
		return cmp.Or(cmp.Compare(a.Host, b.Host), cmp.Compare(a.Address, b.Address))
	})
	for _, name := range slices.Sorted(maps.Keys(union(a.outputs, b.outputs))) {
		if !reflect.DeepEqual(a.outputs[name], b.outputs[name]) {
			d.Outputs = append(d.Outputs, name)
		}
	}
	return d
}

func byAddress(s *State) map[string]Resource {
	all := map[string]Resource{}
	for _, r := range s.Resources {
		all[r.Address] = r
	}
	return all
}

// differing lists the attributes of a resource that differ between two states, sorted by name.
func differing(a, b Resource) []Attribute {
	var all []Attribute
	for _, name := range slices.Sorted(maps.Keys(union(a.values, b.values))) {
		if !reflect.DeepEqual(a.values[name], b.values[name]) {
			all = append(all, Attribute{Name: name, Before: visible(a.Values[name]), After: visible(b.Values[name])})
		}
	}
	if a.Tainted != b.Tainted {
		all = append(all, Attribute{Name: "tainted", Before: text(a.Tainted), After: text(b.Tainted)})
	}
	return all
}

func visible(v any) string {
	if v == any(sensitive) {
		return sensitive
	}
	return text(v)
}

func union(a, b map[string]any) map[string]any {
	all := maps.Clone(a)
	if all == nil {
		all = map[string]any{}
	}
	maps.Copy(all, b)
	return all
}
