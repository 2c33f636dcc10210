package main

import (
	"errors"
	"fmt"
	"os"
	"path"
	"slices"

	"github.com/seed-b96de936/troop/plugins/maintenance/file"
	"github.com/seed-b96de936/troop/plugins/maintenance/rule"
	"github.com/seed-b96de936/troop/plugins/sdk"
)

// wanted is a file that is due, with its rule.
type wanted struct {
	rule.Found
	rule rule.Rule
}

// scan lists the files that are due now.
func (a *agent) scan() []wanted {
	var due []wanted
	taken := map[string]bool{}
	open := map[string]int64{} // bytes that are being moved, by claimed path
	for _, m := range a.journal.Moves() {
		open[path.Join(path.Dir(string(m.Claim.Path)), string(m.Claim.Claimed))] = m.Claim.File.Size
	}
	for _, r := range a.config.Rules {
		l, err := rule.List(r, a.places)
		key := "rule/" + r.Name
		if err != nil {
			a.alert("rule.unreadable", key, fmt.Sprintf("rule %q on %s: %v", r.Name, a.info.Host, err), nil)
		} else {
			a.resolve(key, fmt.Sprintf("rule %q on %s can be scanned again", r.Name, a.info.Host))
		}
		a.refuse(r.Name, l.Refused)
		for _, f := range l.Orphans {
			if _, ok := open[f.Path]; ok {
				continue
			}
			if !a.rebuilds { // nothing was lost: it is not the agent's, but somebody's who has named it so
				l.Files = append(l.Files, f)
				continue
			}
			if err := a.mover.Adopt(f, r); err != nil {
				a.alert("journal.full", "journal", err.Error(), nil)
			}
			open[f.Path] = f.ID.Size
		}
		rule.NewestFirst(l.Files)
		files := slices.DeleteFunc(l.Files, func(f rule.Found) bool {
			return taken[f.Path] || a.now().Before(a.heldBack[f.Path]) || a.now().Before(a.memory.Restored[file.Name(f.Path)])
		})
		var pending int64
		for name, size := range open {
			if file.Below(name, r.Roots()...) {
				pending += size
			}
		}
		var fs rule.Space
		if r.Free != nil && len(r.Paths) > 0 {
			if fs, err = rule.SpaceOf(r.Roots()[0]); err != nil {
				if !errors.Is(err, os.ErrNotExist) {
					a.alert("rule.unreadable", key, fmt.Sprintf("rule %q on %s: %v", r.Name, a.info.Host, err), nil)
				}
				continue
			}
		}
		ready, short := rule.Choose(r, files, fs, pending, a.now())
		for _, f := range ready {
			taken[f.Path] = true
			due = append(due, wanted{f, r})
		}
		a.alertShort(r, fs, short)
	}
	return due
}

func (a *agent) alertShort(r rule.Rule, fs rule.Space, short int64) {
	key := "space/" + r.Name
	if short > 0 {
		a.alert("space.short", key, fmt.Sprintf("rule %q on %s cannot reach its free space: %s of %s are free, and %s would be missing with all of its files moved",
			r.Name, a.info.Host, human(fs.Free), human(fs.Size), human(short)),
			map[string]any{"free": fs.Free, "size": fs.Size, "missing": short})
	} else {
		a.resolve(key, fmt.Sprintf("rule %q on %s can reach its free space again", r.Name, a.info.Host))
	}
}

// refused is a reason why files of a rule are not moved.
type refused struct{ rule, reason string }

// refuse publishes that matching files are not moved: one event for each rule and reason, whatever the number of files.
func (a *agent) refuse(name string, files map[string]error) {
	byReason := map[string][]string{}
	for f, err := range files {
		reason := file.Reason(err)
		byReason[reason] = append(byReason[reason], f)
	}
	for reason, paths := range byReason {
		if a.refused[refused{name, reason}] {
			continue
		}
		a.refused[refused{name, reason}] = true
		slices.Sort(paths)
		what := paths[0]
		if n := len(paths) - 1; n > 0 {
			what = fmt.Sprintf("%s and %d more files", what, n)
		}
		a.emit(sdk.Event{
			Kind: "file.refused", Severity: sdk.Warning, Key: "file:" + string(a.info.Host) + ":" + name + ":" + reason,
			Summary: fmt.Sprintf("rule %q on %s: not moved: %s: %s", name, a.info.Host, what, reason),
			Data:    map[string]any{"rule": name, "reason": reason, "files": len(paths), "paths": paths[:min(len(paths), shownRefused)]},
		})
	}
}
