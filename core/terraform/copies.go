package terraform

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hashicorp/terraform-exec/tfexec"

	"github.com/seed-b96de936/troop/core"
)

// Copy is a copy of the state, made before a command changed it.
type Copy struct {
	Number    int             `json:"number"`
	Before    core.Holder     `json:"before"` // the command that was about to change it, and when
	Serial    uint64          `json:"serial"`
	Lineage   string          `json:"lineage"`
	Hosts     []core.HostName `json:"hosts"`
	Resources int             `json:"resources"`
}

// Retention of copies: the newest, and the last one of each older day.
const (
	keptCopies = 20
	keptDays   = 30
)

func (w *Workspace) copyPath(number int, ext string) string {
	return filepath.Join(copiesIn(w.Dir), fmt.Sprintf("%06d%s", number, ext))
}

func copiesIn(dir string) string { return filepath.Join(dir, own, "states") }

// setAside saves a copy of the state from any backend and returns what it copied, or nil if there is no state yet. The
// caller holds the lock.
func (w *Workspace) setAside(ctx context.Context, tf *tfexec.Terraform) (*header, error) {
	b, h, err := w.pull(ctx, tf)
	if err != nil || b == nil {
		return nil, err
	}
	return &h, w.keepCopy(b, h)
}

func (w *Workspace) keepCopy(state []byte, h header) error {
	if err := os.MkdirAll(copiesIn(w.Dir), 0o700); err != nil {
		return fmt.Errorf("copy state aside: %w", err)
	}
	all, err := Copies(w.Dir)
	if err != nil {
		return err
	}
	c := Copy{Number: 1, Before: w.self(), Serial: h.Serial, Lineage: h.Lineage, Hosts: []core.HostName{}}
	if len(all) > 0 {
		c.Number = all[0].Number + 1
	}
	var hosts map[string]any
	if o, ok := h.Outputs[output]; ok && json.Unmarshal(o.Value, &hosts) == nil {
		for _, name := range slices.Sorted(maps.Keys(hosts)) {
			c.Hosts = append(c.Hosts, core.HostName(name))
		}
	}
	c.Resources = h.managed()
	about, err := json.MarshalIndent(c, "", "  ")
	if err != nil {
		return err
	}
	err = writeFile(w.copyPath(c.Number, ".tfstate"), state)
	if err == nil { // the copy is complete
		err = writeFile(w.copyPath(c.Number, ".json"), about)
	}
	for _, old := range spare(append([]Copy{c}, all...), c.Before.Since) {
		err = errors.Join(err, os.Remove(w.copyPath(old.Number, ".json")), os.Remove(w.copyPath(old.Number, ".tfstate")))
	}
	if err != nil {
		return fmt.Errorf("copy state aside: %w", err)
	}
	return nil
}

// spare returns the copies to delete. all is sorted, newest first.
func spare(all []Copy, now time.Time) []Copy {
	var spared []Copy
	days := map[string]bool{}
	for i, c := range all {
		day := c.Before.Since.UTC().Format(time.DateOnly)
		if i >= keptCopies && (days[day] || now.Sub(c.Before.Since) > keptDays*24*time.Hour) {
			spared = append(spared, c)
			continue
		}
		days[day] = true
	}
	return spared
}

// Copies lists the copies of the state in a working folder, newest first. It changes nothing.
func Copies(dir string) ([]Copy, error) {
	files, err := filepath.Glob(filepath.Join(copiesIn(dir), "*.json"))
	if err != nil {
		return nil, err
	}
	all := []Copy{}
	for _, file := range files {
		var c Copy
		b, err := os.ReadFile(file)
		if errors.Is(err, fs.ErrNotExist) {
			continue // just pruned
		}
		if err == nil {
			err = json.Unmarshal(b, &c)
		}
		if err != nil {
			return nil, fmt.Errorf("read copy of the state: %w", err)
		}
		all = append(all, c)
	}
	slices.SortFunc(all, func(a, b Copy) int { return b.Number - a.Number })
	return all, nil
}

// readCopy returns the content of a copy.
func (w *Workspace) readCopy(number int) ([]byte, header, error) {
	var h header
	b, err := os.ReadFile(w.copyPath(number, ".tfstate"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, h, &core.NotFoundError{
			What: "copy of the state", Name: strconv.Itoa(number), Remedy: "troop state history --env " + w.Environment + " lists them",
		}
	}
	if err == nil {
		err = json.Unmarshal(b, &h)
	}
	if err != nil {
		return nil, h, fmt.Errorf("read copy %d of the state: %w", number, err)
	}
	return b, h, nil
}

// Copied returns the state of a copy.
func (w *Workspace) Copied(ctx context.Context, number int) (*State, error) {
	_, h, err := w.readCopy(number)
	if err != nil {
		return nil, err
	}
	if err := w.ready(ctx); err != nil && !errors.As(err, new(*DamagedError)) {
		return nil, err
	}
	var s *State
	err = w.run(ctx, func(tf *tfexec.Terraform) error {
		s, err = w.show(ctx, tf, w.copyPath(number, ".tfstate"), h)
		return err
	})
	return s, err
}

// Restore replaces the state with a copy. It copies the present state first, so that a restore can be undone. It changes
// no host; the next Plan shows the consequences. A copy of a state with another lineage is refused.
func (w *Workspace) Restore(ctx context.Context, number int) error {
	copied, h, err := w.readCopy(number)
	if err != nil {
		return err
	}
	release, err := w.lock(ctx)
	if err != nil {
		return err
	}
	defer release()
	if err := w.removeDamaged(); err != nil {
		return err
	}
	if err := w.prepare(ctx); err != nil {
		return err
	}
	if err := w.replace(ctx, fmt.Sprintf("copy %d", number), copied, h, nil); err != nil {
		return fmt.Errorf("restore state: %w", err)
	}
	return nil
}

// replace puts a state in the place of the present one, which is set aside first and may be refused by check. The caller
// holds the lock.
func (w *Workspace) replace(ctx context.Context, what string, state []byte, h header, check func(present header) error) error {
	file := w.path("restore.tfstate")
	defer func() { _ = os.Remove(file) }()
	err := w.locking(ctx, func(tf *tfexec.Terraform) error {
		present, err := w.setAside(ctx, tf)
		if err != nil {
			return err
		}
		if present != nil && present.Lineage != h.Lineage {
			return fmt.Errorf("%s is of another state: its lineage is %s, that of the present one %s", what, h.Lineage, present.Lineage)
		}
		if present != nil && check != nil {
			if err := check(*present); err != nil {
				return err
			}
		}
		if present != nil {
			// Terraform accepts only a state with a higher serial than the present one, which protects concurrent writes.
			h.Serial = max(h.Serial, present.Serial+1)
		}
		b, err := withSerial(state, h.Serial)
		if err != nil {
			return err
		}
		if err := writeFile(file, b); err != nil {
			return err
		}
		return undecorated(tf.StatePush(ctx, file, tfexec.Lock(true)))
	})
	return w.attribute(err)
}

func withSerial(state []byte, serial uint64) ([]byte, error) {
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(state, &fields); err != nil {
		return nil, err
	}
	fields["serial"] = json.RawMessage(strconv.FormatUint(serial, 10))
	return json.MarshalIndent(fields, "", "  ")
}

// damaged reports whether the local state file is truncated: Terraform writes it in place. The file is also empty
// when the first apply begins.
func (w *Workspace) damaged() (bool, error) {
	b, err := os.ReadFile(w.stateFile())
	if errors.Is(err, fs.ErrNotExist) || (err == nil && json.Valid(b)) {
		return false, nil
	} else if err != nil || len(b) > 0 {
		return err == nil, err
	}
	all, err := Copies(w.Dir)
	return len(all) > 0, err
}

// repair restores the newest copy if an apply was killed while it wrote the state. Resources made by that apply are in
// no state; the lab's provider finds them. Any other damage needs an operator.
func (w *Workspace) repair() error {
	damaged, err := w.damaged()
	if err != nil || !damaged {
		return err
	}
	broken, err := w.interrupted()
	if err != nil {
		return err
	}
	all, err := Copies(w.Dir)
	if err != nil {
		return err
	}
	switch {
	case len(broken) > 0 && len(all) == 0: // it was the very first apply
		return w.removeDamaged()
	case len(broken) == 0, all[0].Before.Since.Before(broken[0].Since):
		return &DamagedError{w.stateFile(), w.Environment}
	}
	b, _, err := w.readCopy(all[0].Number)
	if err != nil {
		return err
	}
	w.Log(fmt.Sprintf("the interruption truncated the state; restored copy %d, made just before", all[0].Number))
	return writeFile(w.stateFile(), b)
}

// removeDamaged renames a damaged state file to make room for the restored one.
func (w *Workspace) removeDamaged() error {
	damaged, err := w.damaged()
	if err != nil || !damaged {
		return err
	}
	aside := w.stateFile() + ".damaged"
	w.Log("the damaged state is now " + aside)
	return os.Rename(w.stateFile(), aside)
}

// CopyTable lists copies of a state.
func CopyTable(all []Copy) core.Table {
	t := core.Table{Columns: []string{"copy", "made", "before", "run", "serial", "resources", "hosts"}}
	for _, c := range all {
		hosts := make([]string, 0, len(c.Hosts))
		for _, h := range c.Hosts {
			hosts = append(hosts, string(h))
		}
		t.Rows = append(t.Rows, []string{
			strconv.Itoa(c.Number), c.Before.Since.Local().Format(time.DateTime), c.Before.What, string(c.Before.Run),
			strconv.FormatUint(c.Serial, 10), strconv.Itoa(c.Resources), strings.Join(hosts, " "),
		})
	}
	return t
}

// CopyNumber reads the number of a copy.
func CopyNumber(text string) (int, error) {
	n, err := strconv.Atoi(text)
	if err != nil {
		return 0, &core.UsageError{Err: fmt.Errorf("want the number of a copy, got %q; troop state history lists them", text)}
	}
	return n, nil
}
