package ui_test

import (
	"strings"
	"testing"

	"github.com/seed-b96de936/troop/core"
	"github.com/seed-b96de936/troop/core/ui"
)

func TestChecks(t *testing.T) {
	good := core.Check{Name: "region", Status: core.Passed, Detail: "eu-central-1\x1b]0;title\x07"}
	bad := core.Check{Name: "image", Status: core.Failed, Detail: "there is none", Remedy: "choose another"}
	const lines = "✓ region          eu-central-1\n✗ image           there is none\n                  choose another\n"
	for name, c := range map[string]struct {
		options ui.Options
		want    string
	}{
		"pipe":     {ui.Options{}, lines},
		"terminal": {ui.Options{TTY: true}, "> region …\r\x1b[K" + strings.Replace(lines, "✗", "> image …\r\x1b[K✗", 1)},
		"quiet":    {ui.Options{TTY: true, Quiet: true}, "\x1b[K" + lines[strings.Index(lines, "✗"):]},
		"JSON":     {ui.Options{JSON: true, TTY: true}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			var out strings.Builder
			u := ui.New(&out, &out, c.options)
			for _, check := range []core.Check{good, bad} {
				u.Checking(check.Name)
				u.Check(check)
			}
			if out.String() != c.want {
				t.Errorf("got  %q\nwant %q", out.String(), c.want)
			}
		})
	}
}
