package flagcmd

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"github.com/seed-b96de936/troop/core/bus/redistest"
	"github.com/seed-b96de936/troop/core/flags"
	"github.com/seed-b96de936/troop/core/ui"
)

// TestFlagCommands says what an operator types, and reads, with a real Redis behind it. After each command line stands a
// pattern of its output; "! " marks one that must fail.
func TestFlagCommands(t *testing.T) {
	b := redistest.Open(t, redistest.Start(t))
	open := func(_ *cobra.Command, args []string) (Opened, error) {
		return Opened{Flags: flags.Open(b), Environment: "lab", Rest: args, Close: func() {}}, nil
	}
	dir := t.TempDir()
	file := filepath.Join(dir, "flags.json")
	foreign := filepath.Join(dir, "foreign.flagd.json")
	if err := os.WriteFile(foreign, []byte(`{
		"$evaluators": {"staff": {"ends_with": [{"var": "email"}, "@example.org"]}},
		"flags": {"showBeta": {"state": "ENABLED", "variants": {"yes": true, "no": false}, "defaultVariant": "no", "targeting": {"if": [{"$ref": "staff"}, "yes"]}}}
	}`), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"set", "min-version", "1.10"}, `min-version = "1.10" \(string\) in lab`},
		{[]string{"get", "min-version"}, `^1\.10\n$`},
		{[]string{"set", "min-version", "2"}, `min-version = "2" \(string\)`},
		{[]string{"set", "word", "null"}, `word = "null" \(string\)`},
		{[]string{"get", "word"}, `^null\n$`},
		{[]string{"set", "limit", "100"}, `limit = 100 \(number\)`},
		{[]string{"! set", "limit", "1.10"}, `flag limit has the type number: 1\.10 reads as the number 1\.1; --type TYPE says`},
		{[]string{"! set", "limit", "many"}, `flag limit has the type number: "many" is not a value of type number`},
		{[]string{"set", "limit", "1.10", "--type", "string"}, `limit = "1\.10" \(string\)`},
		{[]string{"set", "limit", "1.10", "--type", "number"}, `limit = 1\.1 \(number\)`},
		{[]string{"set", "limits", `{"items": 3}`, "--type", "object"}, `limits = {"items":3} \(object\)`},
		{[]string{"! set", "x", "1", "--type", "int"}, `type "int": want boolean, string, number or object`},
		{[]string{"! set", "bad name", "1"}, `flag name "bad name"`},
		{[]string{"! set", "x"}, `want the arguments NAME VALUE`},

		{
			[]string{"set", "new-feature", "true", "--percent", "25", "--owner", "shop", "--ends", "2020-01-31", "--release", "r1", "--reason", "try it"},
			`new-feature = false \(boolean\) in lab, else by {"fractional":\[{"var":"targetingKey"},\["on",25\],\["off",75\]\]}`,
		},
		{[]string{"set", "banner", "blue", "--else", "red", "--when", `{"==": [{"var": "plan"}, "pro"]}`, "--ends", "2999-01-01"}, `banner = "red"`},
		{[]string{"! set", "banner", "blue", "--percent", "5"}, `say what the others get`},
		{[]string{"! set", "banner", "blue", "--else", "red"}, `--else needs --percent or --when`},
		{[]string{"! set", "banner", "blue", "--else", "red", "--when", "plan == pro"}, `--when "plan == pro": want a rule in JsonLogic`},
		{[]string{"! set", "banner", "blue", "--else", "red", "--when", `{"shell": ["id"]}`}, `unknown operator "shell"`},
		{[]string{"! set", "new-feature", "true", "--ends", "soon"}, `end date "soon"`},

		{[]string{"list"}, `new-feature +boolean +false +\{"fractional".* +shop +2020-01-31 +1 .* stale`},
		{[]string{"list"}, `banner +string +"red" .* 2999-01-01 +1 [^\n]*\S\s*\n`},
		{[]string{"list", "--stale"}, `(?s)^name[^\n]+\nnew-feature [^\n]+\n$`},
		{[]string{"set", "new-feature", "true"}, `new-feature = true \(boolean\) in lab\n`},
		{[]string{"list"}, `new-feature +boolean +true +shop +2020-01-31 +2`},
		{[]string{"audit"}, `new-feature +false +\{"fractional".* +1 +\S+ +try it`},

		{[]string{"disable", "--release", "r1", "--reason", "stopped"}, `^new-feature is disabled in lab\n$`},
		{[]string{"get", "new-feature"}, `^disabled\n$`},
		{[]string{"disable", "--release", "r1"}, `^$`},
		{[]string{"enable", "new-feature"}, `new-feature is enabled in lab`},
		{[]string{"disable", "banner"}, `banner is disabled`},
		{[]string{"! disable", "none"}, `no flag "none"|flag "?none"?`},
		{[]string{"! disable"}, `want the arguments NAME`},

		{[]string{"import", foreign, "--reason", "moved in"}, `1 of 1 flags changed in lab`},
		{[]string{"import", foreign}, `0 of 1 flags changed in lab`},
		{[]string{"export", file}, `^$`},
		{[]string{"import", file}, `0 of 7 flags changed`},
		{[]string{"export", "-"}, `(?s)"showBeta": \{\s+"state": "ENABLED"`},
		{[]string{"! import", filepath.Join(dir, "none.json")}, `no such file`},
		{[]string{"unset", "showBeta", "--reason", "over"}, `^$`},
		{[]string{"! get", "showBeta"}, `showBeta`},
		{[]string{"audit"}, `(?s)showBeta +unset +2 +\S+ +over\s.*moved in`},
		{[]string{"! import", dir}, `is a directory`},
	} {
		verb, fails := strings.CutPrefix(c.args[0], "! ")
		var out bytes.Buffer
		cmd := New(open, func() Output { return Output{UI: ui.New(&out, &out, ui.Options{}), Raw: &out} })
		cmd.SilenceErrors, cmd.SilenceUsage = true, true
		cmd.SetArgs(append([]string{verb}, c.args[1:]...))
		err := cmd.ExecuteContext(t.Context())
		text := out.String()
		if err != nil {
			text += err.Error()
		}
		if (err != nil) != fails || !regexp.MustCompile(c.want).MatchString(text) {
			t.Errorf("troop flag %q: %v\n%s\nwant %s", c.args, err, text, c.want)
		}
	}
}
