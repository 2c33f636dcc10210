package ui_test

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed-b96de936/troop/core"
	"github.com/seed-b96de936/troop/core/ui"
)

// screen is a terminal: what the live lines use of one, with lines that break at its width.
type screen struct {
	mu            sync.Mutex
	columns, rows int
	lines         [][]rune
	x, y          int
	unknown       []string
}

var escape = regexp.MustCompile(`^\x1b\[(\??[0-9;]*)([A-Za-z])`)

func (s *screen) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for text := string(b); text != ""; {
		if m := escape.FindStringSubmatch(text); m != nil {
			s.control(m[1], m[2])
			text = text[len(m[0]):]
			continue
		}
		r := []rune(text)[0]
		text = text[len(string(r)):]
		switch r {
		case '\r':
			s.x = 0
		case '\n':
			s.x, s.y = 0, s.y+1
		default:
			if s.x == s.columns {
				s.x, s.y = 0, s.y+1
			}
			s.need()
			s.lines[s.y] = append(s.lines[s.y], slices.Repeat([]rune{' '}, max(0, s.x+1-len(s.lines[s.y])))...)
			s.lines[s.y][s.x] = r
			s.x++
		}
		s.need()
	}
	return len(b), nil
}

func (s *screen) need() {
	for len(s.lines) <= s.y {
		s.lines = append(s.lines, nil)
	}
}

func (s *screen) control(arg, what string) {
	switch {
	case what == "A":
		n, _ := strconv.Atoi(arg)
		s.y = max(0, s.y-n)
	case what == "K":
		s.lines[s.y] = s.lines[s.y][:min(s.x, len(s.lines[s.y]))]
	case what == "J":
		s.lines[s.y] = s.lines[s.y][:min(s.x, len(s.lines[s.y]))]
		s.lines = s.lines[:s.y+1]
	case what == "m", arg == "?2026":
	default:
		s.unknown = append(s.unknown, arg+what)
	}
}

// resize breaks the lines anew, as terminals do.
func (s *screen) resize(columns int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var lines [][]rune
	for _, l := range s.lines {
		for len(l) > columns {
			lines, l = append(lines, slices.Clone(l[:columns])), l[columns:]
		}
		lines = append(lines, l)
	}
	s.y += len(lines) - len(s.lines)
	s.lines, s.columns = lines, columns
}

func (s *screen) size() (int, int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.columns, s.rows
}

func (s *screen) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []string
	for _, l := range s.lines {
		out = append(out, strings.TrimRight(string(l), " "))
	}
	return strings.TrimRight(strings.Join(out, "\n"), "\n")
}

func TestLive(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &screen{columns: 60, rows: 24}
		u := ui.New(s, s, ui.Options{TTY: true, Color: true, Size: s.size})
		began := time.Now()
		emit := func(source, kind, summary string, data map[string]any) {
			u.Emit(core.Event{Time: time.Now(), Run: runID, Environment: "lab", Source: source, Kind: kind, Severity: core.Info, Summary: summary, Data: data})
		}
		shows := func(when string, want ...string) {
			t.Helper()
			time.Sleep(150 * time.Millisecond)
			synctest.Wait()
			if got := s.String(); got != strings.Join(want, "\n") {
				t.Errorf("%s:\n%s\nwant\n%s", when, got, strings.Join(want, "\n"))
			}
		}
		const title = "storefront 012345678 Fix the cart (main) in lab, run 01JGZ…"
		emit("run", core.KindRunStarted, "", map[string]any{
			"pipeline": "storefront", "commit": "0123456789abcdef", "subject": "Fix the cart", "branch": "main",
			"stages": []string{"build.app", "test.unit", "deploy.shop"},
		})
		shows("at the start", title, "· build.app", "· test.unit", "· deploy.shop")
		emit("build.app", core.KindStageStarted, "", nil)
		time.Sleep(2 * time.Second)
		emit("build.app", core.KindLog, "added 71 packages, and audited 72 packages in 2s, all of them", nil)
		shows("with a log line", title, "⠸ build.app     2.1s  added 71 packages, and audited 72 pa…", "· test.unit", "· deploy.shop")
		u.Warnf("something else")
		shows("with a line in between", "troop: something else", title,
			"⠼ build.app     2.2s  added 71 packages, and audited 72 pa…", "· test.unit", "· deploy.shop")
		s.resize(30)
		shows("narrower", "troop: something else", "storefront 012345678 Fix the…", "⠦ build.app     2.5s  added …", "· test.unit", "· deploy.shop")
		s.resize(60)
		emit("environment.lab", core.KindEnvironmentPreparing, "", nil)
		emit("terraform", core.KindTask, "lab_host.web-1", map[string]any{"status": "created"})
		emit("build.app", core.KindStagePassed, "passed", map[string]any{"seconds": 2.5})
		emit("test.unit", core.KindStageFailed, "1 of 14 tests failed", map[string]any{"seconds": 75.0})
		shows("later", "troop: something else", title, "✓ build.app         2.5s", "✗ test.unit        1m15s  1 of 14 tests failed",
			"· deploy.shop", "⠧ environment.lab   0.1s  lab_host.web-1: created")
		u.Close()
		u.Close()
		if got := s.String(); got != "troop: something else" || len(s.unknown) > 0 {
			t.Errorf("at the end %q, controls %q", got, s.unknown)
		}
		r, _ := script()
		r.Started, r.Ended = began, began.Add(time.Minute)
		s.resize(100)
		u.Summary(r)
		if got := s.String(); !strings.HasSuffix(got, "see more: troop logs /shop/pipeline.hcl 01JGZ3V0M8 test.unit") {
			t.Errorf("summary:\n%s", got)
		}
	})
}

// More stages than the terminal has lines: those that run stay in view, and nothing scrolls away.
func TestLiveOnASmallTerminal(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &screen{columns: 40, rows: 6}
		u := ui.New(s, s, ui.Options{TTY: true, Size: s.size})
		var stages []string
		for i := range 20 {
			stages = append(stages, fmt.Sprintf("a.s%02d", i))
		}
		u.Emit(core.Event{Kind: core.KindRunStarted, Time: time.Now(), Data: map[string]any{"pipeline": "p", "stages": stages}})
		u.Emit(core.Event{Kind: core.KindStageStarted, Time: time.Now(), Source: "a.s11"})
		time.Sleep(time.Second)
		synctest.Wait()
		lines := strings.Split(s.String(), "\n")
		if len(lines) >= 6 || !strings.Contains(s.String(), "a.s11") {
			t.Errorf("%d lines:\n%s", len(lines), s.String())
		}
		u.Close()
	})
}
