package flags

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/seed-b96de936/troop/core"
)

// Shown is what a reader without a context gets, as JSON, so that the string "1.10" is told from a number.
func (f Flag) Shown() string {
	switch {
	case f.Unset:
		return "unset"
	case f.State == Disabled:
		return "disabled"
	case f.Value == nil:
		return "the reader's default"
	}
	return encoded(f.Value)
}

// Because is who made the last change, and why.
func (f Flag) Because() string {
	if f.Reason == "" {
		return f.By
	}
	return f.By + ": " + f.Reason
}

func encoded(v any) string {
	data, err := json.Marshal(v)
	if err != nil {
		return err.Error()
	}
	return string(data)
}

// brief is the beginning of a rule, for a table.
func brief(rule json.RawMessage) string {
	const most = 48
	text := []rune(string(rule))
	if len(text) > most {
		return string(text[:most-1]) + "…"
	}
	return string(text)
}

// Table lists all flags, or those whose end date has passed. With an error it holds what could be read.
func (f *Flags) Table(ctx context.Context, staleOnly bool) (core.Table, error) {
	t := core.Table{Columns: []string{"name", "type", "value", "rule", "owner", "ends", "version", "updated", "by", "note"}}
	list, err := f.List(ctx)
	stops, errStops := f.Stops(ctx)
	now := time.Now()
	for _, x := range list {
		note := ""
		if x.Stale(now) {
			note = "stale"
		}
		if staleOnly && note == "" {
			continue
		}
		if stops.Off(x) {
			note = strings.TrimPrefix(note+", off: its release was stopped", ", ")
		}
		t.Rows = append(t.Rows, []string{
			x.Name, x.Type(), x.Shown(), brief(x.Targeting), x.Text(Owner), x.Text(Ends),
			fmt.Sprint(x.Version), x.Updated.Format(time.DateTime), x.By, note,
		})
	}
	return t, errors.Join(err, errStops)
}

// AuditTable lists the newest changes.
func (f *Flags) AuditTable(ctx context.Context, limit int64) (core.Table, error) {
	t := core.Table{Columns: []string{"updated", "name", "value", "rule", "version", "by", "reason"}}
	list, err := f.Audit(ctx, limit)
	for _, x := range list {
		t.Rows = append(t.Rows, []string{x.Updated.Format(time.DateTime), x.Name, x.Shown(), brief(x.Targeting), fmt.Sprint(x.Version), x.By, x.Reason})
	}
	return t, err
}

// Found is Get for a flag that must be there.
func (f *Flags) Found(ctx context.Context, name string) (Flag, error) {
	x, ok, err := f.Get(ctx, name)
	if err == nil && !ok {
		err = notSet(name)
	}
	return x, err
}

func notSet(name string) error {
	return &core.NotFoundError{What: "flag", Name: name, Remedy: "troop flag list shows those that are set"}
}

// Switch changes the state of a flag that is there, to Enabled or Disabled.
func (f *Flags) Switch(ctx context.Context, name, state string, c Change) (Flag, error) {
	return f.Update(ctx, name, c, func(x *Flag) error {
		if len(x.Variants) == 0 {
			return notSet(name)
		}
		x.State = state
		return nil
	})
}

// OfRelease returns the names of the flags that came with a release and are not disabled. With an error it holds those of the
// flags that could be read.
func (f *Flags) OfRelease(ctx context.Context, release string) ([]string, error) {
	list, err := f.List(ctx)
	var names []string
	for _, x := range list {
		if x.Text(Release) == release && x.State != Disabled {
			names = append(names, x.Name)
		}
	}
	return names, err
}

// Export returns all flags as a file of flagd's.
func (f *Flags) Export(ctx context.Context) ([]byte, error) {
	list, err := f.List(ctx)
	if err != nil {
		return nil, err
	}
	return Export(list)
}

// TakeOver writes the flags of a file of flagd's, and returns how many it has and how many of them were changed.
func (f *Flags) TakeOver(ctx context.Context, file string, c Change) (all, changed int, err error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return 0, 0, err
	}
	list, err := Import(data)
	if err != nil {
		return 0, 0, fmt.Errorf("%s: %w", file, err)
	}
	same := errors.New("nothing to change")
	for _, next := range list {
		_, err := f.Update(ctx, next.Name, c, func(x *Flag) error {
			if x.Same(next) {
				return same
			}
			*x = next
			return nil
		})
		switch {
		case errors.Is(err, same):
		case err != nil:
			return len(list), changed, err
		default:
			changed++
		}
	}
	return len(list), changed, nil
}
