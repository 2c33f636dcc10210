package ui_test

import (
	"bytes"
	"strings"
	"testing"

	"github.com/seed-b96de936/troop/core"
	"github.com/seed-b96de936/troop/core/ui"
)

// said prints with a UI of some options and returns what reached both streams.
func said(o ui.Options, do func(*ui.UI)) (out, errOut string) {
	var a, b bytes.Buffer
	do(ui.New(&a, &b, o))
	return a.String(), b.String()
}

func TestAction(t *testing.T) {
	t.Parallel()
	show := func(u *ui.UI) {
		for _, e := range []core.Event{
			{Kind: core.KindLog, Summary: "looking"},
			{Kind: core.KindProgress, Summary: ""},
			{Kind: core.KindProgress, Summary: "web-1"},
			{Kind: core.KindTask, Host: "web-1", Summary: "install", Data: map[string]any{"status": "changed"}},
			{Kind: core.KindTable, Data: map[string]any{"columns": []string{"name"}, "rows": [][]string{{"r1"}}}},
			{Kind: core.KindFinding, Summary: "old", Data: map[string]any{"path": "a.js", "line": 3, "severity": "warning", "rule": "age"}},
			{Kind: core.KindMetric, Summary: "hidden"},
			{Kind: "release.promoted", Summary: "r1\x1b[2J is promoted", Source: "deploy.app", Severity: core.Info, Time: day},
		} {
			u.Action(e)
		}
	}
	out, errOut := said(ui.Options{}, show)
	when := day.Local().Format("2006-01-02 15:04:05")
	if want := "name\nr1\na.js:3: warning: old (age)\n" + when + "  info      deploy.app  release.promoted      r1 is promoted\n"; out != want {
		t.Errorf("results: %q, want %q", out, want)
	}
	if want := "looking\nweb-1\nweb-1: install: changed\n"; errOut != want {
		t.Errorf("notes: %q, want %q", errOut, want)
	}
	out, errOut = said(ui.Options{JSON: true}, show)
	for _, want := range []string{
		`[{"name":"r1"}]` + "\n", `{"path":"a.js","line":3,"severity":"warning","rule":"age","message":"old"}` + "\n", `"kind":"release.promoted"`,
	} {
		if !strings.Contains(out, want) {
			t.Errorf("no %s in %s", want, out)
		}
	}
	if errOut != "" || strings.Contains(out, "looking") || strings.Contains(out, "install") {
		t.Errorf("notes for programs: %s%s", errOut, out)
	}
	if _, errOut := said(ui.Options{Quiet: true}, show); errOut != "" {
		t.Errorf("notes in spite of --quiet: %s", errOut)
	}
}

// lines is a report.
type lines []string

func (l lines) Lines() []string { return l }

func TestReport(t *testing.T) {
	t.Parallel()
	report := lines{"web-1 (production)", "  + create a", "  ~ update b", "  ± replace c", "  - destroy d", "! changed", "refused: no", "warning: hm", "+plus"}
	show := func(u *ui.UI) { u.Report(report) }
	if out, _ := said(ui.Options{}, show); out != strings.Join(report, "\n")+"\n" {
		t.Errorf("without colours: %q", out)
	}
	out, _ := said(ui.Options{Color: true}, show)
	for i, code := range []string{"", "32", "33", "31", "31", "33", "31", "33", ""} {
		want := report[i]
		if code != "" {
			want = "\x1b[" + code + "m" + want + "\x1b[0m"
		}
		if got := strings.Split(out, "\n")[i]; got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	if out, _ := said(ui.Options{JSON: true}, show); !strings.HasPrefix(out, `["web-1 (production)","  + create a"`) || strings.Count(out, "\n") != 1 {
		t.Errorf("for programs: %s", out)
	}
	if _, errOut := said(ui.Options{}, func(u *ui.UI) { u.Ask("Sure?") }); errOut != "Sure? " {
		t.Errorf("a question: %q", errOut)
	}
}
