// Package vault keeps what is private of one environment in a shared store: one document, encrypted with age for the
// members of the team. Larger files lie beside it, encrypted for a key in the document. core/environment imports it, and
// troop's own commands for identities and members; it runs wherever a member works.
package vault

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"slices"
	"strings"
	"time"

	"filippo.io/age"

	"github.com/seed-b96de936/troop/core"
)

// version is that of documents. A newer one is refused.
const version = 1

// inline is the largest file, in bytes, that is kept in the document itself.
const inline = 16 << 10

// Document is what a vault holds.
type Document struct {
	Version int             `json:"version"`
	Fence   int64           `json:"fence"` // of the last holder of the environment that has written it
	Written time.Time       `json:"written"`
	Members []core.Member   `json:"members"`          // for whom it is encrypted
	Former  []core.Member   `json:"former,omitempty"` // who were members at the last rotation, or came after it, and are none any more
	Keys    []string        `json:"keys"`             // age identities for files beside the document, the newest last
	Files   map[string]File `json:"files"`            // by path in the environment's folder
}

// File is a private file, or where it lies.
type File struct {
	Mode   fs.FileMode `json:"mode"`
	Digest core.Digest `json:"digest"`
	Data   []byte      `json:"data,omitempty"`
	Object string      `json:"object,omitempty"` // key of a file beside the document
}

// Vault is the vault of one environment.
type Vault struct {
	Objects     core.Objects
	Environment string
	Team        []core.Member
	Identities  *Identities
}

// StrangerError says that somebody is no member of the team.
type StrangerError struct {
	Environment string
	Members     []string // of the team, as the manifest says
	Own         string   // public key to add
	Tried       string   // what was tried
}

func (e *StrangerError) Error() string {
	s := fmt.Sprintf("you are no member of the team that may open environment %s (%s): %s opens its vault; ask one of them", e.Environment, strings.Join(e.Members, ", "), e.Tried)
	if e.Own != "" {
		return s + " to add your key to the team block and run troop vault rotate: " + e.Own
	}
	return s + " to add your public key to the team block and run troop vault rotate"
}

// NewerError says that a later version of troop has written a vault.
type NewerError struct {
	Environment string
	Version     int
}

func (e *NewerError) Error() string {
	return fmt.Sprintf("the vault of environment %s was written by a newer troop (version %d, this one knows %d); install the newer troop", e.Environment, e.Version, version)
}

func (v *Vault) key() string { return v.Environment + "/vault.age" }

// Load returns the document and its version in the store; a new environment has none, and gets an empty one.
func (v *Vault) Load(ctx context.Context) (*Document, core.Object, error) {
	body, at, err := v.Objects.Get(ctx, v.key())
	if errors.Is(err, fs.ErrNotExist) {
		return &Document{Version: version, Files: map[string]File{}}, core.Object{}, nil
	}
	if err != nil {
		return nil, at, fmt.Errorf("read vault: %w", err)
	}
	defer body.Close()
	sealed, err := io.ReadAll(body)
	if err != nil {
		return nil, at, fmt.Errorf("read vault: %w", err)
	}
	text, err := v.open(sealed)
	if err != nil {
		return nil, at, err
	}
	var d Document
	if err := json.Unmarshal(text, &d); err != nil {
		return nil, at, fmt.Errorf("read vault of environment %s: %w", v.Environment, err)
	}
	if d.Version > version {
		return nil, at, &NewerError{v.Environment, d.Version}
	}
	if d.Files == nil {
		d.Files = map[string]File{}
	}
	return &d, at, nil
}

// open decrypts a document.
func (v *Vault) open(sealed []byte) ([]byte, error) {
	ids, err := v.Identities.all()
	if err != nil {
		return nil, err
	}
	var names []string
	for _, m := range v.Team {
		names = append(names, m.Name)
	}
	stranger := &StrangerError{Environment: v.Environment, Members: names, Own: v.Identities.own(), Tried: v.Identities.tried()}
	if len(ids) == 0 {
		return nil, stranger
	}
	r, err := age.Decrypt(bytes.NewReader(sealed), ids...)
	if errors.As(err, new(*age.NoIdentityMatchError)) {
		return nil, stranger
	}
	if err != nil {
		return nil, fmt.Errorf("open vault of environment %s: %w", v.Environment, err)
	}
	text, err := io.ReadAll(r)
	if err != nil {
		return nil, fmt.Errorf("open vault of environment %s: it is damaged: %w", v.Environment, err)
	}
	return text, nil
}

// Change reads the document, changes it and writes it, again when somebody else was faster. It encrypts for the team as
// the manifest has it now. When a member was removed, files are from then on encrypted for a new key.
func (v *Vault) Change(ctx context.Context, change func(*Document) error) error {
	for {
		d, at, err := v.Load(ctx)
		if err != nil {
			return err
		}
		if err := change(d); err != nil {
			return err
		}
		err = v.write(ctx, d, at)
		if !errors.Is(err, core.ErrChanged) {
			return err
		}
	}
}

func (v *Vault) write(ctx context.Context, d *Document, over core.Object) error {
	recipients, err := recipients(v.Team)
	if err != nil {
		return err
	}
	if len(d.Keys) == 0 || removed(d.Members, v.Team) {
		if err := d.newKey(); err != nil {
			return err
		}
	}
	d.leave(v.Team)
	d.Version, d.Members, d.Written = version, v.Team, time.Now().UTC()
	text, err := json.Marshal(d)
	if err != nil {
		return err
	}
	sealed, err := seal(text, recipients...)
	if err != nil {
		return err
	}
	_, err = v.Objects.Put(ctx, v.key(), bytes.NewReader(sealed), core.Condition{Absent: over.Tag == "", Tag: over.Tag})
	if err != nil {
		return fmt.Errorf("write vault: %w", err)
	}
	return nil
}

// leave notes the members who are not in the team any more: Rotate says what they know, whatever was written before it.
func (d *Document) leave(team []core.Member) {
	d.Former = slices.DeleteFunc(append(d.Former, d.Members...), func(m core.Member) bool {
		return slices.ContainsFunc(m.Keys, func(k string) bool { return Holds(team, k) })
	})
}

// newKey makes a new key for files that are written from now on.
func (d *Document) newKey() error {
	id, err := age.GenerateX25519Identity()
	if err != nil {
		return err
	}
	d.Keys = append(d.Keys, id.String())
	return nil
}

// Holds reports whether one of the members has a public key, whatever the comment of the key.
func Holds(members []core.Member, key string) bool {
	return slices.ContainsFunc(members, func(m core.Member) bool {
		return slices.ContainsFunc(m.Keys, func(k string) bool { return keyOnly(k) == keyOnly(key) })
	})
}

// removed reports whether a key of the earlier team is not one of the present.
func removed(before, now []core.Member) bool {
	return slices.ContainsFunc(before, func(m core.Member) bool {
		return slices.ContainsFunc(m.Keys, func(k string) bool { return !Holds(now, k) })
	})
}

// Rotate encrypts the document, and the files beside it, for the team with a new key, and removes the files that nothing
// names any more.
func (v *Vault) Rotate(ctx context.Context) (*Rotation, error) {
	r := &Rotation{Environment: v.Environment, Members: len(v.Team)}
	err := v.Change(ctx, func(d *Document) error {
		d.leave(v.Team)
		r.Gone, d.Former = d.Former, nil
		if err := d.newKey(); err != nil {
			return err
		}
		d.Members = v.Team // the new key is for them
		for path, f := range d.Files {
			if f.Object == "" {
				continue
			}
			data, err := v.Get(ctx, d, path)
			if err != nil {
				return err
			}
			if err := v.Put(ctx, d, path, f.Mode, data); err != nil {
				return err
			}
		}
		d.Keys = d.Keys[len(d.Keys)-1:]
		return nil
	})
	if err != nil {
		return nil, err
	}
	d, _, err := v.Load(ctx)
	if err != nil {
		return nil, err
	}
	if len(r.Gone) > 0 {
		r.Exposed = d.exposed()
	}
	old, err := v.unnamed(ctx, d)
	if err != nil {
		return nil, err
	}
	for _, key := range old {
		if err := v.Objects.Delete(ctx, key); err != nil {
			return nil, err
		}
	}
	return r, nil
}

func seal(text []byte, recipients ...age.Recipient) ([]byte, error) {
	var sealed bytes.Buffer
	w, err := age.Encrypt(&sealed, recipients...)
	if err == nil {
		_, err = w.Write(text)
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		return nil, fmt.Errorf("encrypt: %w", err)
	}
	return sealed.Bytes(), nil
}

// Put adds a file to a document. A large one is written beside it, before the document that names it.
func (v *Vault) Put(ctx context.Context, d *Document, path string, mode fs.FileMode, data []byte) error {
	f := File{Mode: mode.Perm(), Digest: core.DigestOf(data)}
	if len(data) <= inline {
		f.Data = data
		d.Files[path] = f
		return nil
	}
	if len(d.Keys) == 0 || removed(d.Members, v.Team) {
		if err := d.newKey(); err != nil {
			return err
		}
		d.leave(v.Team)
		d.Members = v.Team
	}
	id, err := age.ParseX25519Identity(d.Keys[len(d.Keys)-1])
	if err != nil {
		return err
	}
	sealed, err := seal(data, id.Recipient())
	if err != nil {
		return err
	}
	f.Object = v.Environment + "/private/" + core.DigestOf(sealed).Hex()
	if _, err := v.Objects.Put(ctx, f.Object, bytes.NewReader(sealed), core.Condition{}); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	d.Files[path] = f
	return nil
}

// Get returns a file of a document.
func (v *Vault) Get(ctx context.Context, d *Document, path string) ([]byte, error) {
	f, ok := d.Files[path]
	if !ok {
		return nil, &core.NotFoundError{What: "private file", Name: path, Remedy: "troop vault show lists them"}
	}
	if f.Object == "" {
		return f.Data, nil
	}
	body, _, err := v.Objects.Get(ctx, f.Object)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	defer body.Close()
	var ids []age.Identity
	for _, k := range d.Keys {
		id, err := age.ParseX25519Identity(k)
		if err != nil {
			return nil, err
		}
		ids = append(ids, id)
	}
	r, err := age.Decrypt(body, ids...)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	data, err := io.ReadAll(r)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	if core.DigestOf(data) != f.Digest {
		return nil, fmt.Errorf("read %s: it is damaged in the store", path)
	}
	return data, nil
}

// unnamed lists the files beside the document that it does not name any more.
func (v *Vault) unnamed(ctx context.Context, d *Document) ([]string, error) {
	named := map[string]bool{}
	for _, f := range d.Files {
		named[f.Object] = true
	}
	var keys []string
	for o, err := range v.Objects.List(ctx, v.Environment+"/private/", false) {
		if err != nil {
			return nil, err
		}
		if !named[o.Key] && o.Age > time.Hour { // a younger one may be about to be named
			keys = append(keys, o.Key)
		}
	}
	return keys, nil
}

// exposed says of private files what somebody can do who has read them, and the remedy.
var exposed = []struct{ file, text string }{
	{"ssh_key", "logs in to every host: troop vault rotate --hosts replaces it"},
	{"secrets.json", "holds passwords of Redis and keys of backups, for the hosts' network: troop vault rotate --hosts replaces them; the key that signs orders and the passwords of accessories and of the application's Redis stay: an order needs the operator's password too, and databases answer the hosts of the application only"},
	{"terraform/terraform.tfstate", "holds the sensitive values of Terraform's resources and outputs: replace those of your modules"},
}

// exposed lists what whoever has opened the vault knows, each with a remedy.
func (d *Document) exposed() []string {
	var lines []string
	for _, x := range exposed {
		if _, ok := d.Files[x.file]; ok {
			lines = append(lines, "- "+x.file+" "+x.text)
		}
	}
	return append(lines, "- the credentials of the store, if they are shared: they read logs and artifacts, and can remove everything")
}

// Rotation says what Rotate did.
type Rotation struct {
	Environment string        `json:"environment"`
	Members     int           `json:"members"`
	Gone        []core.Member `json:"gone,omitempty"`    // earlier ones, who open nothing that is written from now on
	Exposed     []string      `json:"exposed,omitempty"` // what they know, each with a remedy
}

// Lines is the report as text.
func (r *Rotation) Lines() []string {
	lines := []string{fmt.Sprintf("the vault of environment %s is encrypted for %d members with a new key", r.Environment, r.Members)}
	for _, m := range r.Gone {
		lines = append(lines, m.Name+" opens nothing that is written from now on, and logs in to no host after the next apply or run, but knows what was there:")
	}
	return append(lines, r.Exposed...)
}

// Table lists the files of a vault.
func (d *Document) Table() core.Table {
	t := core.Table{Columns: []string{"file", "digest", "where"}}
	for _, path := range slices.Sorted(maps.Keys(d.Files)) {
		where := cmp.Or(d.Files[path].Object, "in the vault")
		t.Rows = append(t.Rows, []string{path, fmt.Sprintf("%.19s", d.Files[path].Digest), where})
	}
	return t
}

// MemberTable compares for whom a vault is encrypted with the team that the manifest names.
func (v *Vault) MemberTable(d *Document) core.Table {
	t := core.Table{Columns: []string{"member", "key", "status"}}
	for _, m := range v.Team {
		for _, k := range m.Keys {
			status := "member"
			if !Holds(d.Members, k) {
				status = "not yet: a member runs troop vault rotate, or any command that changes the environment"
			}
			t.Rows = append(t.Rows, []string{m.Name, fmt.Sprintf("%.40s", k), status})
		}
	}
	for _, m := range d.Members {
		for _, k := range m.Keys {
			if !Holds(v.Team, k) {
				t.Rows = append(t.Rows, []string{m.Name, fmt.Sprintf("%.40s", k), "still opens it: troop vault rotate"})
			}
		}
	}
	return t
}
