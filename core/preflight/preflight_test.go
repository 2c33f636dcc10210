package preflight_test

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/seed-b96de936/troop/core"
	"github.com/seed-b96de936/troop/core/preflight"
)

func script(t *testing.T, text string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "provider")
	if err := os.WriteFile(file, []byte("#!/bin/sh\n"+text), 0o755); err != nil {
		t.Fatal(err)
	}
	return file
}

func TestProvider(t *testing.T) {
	// Echoes its input.
	binary := script(t, `test "$1" = check && printf '{"name":"request","status":"failed","detail":"%s","remedy":"fix it"}\n{"name":"two","status":"passed"}\n' "$(sed 's/"/\\"/g')"`)
	request := preflight.Request{Folder: "/srv", Variables: map[string]json.RawMessage{"subnet": json.RawMessage(`""`)}}
	got, err := preflight.Provider(t.Context(), binary, request)
	if err != nil {
		t.Fatal(err)
	}
	want := core.Check{Name: "request", Status: core.Failed, Detail: `{"folder":"/srv","variables":{"subnet":""}}`, Remedy: "fix it"}
	if len(got) != 2 || got[0] != want {
		t.Errorf("got %+v, want %+v and another", got, want)
	}
	for text, want := range map[string]string{
		"echo no such host >&2; exit 1": "no such host",
		"echo hello":                    `unexpected output "hello`,
	} {
		if _, err := preflight.Provider(t.Context(), script(t, text), request); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", text, err)
		}
	}
}

func TestRun(t *testing.T) {
	step := func(name string, gate bool, found string, err error) preflight.Step {
		return preflight.Step{Name: name, Gate: gate, Look: func(context.Context) (string, error) { return found, err }}
	}
	found := checks(t, []preflight.Step{
		step("good", true, "fine", nil),
		step("none", true, "", preflight.Skip("nothing to see")),
		step("bad", false, "", &preflight.Problem{Text: "broken", Remedy: "fix it"}),
		step("gone", false, "", &core.NotFoundError{What: "program", Name: "ip", Remedy: "install it"}),
		step("worse", true, "", errors.New("no idea")),
		step("behind", false, "fine", nil),
	})
	for name, want := range map[string]core.Check{
		"good":   {Status: core.Passed, Detail: "fine"},
		"none":   {Status: core.Skipped, Detail: "nothing to see"},
		"bad":    {Status: core.Failed, Detail: "broken", Remedy: "fix it"},
		"gone":   {Status: core.Failed, Detail: "program ip not found", Remedy: "install it"},
		"worse":  {Status: core.Failed, Detail: "no idea"},
		"behind": {Status: core.Skipped, Detail: "cannot be checked without worse"},
	} {
		want.Name = name
		if found[name] != want {
			t.Errorf("got %+v, want %+v", found[name], want)
		}
	}
}
