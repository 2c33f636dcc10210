package playbooks_test

import (
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
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
// Every playbook of an environment begins with the refusal of an earlier holder.
func TestHolderFirst(t *testing.T) {
	t.Parallel()
	files, err := fs.Glob(playbooks.FS, "*.yml")
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	for _, file := range files {
		if file == "server.yml" { // of no environment
			continue
		}
		var plays []struct{ Roles []any }
		read(t, file, &plays)
		if len(plays) == 0 || len(plays[0].Roles) == 0 || plays[0].Roles[0] != "holder" {
			t.Errorf("%s: the first role is not holder", file)
		}
	}
}

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

// TestRedisVersions asks the role's own condition about what Redis says of its version on each distribution. Ubuntu's
// answers are fakes: only what differs there, no such host.
func TestRedisVersions(t *testing.T) {
	var tasks []map[string]any
	read(t, "roles/redis/tasks/main.yml", &tasks)
	i := slices.IndexFunc(tasks, func(task map[string]any) bool { return task["ansible.builtin.assert"] != nil })
	if i < 0 {
		t.Fatal("the role asserts nothing")
	}
	for name, tt := range map[string]struct{ says, refused string }{
		"Debian 12":              {"Redis server v=7.0.15 sha=00000000:0 malloc=jemalloc-5.3.0 bits=64", ""},
		"a fake of Ubuntu 24.04": {"Redis server v=7.0.15 sha=00000000:0 malloc=jemalloc-5.3.0 bits=64", ""},
		"a fake of Ubuntu 22.04": {"Redis server v=6.0.16 sha=00000000:0 malloc=jemalloc-5.2.1 bits=64", "Redis 7 or newer is needed, and this host's distribution has Redis server v=6.0.16"},
		"a later one":            {"Redis server v=10.0.1 sha=00000000:0", ""},
	} {
		t.Run(name, func(t *testing.T) {
			play := []map[string]any{{
				"name": "Judge", "hosts": "localhost", "connection": "local", "gather_facts": false,
				"vars": map[string]any{"__redis_version": map[string]any{"rc": 0, "stdout": tt.says}}, "tasks": tasks[i : i+1],
			}}
			text, err := yaml.Marshal(play)
			if err != nil {
				t.Fatal(err)
			}
			file := filepath.Join(t.TempDir(), "play.yml")
			if err := os.WriteFile(file, text, 0o600); err != nil {
				t.Fatal(err)
			}
			cmd := exec.CommandContext(t.Context(), "ansible-playbook", "-i", "localhost,", file)
			cmd.Env = append(os.Environ(), "ANSIBLE_HOME="+t.TempDir())
			out, err := cmd.CombinedOutput()
			if (err != nil) != (tt.refused != "") || !strings.Contains(string(out), tt.refused) {
				t.Errorf("%v\n%s", err, out)
			}
			if tt.refused != "" && !strings.Contains(string(out), "Use an image of Debian 12, Ubuntu 24.04 or newer for the router.") {
				t.Errorf("no remedy:\n%s", out)
			}
		})
	}
}
