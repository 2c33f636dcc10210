package ansible_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/seed-b96de936/troop/core/ansible"
	"github.com/seed-b96de936/troop/playbooks"
)

// TestTeamRoles runs a team's playbook with roles in every folder that Ansible's users have, and with a vault.
func TestTeamRoles(t *testing.T) {
	_, conf := environment(t, "web-1")
	home, elsewhere := t.TempDir(), t.TempDir()
	conf.Manifest = t.TempDir()
	t.Setenv("HOME", home)
	t.Setenv("ANSIBLE_ROLES_PATH", elsewhere)
	t.Chdir(conf.Manifest)
	t.Setenv("ANSIBLE_VAULT_PASSWORD_FILE", "password") // relative to where the user is
	write := func(name, text string) string {
		t.Helper()
		if !filepath.IsAbs(name) {
			name = filepath.Join(conf.Manifest, name)
		}
		if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return name
	}
	said := filepath.Join(t.TempDir(), "said")
	task := func(role string) string {
		return "- name: Say\n  ansible.builtin.shell: echo " + role + " {{ vaulted | default('') }} >>" + said + "\n"
	}
	write("password", "a password\n")
	vaulted := write("vars/vaulted.yml", "vaulted: opened\n")
	if out, err := exec.Command("ansible-vault", "encrypt", vaulted).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	write("plays/roles/beside/tasks/main.yml", task("beside"))
	write("roles/manifest/tasks/main.yml", task("manifest"))
	write(filepath.Join(elsewhere, "path", "tasks/main.yml"), task("path"))
	write(filepath.Join(home, ".ansible/roles/home/tasks/main.yml"), task("home"))
	below := write(filepath.Join(elsewhere, "below", "tasks/main.yml"), task("below"))
	write(filepath.Join(elsewhere, "path", "meta/main.yml"), "dependencies:\n  - role: below\n")
	play := `---
- name: Roles
  hosts: all
  connection: local
  gather_facts: false
  vars_files: [../vars/vaulted.yml]
  roles:
    - beside
    - { role: manifest }
    - role: path
  tasks:
    - name: In a block
      block:
        - name: The last
          ansible.builtin.import_role:
            name: home
`
	file := write("plays/team.yml", play)
	run := ansible.Run{Playbook: "./plays/team.yml"}
	r := runner(t, conf)
	if recap, err := r.Run(t.Context(), run, nil); err != nil {
		t.Fatalf("%v, %v", recap, err)
	}
	text, err := os.ReadFile(said)
	if want := "beside opened\nmanifest opened\nbelow opened\npath opened\nhome opened\n"; err != nil || string(text) != want {
		t.Errorf("the roles said %q, %v, want %q", text, err, want)
	}
	if diags := ansible.CheckRoles(file, conf.Manifest, "", playbooks.FS); len(diags) > 0 {
		t.Error(diags)
	}

	// A role that another one needs is part of what the run depends on.
	before, err := r.Fingerprint(run)
	if err != nil {
		t.Fatal(err)
	}
	write(below, task("changed"))
	if after, err := r.Fingerprint(run); err != nil || after == before {
		t.Errorf("the fingerprint is the same: %v", err)
	}

	write("plays/team.yml", play+"- name: More\n  import_playbook: more.yml\n")
	more := write("plays/more.yml", "- name: More\n  hosts: all\n  roles: [router, team.collection.role, \"{{ any }}\"]\n  tasks:\n    - name: It\n      include_role:\n        name: nowhere\n")
	diags := ansible.CheckRoles(file, conf.Manifest, "", playbooks.FS)
	if len(diags) != 1 || diags[0].Range.String() != more+":7,15-22" || !strings.Contains(diags[0].Detail, "There is no role nowhere in "+filepath.Join(conf.Manifest, "plays", "roles")) {
		t.Errorf("diagnostics: %+v", diags)
	}
}
