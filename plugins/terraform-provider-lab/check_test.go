package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
)

func TestCheck(t *testing.T) {
	var out, complaints bytes.Buffer
	request := `{"folder": "/srv/app/.troop/lab/terraform", "variables": {"subnet": "", "hosts": {"web-1": {"role": "production", "memory": "512MiB", "disk": "2GiB"}}}}`
	if code := run([]string{"check"}, strings.NewReader(request), &out, &complaints); code != 0 {
		t.Fatalf("exit status %d: %s", code, complaints.String())
	}
	var names []string
	for line := range bytes.Lines(out.Bytes()) {
		var c struct{ Name, Status, Detail, Remedy string }
		if err := json.Unmarshal(line, &c); err != nil {
			t.Fatal(err)
		}
		if (c.Status != "passed" && c.Status != "failed") || c.Detail == "" || (c.Status == "failed") != (c.Remedy != "") {
			t.Errorf("%+v", c)
		}
		names = append(names, c.Name)
	}
	if want := []string{"rights", "programs", "kernel", "network", "memory", "disk"}; !slices.Equal(names, want) {
		t.Errorf("checks %v, want %v", names, want)
	}
	if code := run([]string{"check"}, strings.NewReader(`{"variables": {"hosts": {"web-1": {"memory": "much"}}}}`), &out, &complaints); code != 1 || !strings.Contains(complaints.String(), `host web-1: size "much"`) {
		t.Errorf("exit status %d: %s", code, complaints.String())
	}
}

// TestCheckAsUser looks as who may neither see labs nor make them.
func TestCheckAsUser(t *testing.T) {
	if os.Getenv("TROOP_TEST_CHECK") != "" {
		if code := run([]string{"check"}, strings.NewReader(`{"folder": "/srv"}`), os.Stdout, os.Stderr); code != 0 {
			t.Errorf("exit status %d", code)
		}
		return
	}
	self, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir() // which is in a folder that is closed to others
	binary := filepath.Join(dir, "test")
	if err := errors.Join(os.Chmod(filepath.Dir(dir), 0o755), os.WriteFile(binary, self, 0o755)); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), binary, "-test.run=^TestCheckAsUser$")
	cmd.Dir, cmd.Env = "/", []string{"TROOP_TEST_CHECK=1", "PATH=/usr/bin:/bin"}
	if os.Geteuid() == 0 {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	}
	out, err := cmd.Output()
	if err != nil || !bytes.HasPrefix(out, []byte(`{"name":"rights","status":"failed","detail":"not root`)) {
		t.Errorf("%v: %s", err, out)
	}
}

// TestFollows asks Terraform what terraform/lab makes of a folder.
func TestFollows(t *testing.T) {
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	const module = "../../terraform/lab/"
	src, err := os.ReadFile(module + "main.tf")
	if err != nil {
		t.Fatal(err)
	}
	file, diags := hclsyntax.ParseConfig(src, "main.tf", hcl.InitialPos)
	if diags.HasErrors() {
		t.Fatal(diags)
	}
	locals := file.Body.(*hclsyntax.Body).Blocks[0]
	variables, err := os.ReadFile(module + "variables.tf")
	if err != nil {
		t.Fatal(err)
	}
	// Without the resources no provider is needed.
	if err := os.WriteFile(filepath.Join(dir, "main.tf"), append(variables, locals.Range().SliceBytes(src)...), 0o644); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "terraform", "console", "-var", "environment=lab", "-var", "ssh_public_key=ssh-ed25519 AAAA")
	cmd.Dir = dir
	cmd.Stdin = strings.NewReader(`"${local.lab} ${local.subnet}"`)
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	name, subnet := follows(dir)
	if got, want := fmt.Sprintf("%q", string(name)+" "+subnet), strings.TrimSpace(string(out)); got != want {
		t.Errorf("%s, and Terraform says %s", got, want)
	}
}
