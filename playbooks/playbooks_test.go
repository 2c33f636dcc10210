package playbooks_test

import (
	"fmt"
	"io/fs"
	"os"
	"path"
	"reflect"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/seed-b96de936/troop/playbooks"
)

// option is an input of a role as its argument specification has it.
type option struct {
	name        string
	Type        string   `yaml:"type"`
	Elements    string   `yaml:"elements"`
	Required    bool     `yaml:"required"`
	Default     any      `yaml:"default"`
	Choices     []string `yaml:"choices"`
	Description string   `yaml:"description"`
}

// role is what one says of itself.
type role struct {
	short    string
	options  []option
	defaults map[string]any
}

func read(t *testing.T, file string, into any) {
	t.Helper()
	b, err := fs.ReadFile(playbooks.FS, file)
	if err != nil {
		t.Fatal(err)
	}
	if err := yaml.Unmarshal(b, into); err != nil {
		t.Fatalf("%s: %v", file, err)
	}
}

func readRole(t *testing.T, name string) role {
	t.Helper()
	var specs struct {
		Specs struct {
			Main struct {
				Short   string    `yaml:"short_description"`
				Options yaml.Node `yaml:"options"`
			} `yaml:"main"`
		} `yaml:"argument_specs"`
	}
	read(t, path.Join("roles", name, "meta/argument_specs.yml"), &specs)
	r := role{short: specs.Specs.Main.Short}
	nodes := specs.Specs.Main.Options.Content
	for i := 0; i+1 < len(nodes); i += 2 {
		o := option{name: nodes[i].Value}
		if err := nodes[i+1].Decode(&o); err != nil {
			t.Fatalf("role %s: %s: %v", name, o.name, err)
		}
		r.options = append(r.options, o)
	}
	read(t, path.Join("roles", name, "defaults/main.yml"), &r.defaults)
	return r
}

func roles(t *testing.T) []string {
	t.Helper()
	entries, err := fs.ReadDir(playbooks.FS, "roles")
	if err != nil || len(entries) == 0 {
		t.Fatalf("roles: %v, %v", entries, err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

// TestSpecifications holds each role's specification to its defaults, and both to the rule that a variable starts with
// the role's name.
func TestSpecifications(t *testing.T) {
	for _, name := range roles(t) {
		t.Run(name, func(t *testing.T) {
			r := readRole(t, name)
			if r.short == "" || len(r.options) == 0 {
				t.Fatalf("specification: %+v", r)
			}
			for _, o := range r.options {
				if !strings.HasPrefix(o.name, name+"_") || o.Description == "" || o.Type == "" {
					t.Errorf("%s: %+v; want a name that starts with %s_, a type and a description", o.name, o, name)
				}
				value, ok := r.defaults[o.name]
				text, _ := value.(string)
				switch {
				case strings.Contains(text, "{{"): // follows another variable, which the description says
					if !strings.Contains(strings.ToLower(o.Description), "follows") {
						t.Errorf("%s follows %s, and its description does not say so", o.name, text)
					}
				case !reflect.DeepEqual(value, o.Default):
					t.Errorf("%s: default is %v, and %v in the specification", o.name, value, o.Default)
				case o.Required && ok:
					t.Errorf("%s is required and has a default", o.name)
				}
			}
			for variable := range r.defaults {
				if !slices.ContainsFunc(r.options, func(o option) bool { return o.name == variable }) {
					t.Errorf("%s has a default and is not in the specification", variable)
				}
			}
		})
	}
}

// TestReadme holds the tables of inputs to the specifications. UPDATE=1 renews them.
func TestReadme(t *testing.T) {
	const file, begin, end = "README.md", "<!-- inputs -->\n", "<!-- /inputs -->\n"
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok := strings.Cut(string(b), begin)
	_, after, ok2 := strings.Cut(rest, end)
	if !ok || !ok2 {
		t.Fatalf("%s has no place for the inputs", file)
	}
	var tables strings.Builder
	for _, name := range roles(t) {
		fmt.Fprintf(&tables, "\n### %s\n\n| input | is | type | default |\n|---|---|---|---|\n", name)
		for _, o := range readRole(t, name).options {
			fmt.Fprintf(&tables, "| `%s` | %s | %s | %s |\n", o.name, strings.ReplaceAll(o.Description, "|", `\|`), o.kind(), o.value())
		}
	}
	want := before + begin + tables.String() + "\n" + end + after
	if os.Getenv("UPDATE") != "" {
		if err := os.WriteFile(file, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	} else if string(b) != want {
		t.Errorf("%s is not up to date: run UPDATE=1 go test ./playbooks", file)
	}
	for _, name := range roles(t) {
		if !strings.Contains(before, "`roles/"+name+"`") {
			t.Errorf("%s does not list role %s", file, name)
		}
	}
}

func (o option) kind() string {
	kind := o.Type
	if o.Elements != "" {
		kind += " of " + o.Elements
	}
	if len(o.Choices) > 0 {
		kind += ": " + strings.Join(o.Choices, ", ")
	}
	return kind
}

func (o option) value() string {
	switch v := o.Default.(type) {
	case nil:
		if o.Required {
			return "required"
		}
		return "–"
	case string:
		return fmt.Sprintf("`%q`", v)
	case []any:
		words := make([]string, len(v))
		for i, w := range v {
			words[i] = fmt.Sprint(w)
		}
		return "`[" + strings.Join(words, ", ") + "]`"
	case map[string]any:
		return "`{}`"
	default:
		return fmt.Sprintf("`%v`", v)
	}
}
