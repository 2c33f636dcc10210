//go:build lab

package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const sessionPipeline = `pipeline "closed" {
  source { path = "." }
}

environment "lab" {
  terraform {
    module    = "./infra"
    variables = { hosts = { web-1 = { role = "production", memory = "256MiB" } } }
  }
  ansible { playbook = "./play.yml" }
}
`

// TestSession configures a host that this machine has no route to, through the command that opens a session of AWS Systems
// Manager. A program of the test stands in for it and connects to the lab's host.
func TestSession(t *testing.T) {
	bin := t.TempDir()
	w := makeWorld(t, "A closed host", func(w *world) {
		sh(t, w.dir, "mkdir infra && cp "+filepath.Join(filepath.Dir(w.bin), "terraform/lab/*.tf")+" infra/")
		w.replace(t, "infra/outputs.tf", "address         = host.address", `address = "192.0.2.1"`+"\n"+`      ssm = { instance = "i-0123456789abcdef0", region = "eu-central-1" }`)
		w.write(t, "pipeline.hcl", sessionPipeline)
		w.write(t, "play.yml", "- hosts: all\n  tasks:\n    - name: Leave a file\n      ansible.builtin.copy: { content: here, dest: /root/file, mode: '0644' }\n")
		w.env = []string{"PATH=" + bin + ":" + os.Getenv("PATH")}
		state := filepath.Join(w.dir, ".troop/lab/terraform/terraform.tfstate")
		aws := `#!/bin/bash
test "$*" = 'ssm start-session --region eu-central-1 --target i-0123456789abcdef0 --document-name AWS-StartSSHSession --parameters portNumber=22' || exit 1
exec 3<>/dev/tcp/$(grep -o '"private_address": "[0-9.]*' ` + state + ` | head -1 | cut -d '"' -f 4)/22
cat <&3 &
cat >&3
kill $!
`
		if err := os.WriteFile(filepath.Join(bin, "aws"), []byte(aws), 0o700); err != nil {
			t.Fatal(err)
		}
	})
	if out := w.must(t, "apply", w.manifest, "--env", "lab", "--yes"); !strings.Contains(out, "play.yml: 1 hosts, 1 changed") {
		t.Errorf("the configuration:\n%s", tail(out, 20))
	}
	if out := w.must(t, "ssh", w.manifest, "--env", "lab", "web-1", "--", "cat /root/file"); !strings.Contains(out, "here") {
		t.Errorf("ssh says %q", out)
	}
	if out := w.must(t, "drift", w.manifest, "--env", "lab"); !strings.Contains(out, "no drift") {
		t.Errorf("drift after an apply:\n%s", out)
	}
}
