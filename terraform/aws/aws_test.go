// Package aws_test tests the module without an AWS account and without a registry: this test's binary serves as a provider
// with the real provider's schema.
package aws_test

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/hashicorp/hcl/v2"

	"github.com/seed-b96de936/troop/terraform/moduletest"
)

// schemaVariable names the schema file for the binary that Terraform starts, and versionVariable its version.
const (
	schemaVariable  = "TROOP_TEST_AWS_SCHEMA"
	versionVariable = "TROOP_TEST_AWS_VERSION"
)

func TestMain(m *testing.M) {
	if file := os.Getenv(schemaVariable); file != "" && os.Getenv("TF_PLUGIN_MAGIC_COOKIE") != "" {
		if err := serve(file); err != nil {
			panic(err)
		}
		return
	}
	m.Run()
}

// workspace is an initialised copy of the module.
type workspace struct {
	dir string
	env []string
}

func newWorkspace(t *testing.T, version string) workspace {
	t.Helper()
	dir := t.TempDir()
	if err := os.CopyFS(filepath.Join(dir, "module"), os.DirFS(".")); err != nil {
		t.Fatal(err)
	}
	schema, err := filepath.Abs(schemaFile)
	if err != nil {
		t.Fatal(err)
	}
	source, _, err := readSchema(schema)
	if err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	mirror := filepath.Join(dir, "mirror")
	to := filepath.Join(mirror, filepath.FromSlash(source), version, runtime.GOOS+"_"+runtime.GOARCH, "terraform-provider-aws_v"+version)
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(self, to); err != nil {
		t.Fatal(err)
	}
	config := filepath.Join(dir, "cli.tfrc")
	if err := os.WriteFile(config, fmt.Appendf(nil, "provider_installation {\n  filesystem_mirror {\n    path = %q\n  }\n}\n", mirror), 0o644); err != nil {
		t.Fatal(err)
	}
	w := workspace{dir: filepath.Join(dir, "module"), env: []string{"TF_CLI_CONFIG_FILE=" + config, "CHECKPOINT_DISABLE=1", schemaVariable + "=" + schema, versionVariable + "=" + version}}
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, "TF_") {
			w.env = append(w.env, v)
		}
	}
	w.terraform(t, "init", "-backend=false", "-input=false")
	return w
}

// terraform runs a command, which must succeed, and returns its output.
func (w workspace) terraform(t *testing.T, args ...string) []byte {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "terraform", append(args, "-no-color")...)
	cmd.Dir, cmd.Env = w.dir, w.env
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil {
		t.Fatalf("terraform %s: %v\n%s", strings.Join(args, " "), err, out.Bytes())
	}
	return out.Bytes()
}

// TestNewerProvider checks the module against the names of provider 6.
func TestNewerProvider(t *testing.T) {
	w := newWorkspace(t, "6.0.0")
	w.terraform(t, "validate")
	file := filepath.Join(w.dir, "hosts.tf")
	text := strings.Replace(string(readModule(t, "hosts.tf")), `domain = "vpc"`, "vpc = true", 1)
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "terraform", "validate", "-no-color")
	cmd.Dir, cmd.Env = w.dir, w.env
	if out, err := cmd.CombinedOutput(); err == nil || !bytes.Contains(out, []byte(`An argument named "vpc" is not expected here`)) {
		t.Errorf("an argument that provider 6 has no more: %v\n%s", err, out)
	}
}

func readModule(t *testing.T, name string) []byte {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func TestModule(t *testing.T) {
	w := newWorkspace(t, "5.32.1")
	w.terraform(t, "validate")
	w.terraform(t, "fmt", "-check", "-recursive")
	if err := os.WriteFile(filepath.Join(w.dir, "tests", "readme.tftest.hcl"), examples(t), 0o644); err != nil {
		t.Fatal(err)
	}
	moduletest.Run(t, w.dir, w.env)
}

// TestLifecycles checks what `terraform test` cannot: prevent_destroy, since such a test could not clean up, and the order
// of creation and destruction.
func TestLifecycles(t *testing.T) {
	for rule, want := range map[string][]string{
		"prevent_destroy":       {"aws_s3_bucket.backups", "aws_ebs_volume.storage"},
		"create_before_destroy": {"aws_key_pair.this", "aws_security_group.all", "aws_security_group.router", "aws_security_group.app", "aws_security_group.storage"},
	} {
		var got []string
		for _, block := range blocks(t) {
			for _, inner := range block.Body.Blocks {
				attribute, ok := inner.Body.Attributes[rule]
				if block.Type != "resource" || inner.Type != "lifecycle" || !ok {
					continue
				}
				if value, diags := attribute.Expr.Value(nil); !diags.HasErrors() && value.True() {
					got = append(got, strings.Join(block.Labels, "."))
				}
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s: %v, want %v", rule, got, want)
		}
	}
}

// TestWayOut checks that hosts depend on the internet route, without which their first installation of packages fails.
func TestWayOut(t *testing.T) {
	for _, block := range blocks(t) {
		if !slices.Equal(block.Labels, []string{"aws_instance", "host"}) {
			continue
		}
		var got []string
		for _, traversal := range block.Body.Attributes["depends_on"].Expr.Variables() {
			got = append(got, traversal.RootName()+"."+traversal[1].(hcl.TraverseAttr).Name)
		}
		if want := []string{"aws_route.internet", "aws_route_table_association.this"}; !slices.Equal(got, want) {
			t.Errorf("hosts wait for %v, want %v", got, want)
		}
		return
	}
	t.Error("there are no hosts")
}

// TestDefaultTags checks what a mocked provider does not show: that all resources get the tags.
func TestDefaultTags(t *testing.T) {
	for _, block := range blocks(t) {
		if block.Type != "provider" {
			continue
		}
		for _, inner := range block.Body.Blocks {
			if traversal, diags := hcl.AbsTraversalForExpr(inner.Body.Attributes["tags"].Expr); inner.Type == "default_tags" && !diags.HasErrors() &&
				traversal.RootName() == "local" && traversal[1].(hcl.TraverseAttr).Name == "tags" {
				return
			}
		}
	}
	t.Error("no provider has local.tags as its default_tags")
}
