package python_test

import (
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/seed-b96de936/troop/core/flags/ofrep/ofreptest"
)

func TestFlags(t *testing.T) {
	url := ofreptest.Serve(t, `{"flags": {
		"new-feature": {"variants": {"on": true, "off": false}, "defaultVariant": "off", "targeting": {"if": [{"==": [{"var": "plan"}, "pro"]}, "on"]}},
		"min-version": {"variants": {"on": "1.10"}, "defaultVariant": "on"},
		"limits": {"variants": {"on": {"items": 3}}, "defaultVariant": "on"},
		"gone": {"state": "DISABLED", "variants": {"on": true}, "defaultVariant": "on"}
	}}`)
	for _, c := range []struct{ args, endpoint, want string }{
		{`new-feature false plan=pro targetingKey=anna`, url, `true`},
		{`new-feature false plan=free`, url, `false`},
		{`min-version "1.0"`, url, `"1.10"`},
		{`min-version 3`, url, `3`}, // of another type
		{`new-feature 7`, url, `7`},
		{`limits {}`, url, `{"items": 3}`},
		{`gone false`, url, `false`},
		{`not/set "default"`, url, `"default"`},
		{`new-feature true`, "http://127.0.0.1:1", `true`},
	} {
		cmd := exec.CommandContext(t.Context(), "python3", append([]string{"flags.py"}, strings.Fields(c.args)...)...)
		cmd.Env = append(os.Environ(), "OFREP_ENDPOINT="+c.endpoint, "http_proxy=http://127.0.0.1:1")
		out, err := cmd.CombinedOutput()
		if got := strings.TrimSpace(string(out)); err != nil || got != c.want {
			t.Errorf("flags.py %s: %s, %v; want %s", c.args, got, err, c.want)
		}
	}
}
