package main

import (
	"strings"
	"testing"

	"github.com/seed-b96de936/troop/core/flags/ofrep/ofreptest"
)

func TestRun(t *testing.T) {
	url := ofreptest.Serve(t, `{"flags": {
		"new-feature": {"variants": {"on": true, "off": false}, "defaultVariant": "off", "targeting": {"if": [{"==": [{"var": "plan"}, "pro"]}, "on"]}},
		"banner": {"state": "DISABLED", "variants": {"on": "blue"}, "defaultVariant": "on"},
		"limit": {"variants": {"on": 100}, "defaultVariant": "on"}
	}}`)
	var out strings.Builder
	if err := run(t.Context(), url, &out); err != nil {
		t.Fatal(err)
	}
	if want := "anna true none 100 <nil> error code: FLAG_NOT_FOUND: flag \"banner\" has no value: DISABLED <nil>\n" +
		"ben false none 100 <nil> error code: FLAG_NOT_FOUND: flag \"banner\" has no value: DISABLED <nil>\n"; out.String() != want {
		t.Errorf("%s\nwant %s", out.String(), want)
	}
}

// Without flags, or without a server, the defaults in the code hold.
func TestDefaults(t *testing.T) {
	for url, want := range map[string]string{
		ofreptest.Serve(t, ""): "error code: FLAG_NOT_FOUND",
		ofreptest.Serve(t, `{"flags": {"new-feature": {"variants": {"on": "yes"}, "defaultVariant": "on"}}}`): "error code: TYPE_MISMATCH",
		"http://127.0.0.1:1": "error code: GENERAL",
	} {
		var out strings.Builder
		if err := run(t.Context(), url, &out); err != nil {
			t.Fatal(err)
		}
		if !strings.HasPrefix(out.String(), "anna false none 10 "+want) {
			t.Errorf("%s: %s", want, out.String())
		}
	}
}
