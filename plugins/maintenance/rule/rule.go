// Package rule says which files of a host are moved, and when: the rule block, the folders that rules may name, and the
// scan of a rule's files. It changes nothing. The maintenance plugin checks rules with it when a pipeline is validated,
// and its agent scans with it on each host; the plugin and its package move import it.
package rule

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/seed-b96de936/troop/plugins/sdk"
)

// Rule is a rule block of the manifest.
type Rule struct {
	Name   string       `hcl:"name,label"`
	Paths  []string     `hcl:"paths" doc:"Absolute paths of files; * matches any text within one folder name, ** any folders."`
	Above  sdk.Size     `hcl:"above,optional" doc:"Files larger than this are moved."`
	Older  sdk.Duration `hcl:"older_than,optional" doc:"Files not written to for this long are moved."`
	Free   *Goal        `hcl:"free,optional" doc:"Files are moved, oldest first, while the file system has less free space than this: \"20%\" or \"2GiB\"."`
	Keep   int          `hcl:"keep" default:"0" doc:"Number of newest files that are never moved."`
	Reopen string       `hcl:"reopen" default:"\"rename\"" doc:"How a writer is made to close its file: rename (it notices), signal, or copytruncate (the writer is stopped for a few milliseconds; if it cannot be, lines written at that moment are lost)."`
	Signal *Signal      `hcl:"signal,block" doc:"With reopen = \"signal\": which process is signalled."`
}

// Signal is a signal block: how to make a writer reopen its file.
type Signal struct {
	Send    string `hcl:"send" default:"\"HUP\"" doc:"HUP, USR1 or USR2."`
	Unit    string `hcl:"unit,optional" doc:"Service whose main process gets the signal."`
	PIDFile string `hcl:"pid_file,optional" doc:"File with the pid of the process, instead of a unit. Unless it is root's, it may name a process of its owner only."`
}

// Number returns the signal, 0 when there is none of its name. Without a name it is SIGHUP.
func (s Signal) Number() unix.Signal {
	switch s.Send {
	case "", "HUP":
		return unix.SIGHUP
	case "USR1":
		return unix.SIGUSR1
	case "USR2":
		return unix.SIGUSR2
	}
	return 0
}

// Goal is the free space that a file system should have: a share of it, or bytes.
type Goal struct {
	percent float64
	bytes   int64
}

// UnmarshalText reads "20%" or a size.
func (g *Goal) UnmarshalText(text []byte) error {
	if p, ok := strings.CutSuffix(strings.TrimSpace(string(text)), "%"); ok {
		v, err := strconv.ParseFloat(strings.TrimSpace(p), 64)
		if err != nil || v <= 0 || v >= 100 {
			return fmt.Errorf(`want more than 0%% and less than 100%%, got %q`, text)
		}
		g.percent = v
		return nil
	}
	var s sdk.Size
	if err := s.UnmarshalText(text); err != nil {
		return fmt.Errorf(`want a share such as "20%%" or a size such as "2GiB", got %q`, text)
	}
	g.bytes = int64(s)
	return nil
}

// missing returns how many bytes must be freed on a file system of a size with so much free; 0: none.
func (g *Goal) missing(size, free int64) int64 {
	goal := g.bytes
	if g.percent > 0 {
		goal = int64(float64(size) * g.percent / 100)
	}
	return max(0, goal-free)
}

// Roots are the folders that hold all files the rule names, one for each of its paths.
func (r Rule) Roots() []string {
	roots := make([]string, 0, len(r.Paths))
	for _, p := range r.Paths {
		root, _ := splitPattern(p)
		roots = append(roots, root)
	}
	return roots
}

// Check calls bad with everything that is wrong with rules for a host of these places. Values that are not known
// before the run are zero.
func Check(rules []Rule, p Places, bad func(path, format string, args ...any)) {
	names := map[string]bool{}
	for i, r := range rules {
		at := fmt.Sprintf("rule[%d]", i)
		if r.Name == "" || strings.ContainsAny(r.Name, "/\\ \x00") || strings.HasPrefix(r.Name, ".") {
			bad(at, "want a name without / and spaces, got %q", r.Name)
		}
		if names[r.Name] {
			bad(at, "there are two rules %q; give each its own name", r.Name)
		}
		names[r.Name] = true
		for n, pattern := range r.Paths {
			if pattern == "" {
				continue // not known before the run
			}
			if err := p.checkPattern(pattern); err != nil {
				bad(fmt.Sprintf("%s.paths[%d]", at, n), "%s", err)
			}
		}
		if r.Paths != nil && len(r.Paths) == 0 {
			bad(at+".paths", "want at least one path")
		}
		if r.Above == 0 && r.Older == 0 && r.Free == nil {
			bad(at, "want above, older_than or free: they say when files are moved")
		}
		if r.Keep < 0 {
			bad(at+".keep", "want 0 or more, got %d", r.Keep)
		}
		r.checkReopen(at, bad)
	}
}

func (r Rule) checkReopen(at string, bad func(path, format string, args ...any)) {
	if !slices.Contains([]string{"", "rename", "signal", "copytruncate"}, r.Reopen) {
		bad(at+".reopen", `want "rename", "signal" or "copytruncate", got %q`, r.Reopen)
		return
	}
	s := r.Signal
	switch {
	case r.Reopen != "signal" && s != nil:
		bad(at+".signal", `it is used only with reopen = "signal"`)
	case r.Reopen != "signal":
	case s == nil:
		bad(at+".reopen", `want a signal block with unit or pid_file beside it`)
	case (s.Unit == "") == (s.PIDFile == ""):
		bad(at+".signal", "want one of unit and pid_file")
	case s.Number() == 0:
		bad(at+".signal.send", "want HUP, USR1 or USR2, got %q", s.Send)
	}
}
