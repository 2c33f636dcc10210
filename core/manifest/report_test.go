package manifest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
)

// TestJSONIsTerraforms holds the shape of diagnostics against what `terraform validate -json` says of the same text,
// which is a broken module to Terraform and a broken manifest to us: the same fields, of the same types, and for the
// same place the same range and snippet. UPDATE=1 asks Terraform again.
func TestJSONIsTerraforms(t *testing.T) {
	for _, name := range []string{"argument", "lines", "syntax", "valid"} {
		t.Run(name, func(t *testing.T) {
			src, err := os.ReadFile(filepath.Join("testdata", "terraform", name+".tf"))
			if err != nil {
				t.Fatal(err)
			}
			golden, err := filepath.Abs(filepath.Join("testdata", "terraform", name+".json"))
			if err != nil {
				t.Fatal(err)
			}
			t.Chdir(t.TempDir())
			if err := os.WriteFile("main.tf", src, 0o644); err != nil {
				t.Fatal(err)
			}
			if os.Getenv("UPDATE") != "" {
				askTerraform(t, golden)
			}
			text, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			theirs := parseJSON(t, text)
			_, sources, diags := Load("main.tf", Options{})
			if name == "valid" {
				diags = nil // a module without resources is no manifest
			}
			text, err = JSON(diags, sources)
			if err != nil {
				t.Fatal(err)
			}
			ours := parseJSON(t, text)
			sameShape(t, "", theirs, ours)
			if theirs["valid"] != ours["valid"] {
				t.Errorf("valid: %v, Terraform says %v", ours["valid"], theirs["valid"])
			}
			for _, want := range items(theirs["diagnostics"]) {
				place := func(d any) bool { return fmt.Sprint(field(d, "range")) == fmt.Sprint(field(want, "range")) }
				i := slices.IndexFunc(items(ours["diagnostics"]), place)
				if i < 0 {
					t.Errorf("nothing is said of %v; we say %s", field(want, "range"), text)
					continue
				}
				got := items(ours["diagnostics"])[i]
				for _, name := range []string{"severity", "snippet"} {
					if fmt.Sprint(field(got, name)) != fmt.Sprint(field(want, name)) {
						t.Errorf("%s: %v, Terraform says %v", name, field(got, name), field(want, name))
					}
				}
			}
		})
	}
}

func askTerraform(t *testing.T, golden string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "terraform", "validate", "-json")
	cmd.Env = append(os.Environ(), "TF_CLI_CONFIG_FILE=/dev/null")
	text, err := cmd.Output()
	if len(text) == 0 {
		t.Fatal(err)
	}
	if err := os.WriteFile(golden, text, 0o644); err != nil {
		t.Fatal(err)
	}
}

// sameShape compares the names and types of fields, within lists those of every item with the first.
func sameShape(t *testing.T, path string, theirs, ours any) {
	t.Helper()
	switch a := theirs.(type) {
	case map[string]any:
		b, ok := ours.(map[string]any)
		if !ok {
			t.Errorf("%s is %T, Terraform has an object", path, ours)
			return
		}
		for name := range b {
			if _, ok := a[name]; !ok {
				t.Errorf("%s.%s is a field that Terraform does not have", path, name)
			}
		}
		for name := range a {
			if _, ok := b[name]; !ok {
				t.Errorf("%s.%s is missing", path, name)
				continue
			}
			sameShape(t, path+"."+name, a[name], b[name])
		}
	case []any:
		b, ok := ours.([]any)
		if !ok {
			t.Errorf("%s is %T, Terraform has a list", path, ours)
			return
		}
		for i, x := range b {
			if len(a) > 0 && field(x, "range") != nil { // what Terraform says always has a place here
				sameShape(t, fmt.Sprintf("%s[%d]", path, i), a[0], x)
			}
		}
	default:
		if a, b := fmt.Sprintf("%T", theirs), fmt.Sprintf("%T", ours); a != b && theirs != nil && ours != nil {
			t.Errorf("%s is %s, Terraform has %s", path, b, a)
		}
	}
}

func field(v any, name string) any {
	m, _ := v.(map[string]any)
	return m[name]
}

func items(v any) []any {
	l, _ := v.([]any)
	return l
}

func parseJSON(t *testing.T, text []byte) map[string]any {
	t.Helper()
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	var v map[string]any
	if err := d.Decode(&v); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	return v
}
