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

// files writes files below a folder.
func files(t *testing.T, dir string, texts map[string]string) {
	t.Helper()
	for name, text := range texts {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o700); err != nil {
			t.Fatal(err)
		}
	}
}

func do(t *testing.T, dir, name string, args ...string) {
	t.Helper()
	c := exec.Command(name, args...)
	c.Dir = dir
	if out, err := c.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", name, err, out)
	}
}

// pack makes the archives of a collection and of a Galaxy role, whose tasks write a word to a file.
func pack(t *testing.T, dir, said, word string) {
	t.Helper()
	made := t.TempDir()
	task := "- name: Say\n  ansible.builtin.shell: echo " + word + " $PROBE >>" + said + "\n"
	files(t, made, map[string]string{
		"collection/galaxy.yml":                  "namespace: team\nname: tools\nversion: 1.0.0\nreadme: README.md\nauthors: [a team]\n",
		"collection/README.md":                   "# tools\n",
		"collection/roles/packed/tasks/main.yml": task,
		"role/tasks/main.yml":                    task,
		"role/meta/main.yml":                     "galaxy_info:\n  role_name: galaxy\n  author: a team\n  description: it speaks\n  license: MIT\n  min_ansible_version: '2.14'\n  platforms: []\ndependencies: []\n",
	})
	do(t, filepath.Join(made, "collection"), "ansible-galaxy", "collection", "build", "--force", "--output-path", dir)
	do(t, made, "tar", "-czf", filepath.Join(dir, "galaxy.tar.gz"), "role")
}

// Collections and roles of a requirements file are installed once, from archives beside it, and what differs from the
// digest in the lock file is refused.
func TestRequirements(t *testing.T) {
	_, conf := environment(t, "web-1")
	t.Setenv("HOME", t.TempDir())
	conf.Manifest = t.TempDir()
	said := filepath.Join(t.TempDir(), "said")
	pack(t, conf.Manifest, said, "first")
	files(t, conf.Manifest, map[string]string{
		"requirements.yml": "collections:\n  - name: ./team-tools-1.0.0.tar.gz\n    type: file\nroles:\n  - name: galaxy_role\n    src: ./galaxy.tar.gz\n",
		"site.yml":         "---\n- name: Both\n  hosts: all\n  connection: local\n  gather_facts: false\n  roles: [galaxy_role, team.tools.packed]\n",
	})
	conf.Requirements = filepath.Join(conf.Manifest, "requirements.yml")
	if diags := ansible.CheckRoles(filepath.Join(conf.Manifest, "site.yml"), conf.Manifest, conf.Requirements, playbooks.FS); len(diags) > 0 {
		t.Error(diags)
	}
	r := runner(t, conf)
	run := ansible.Run{Playbook: "./site.yml"}
	if _, err := r.Run(t.Context(), run, nil); err != nil {
		t.Fatal(err)
	}
	lock, err := os.ReadFile(filepath.Join(conf.Manifest, "requirements.lock"))
	if err != nil || !strings.HasPrefix(string(lock), "sha256:") {
		t.Fatalf("the lock file: %q, %v", lock, err)
	}

	// Equal archives elsewhere have an equal digest; once installed, they are not needed any more.
	other := conf
	other.Dir = filepath.Join(t.TempDir(), "another environment")
	s := runner(t, other)
	if _, err := s.Run(t.Context(), run, nil); err != nil {
		t.Fatal(err)
	}
	pack(t, conf.Manifest, said, "changed")
	if _, err := s.Run(t.Context(), run, nil); err != nil {
		t.Fatal(err)
	}
	if text, err := os.ReadFile(said); err != nil || string(text) != strings.Repeat("first\n", 6) {
		t.Errorf("the roles said %q, %v", text, err)
	}

	third := conf
	third.Dir = filepath.Join(t.TempDir(), "a third environment")
	if _, err := runner(t, third).Run(t.Context(), run, nil); err == nil || !strings.Contains(err.Error(), "what requirements.yml asks for is not what requirements.lock has the digest of") {
		t.Errorf("another archive of the same version is taken: %v", err)
	}
	before, err := r.Fingerprint(run)
	if err != nil {
		t.Fatal(err)
	}
	files(t, conf.Manifest, map[string]string{"requirements.yml": "roles:\n  - name: broken\n    src: ./broken.tar.gz\n", "broken.tar.gz": "no archive"})
	if after, err := r.Fingerprint(run); err != nil || after == before {
		t.Errorf("the fingerprint is the same: %v", err)
	}
	if _, err := r.Run(t.Context(), run, nil); err == nil || !strings.Contains(err.Error(), "install what requirements.yml asks for") {
		t.Errorf("a missing archive: %v", err)
	}
}

// The manifest's command says the password of vaults, whatever the user's environment says; what a play asks on this machine
// has the user's agent, proxies and AWS settings.
func TestVaultPasswordCommand(t *testing.T) {
	_, conf := environment(t, "web-1")
	conf.Manifest = t.TempDir()
	said := filepath.Join(t.TempDir(), "said")
	files(t, conf.Manifest, map[string]string{
		"say": "#!/bin/sh\nprintf '%s\\n' \"$1 it's\"\n", "password": "#!/bin/sh\necho \"quite it's\"\n", "wrong": "#!/bin/sh\necho wrong\n",
		"vaulted.yml": "vaulted: opened\n",
		"site.yml": `---
- name: Vault
  hosts: all
  gather_facts: false
  vars_files: [vaulted.yml]
  tasks:
    - name: Ask another from here
      ansible.builtin.shell: echo {{ vaulted }} $SSH_AUTH_SOCK $https_proxy $AWS_PROFILE ${SECRET_OF_OURS:-kept} >>` + said + `
      delegate_to: localhost
      connection: local
`,
	})
	do(t, conf.Manifest, "ansible-vault", "encrypt", "--vault-password-file", "password", "vaulted.yml")
	for name, value := range map[string]string{
		"ANSIBLE_VAULT_PASSWORD_FILE": filepath.Join(conf.Manifest, "wrong"), "SSH_AUTH_SOCK": "/run/agent",
		"https_proxy": "http://proxy.test:3128", "AWS_PROFILE": "ours", "SECRET_OF_OURS": "told",
	} {
		t.Setenv(name, value)
	}
	conf.VaultPassword = []string{"./say", "quite"}
	run := ansible.Run{Playbook: "./site.yml"}
	if _, err := runner(t, conf).Run(t.Context(), run, nil); err != nil {
		t.Fatal(err)
	}
	if text, err := os.ReadFile(said); err != nil || string(text) != "opened /run/agent http://proxy.test:3128 ours kept\n" {
		t.Errorf("the play said %q, %v", text, err)
	}
	conf.VaultPassword = []string{"false"}
	if _, err := runner(t, conf).Run(t.Context(), run, nil); err == nil || !strings.Contains(err.Error(), "vault-password") {
		t.Errorf("a command that fails: %v", err)
	}
}

// A team's ansible.cfg holds for its own playbooks, but for how hosts are reached and whose keys are trusted.
func TestTeamConfig(t *testing.T) {
	_, conf := environment(t, "web-1")
	conf.Manifest = t.TempDir()
	said := filepath.Join(t.TempDir(), "said")
	files(t, conf.Manifest, map[string]string{
		"ansible.cfg": "[defaults]\nforks = 3\nfilter_plugins = ./ours\nhost_key_checking = false\nstdout_callback = nobodys\ntransport = paramiko\n" +
			"[ssh_connection]\nssh_args = -o StrictHostKeyChecking=no\nssh_common_args = -o UserKnownHostsFile=/dev/null\nssh_extra_args = -F ./other\nssh_executable = ./other\n[inventory]\nenable_plugins = script\n",
		"ours/filters.py": "class FilterModule:\n    def filters(self):\n        return {'ours': lambda x: 'ours ' + x}\n",
		"plays/site.yml": `---
- name: Settings
  hosts: all
  gather_facts: false
  vars:
    ssh: "{{ lookup('config', 'ssh_common_args', 'ssh_extra_args', 'ssh_executable', plugin_type='connection', plugin_name='ssh') }}"
    args: "{{ lookup('config', 'ssh_args', plugin_type='connection', plugin_name='ssh') }}"
  tasks:
    - name: Tell them
      ansible.builtin.shell: echo {{ 'filter' | ours }} {{ lookup('config', 'DEFAULT_FORKS', 'HOST_KEY_CHECKING', 'DEFAULT_TRANSPORT') }} {{ ssh }} {{ args | regex_findall('StrictHostKeyChecking=[a-z]+') | join }} >>` + said + `
      delegate_to: localhost
      connection: local
`,
	})
	run := ansible.Run{Playbook: "./plays/site.yml"}
	r := runner(t, conf)
	if _, err := r.Run(t.Context(), run, nil); err != nil {
		t.Fatal(err)
	}
	if text, err := os.ReadFile(said); err != nil || string(text) != "ours filter [3, True, ssh] ,,ssh StrictHostKeyChecking=yes\n" {
		t.Errorf("the play said %q, %v", text, err)
	}
	before, err := r.Fingerprint(run)
	if err != nil {
		t.Fatal(err)
	}
	files(t, conf.Manifest, map[string]string{"ansible.cfg": "[defaults]\n"})
	if after, err := r.Fingerprint(run); err != nil || after == before {
		t.Errorf("with another ansible.cfg the fingerprint is the same, %v", err)
	}
}

// A role as Galaxy has them works beside ours; one that is called like one of ours is refused, wherever it comes from. A
// folder beside the playbook that is no role, such as an application's, is no clash.
func TestNamesOfRoles(t *testing.T) {
	_, conf := environment(t, "web-1")
	t.Setenv("HOME", t.TempDir())
	conf.Manifest = t.TempDir()
	said := filepath.Join(t.TempDir(), "said")
	const meta = "galaxy_info:\n  role_name: redis\n  namespace: team\n  author: a team\n  description: it speaks\n  license: MIT\n  min_ansible_version: '2.14'\n  galaxy_tags: [redis]\n  platforms: [{name: Ubuntu, versions: [noble]}]\ndependencies: []\n"
	files(t, conf.Manifest, map[string]string{
		"roles/team.redis/meta/main.yml":     meta,
		"roles/team.redis/defaults/main.yml": "word: theirs\n",
		"roles/team.redis/tasks/main.yml":    "- name: Say\n  ansible.builtin.shell: echo {{ word }} >>" + said + "\n",
		"app/package.json":                   "{}",
		"site.yml":                           "---\n- name: Theirs\n  hosts: all\n  connection: local\n  gather_facts: false\n  roles: [team.redis]\n",
		"both.yml":                           "---\n- name: Both\n  hosts: all\n  roles: [base, team.redis, redis, app]\n",
	})
	check := func(requirements string) string {
		t.Helper()
		var all []string
		for _, d := range ansible.CheckRoles(filepath.Join(conf.Manifest, "both.yml"), conf.Manifest, requirements, playbooks.FS) {
			all = append(all, filepath.Base(d.Range.String())+" "+d.Summary+": "+d.Detail)
		}
		return strings.Join(all, "\n")
	}
	if _, err := runner(t, conf).Run(t.Context(), ansible.Run{Playbook: "./site.yml"}, nil); err != nil {
		t.Fatal(err)
	}
	if text, err := os.ReadFile(said); err != nil || string(text) != "theirs\n" {
		t.Errorf("the role said %q, %v", text, err)
	}
	if got := check(""); got != "" {
		t.Errorf("beside ours: %s", got)
	}

	requirements := filepath.Join(conf.Manifest, "requirements.yml")
	files(t, conf.Manifest, map[string]string{"requirements.yml": "roles:\n  - name: redis\n    src: ./redis.tar.gz\n"})
	const want = "both.yml:4,29-34 Two roles of one name: A role redis ships with troop, and there is another in "
	if got := check(requirements); !strings.HasPrefix(got, want+requirements+". ") || !strings.Contains(got, "such as team.redis") {
		t.Errorf("a required one: %s", got)
	}
	files(t, conf.Manifest, map[string]string{"roles/redis/meta/main.yml": meta})
	if got := check(""); !strings.HasPrefix(got, want+filepath.Join(conf.Manifest, "roles", "redis")+". ") || strings.Contains(got, "\n") {
		t.Errorf("one of the team's: %s", got)
	}
}
