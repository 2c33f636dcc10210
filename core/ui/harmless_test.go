package ui

import (
	"bytes"
	"errors"
	"os"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/creack/pty"

	"github.com/seed-b96de936/troop/core"
)

// hostile is what a file name, a commit's subject or a line of a log may hold.
const hostile = "a\x1b[2J\x1b]0;title\a\x1b[31mb\u009b5mc\b\x00\x7f\rd\u202ee\u2066\u200b\u2028f\tg\nh\xffi"

// fill puts the hostile text into every string within v.
func fill(v reflect.Value) {
	switch v.Kind() {
	case reflect.String:
		v.SetString(hostile)
	case reflect.Struct:
		if v.Type() == reflect.TypeFor[time.Time]() {
			v.Set(reflect.ValueOf(time.Now()))
			return
		}
		for _, field := range v.Fields() {
			if field.CanSet() {
				fill(field)
			}
		}
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		fill(v.Index(0))
		fill(v.Index(1))
	case reflect.Map:
		if v.Type() == reflect.TypeFor[map[string]any]() {
			data := map[string]any{"stages": []any{hostile}, "lines": []any{hostile}, "columns": []any{hostile}, "rows": []any{[]any{hostile}}}
			for _, k := range []string{"path", "severity", "rule", "name", "unit", "pipeline", "commit", "subject", "branch", "status", "message", hostile} {
				data[k] = hostile
			}
			v.Set(reflect.ValueOf(data))
		}
	}
}

func filled[T any]() T {
	var x T
	fill(reflect.ValueOf(&x).Elem())
	return x
}

type lines []string

func (l lines) Lines() []string { return l }

// Whatever is printed, and however: nothing that came from elsewhere steers the terminal.
func TestNothingSteersTheTerminal(t *testing.T) {
	t.Parallel()
	kinds := []string{
		core.KindRunStarted, core.KindRunFailed, core.KindRunPassed, core.KindStageStarted, core.KindStageFailed, core.KindStageSkipped,
		core.KindStageRetrying, core.KindStagePassed, core.KindStageCancelled, core.KindFinding, core.KindMetric, core.KindTask,
		core.KindProgress, core.KindLog, core.KindTable, core.KindPlan, core.KindEnvironmentPreparing, core.KindEnvironmentFailed,
		core.KindEnvironmentReady, hostile,
	}
	events := func() (all []core.Event) {
		for _, k := range kinds {
			e := filled[core.Event]()
			e.Kind = k
			all = append(all, e)
		}
		return all
	}
	each := func(f func(core.Event)) {
		for _, e := range events() {
			f(e)
		}
	}
	answer := func(ask func(in *os.File)) {
		keyboard, screen, err := pty.Open()
		if err != nil {
			t.Error(err)
			return
		}
		defer func() { _, _ = keyboard.Close(), screen.Close() }()
		if _, err := keyboard.WriteString("yes\n"); err != nil {
			t.Error(err)
		}
		ask(screen)
	}
	calls := map[string]func(u *UI){
		"Action":   func(u *UI) { each(u.Action) },
		"Ask":      func(u *UI) { u.Ask(hostile) },
		"Check":    func(u *UI) { u.Check(filled[core.Check]()) },
		"Checking": func(u *UI) { u.Checking(hostile) },
		"Close":    func(u *UI) { each(u.Emit); u.Close() },
		"Confirm": func(u *UI) {
			answer(func(in *os.File) {
				if yes, err := u.Confirm(in, hostile); !yes || err != nil {
					t.Errorf("the answer is yes: %v, %v", yes, err)
				}
			})
			if _, err := u.Confirm(strings.NewReader("yes\n"), hostile); !errors.Is(err, ErrNobody) {
				t.Errorf("a pipe: %v", err)
			}
		},
		"Secrets": func(u *UI) {
			answer(func(in *os.File) {
				if secret, err := u.Secrets(in)(hostile); string(secret) != "yes" || err != nil {
					t.Errorf("the secret is %q, %v", secret, err)
				}
			})
			if u.Secrets(strings.NewReader("")) != nil {
				t.Error("a pipe can be asked")
			}
		},
		"Emit": func(u *UI) { each(u.Emit); time.Sleep(2 * frame); u.Close() },
		"Error": func(u *UI) {
			u.Error(errors.New(hostile))
			u.Error(&core.NotFoundError{What: hostile, Name: hostile, Remedy: hostile})
		},
		"Event":   func(u *UI) { each(u.Event) },
		"Hosts":   func(u *UI) { u.Hosts(filled[[]core.Host]()) },
		"JSON":    func(u *UI) { u.JSON(filled[core.Run]()) },
		"Lines":   func(u *UI) { each(u.Lines) },
		"Log":     func(u *UI) { each(u.Log) },
		"Note":    func(u *UI) { u.Note(hostile) },
		"Printf":  func(u *UI) { u.Printf("%s", hostile) },
		"Report":  func(u *UI) { u.Report(lines{hostile, "+ " + hostile}) },
		"Runs":    func(u *UI) { u.Runs(filled[[]core.Run]()) },
		"Show":    func(u *UI) { u.Show(filled[core.Run](), events()) },
		"Summary": func(u *UI) { each(u.Lines); u.Summary(filled[core.Run]()) },
		"Table":   func(u *UI) { u.Table(filled[core.Table]()) },
		"Warnf":   func(u *UI) { u.Warnf("%s", hostile) },
		"Why":     func(u *UI) { u.Why(filled[core.Run](), events()) },
	}
	typ := reflect.TypeFor[*UI]()
	for method := range typ.Methods() {
		if calls[method.Name] == nil {
			t.Errorf("%s is not tested", method.Name)
		}
	}
	own := regexp.MustCompile(`\x1b\[(?:[0-9]*[mKJA]|\?2026[hl])|\r`)
	for name, call := range calls {
		for mode, o := range map[string]Options{
			"plain": {}, "colour": {Color: true}, "terminal": {TTY: true, Color: true}, "verbose": {Verbose: true, TTY: true}, "quiet": {Quiet: true}, "JSON": {JSON: true},
		} {
			t.Run(name+"/"+mode, func(t *testing.T) {
				t.Parallel()
				var out, errOut bytes.Buffer
				call(New(&out, &errOut, o))
				text := out.String() + errOut.String()
				if strings.Contains(text, "\x1b[31mb") || strings.Contains(text, "\x1b[2J") {
					t.Errorf("a sequence from elsewhere: %q", text)
				}
				if o.TTY || o.Color {
					text = own.ReplaceAllString(text, "")
				}
				for _, r := range text {
					if r != '\n' && r != '\t' && unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r) || r == '\u2028' || r == '\u200b' {
						t.Fatalf("%U in %q", r, text)
					}
				}
			})
		}
	}
}
