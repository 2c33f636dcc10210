package ansible

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/seed-b96de936/troop/core"
)

// teamRoles are the folders in which roles of a team's own playbook are looked for, besides roles beside the playbook: the
// manifest's, that of required ones, those of ANSIBLE_ROLES_PATH, and Ansible's own.
func teamRoles(manifest, galaxy string) []string {
	var all []string
	if manifest != "" {
		all = append(all, filepath.Join(manifest, "roles"))
	}
	if galaxy != "" {
		all = append(all, filepath.Join(galaxy, "roles"))
	}
	for _, dir := range filepath.SplitList(os.Getenv("ANSIBLE_ROLES_PATH")) {
		if dir, err := filepath.Abs(dir); err == nil {
			all = append(all, dir)
		}
	}
	if home, err := os.UserHomeDir(); err == nil {
		all = append(all, filepath.Join(home, ".ansible", "roles"))
	}
	return append(all, "/usr/share/ansible/roles", "/etc/ansible/roles")
}

// named is a role that a playbook names.
type named struct {
	role string
	at   core.Range
}

// CheckRoles reports roles that a team's playbook names and that are nowhere, or that are called like one of ours: which of
// the two ran would depend on the machine's folders. Names in variables are left to Ansible. Those of the requirements are
// installed before the first run.
func CheckRoles(playbook, manifest, requirements string, shipped fs.FS) core.Diagnostics {
	required, err := requiredRoles(requirements)
	if err != nil {
		return core.Diagnostics{{Summary: "Requirements cannot be read", Detail: err.Error(), Range: core.Range{File: requirements}}}
	}
	all, err := rolesOf(playbook, map[string]bool{})
	if err != nil {
		return core.Diagnostics{{Summary: "Playbook cannot be read", Detail: err.Error(), Range: core.Range{File: playbook}}}
	}
	var diags core.Diagnostics
	for _, n := range all {
		dirs := append([]string{filepath.Join(filepath.Dir(n.at.File), "roles")}, teamRoles(manifest, "")...)
		_, err := fs.Stat(shipped, "roles/"+n.role)
		ours, theirs := err == nil, folderIn(dirs, n.role)
		if slices.Contains(required, n.role) {
			theirs = requirements
		}
		if ours && theirs != "" {
			diags = append(diags, core.Diagnostic{
				Summary: "Two roles of one name",
				Detail:  fmt.Sprintf("A role %s ships with troop, and there is another in %s. Give that one a name of its own, such as team.%s.", n.role, theirs, n.role),
				Range:   n.at,
			})
		}
		if ours || theirs != "" || folderOf(n, manifest) != "" {
			continue
		}
		diags = append(diags, core.Diagnostic{
			Summary: "Role not found",
			Detail:  fmt.Sprintf("There is no role %s in %s, and none of that name ships with troop. Put it into one of these folders, name its folder in ANSIBLE_ROLES_PATH, or require it by requirements = \"./requirements.yml\".", n.role, strings.Join(slices.Compact(dirs), ", ")),
			Range:   n.at,
		})
	}
	return diags
}

// folderOf is the folder of a team's role; empty: it is not there.
func folderOf(n named, manifest string) string {
	beside := filepath.Dir(n.at.File)
	return folderIn(append([]string{filepath.Join(beside, "roles"), beside}, teamRoles(manifest, "")...), n.role)
}

// folderIn is the folder of a role in the first of some folders that has it.
func folderIn(dirs []string, role string) string {
	for _, dir := range dirs {
		if info, err := os.Stat(filepath.Join(dir, role)); err == nil && info.IsDir() {
			return filepath.Join(dir, role)
		}
	}
	return ""
}

// rolesTree is the digest of the roles that a playbook names, wherever they are, and of those that they depend on.
func rolesTree(playbook, manifest string) (core.Digest, error) {
	queue, err := rolesOf(playbook, map[string]bool{})
	if err != nil {
		return "", err
	}
	all := tree{files: map[string][]byte{}}
	for ; len(queue) > 0; queue = queue[1:] {
		dir := folderOf(queue[0], manifest)
		if dir == "" || all.files[dir] != nil {
			continue
		}
		t, err := readTree(os.DirFS(dir))
		if err != nil {
			return "", err
		}
		all.files[dir] = []byte(t.digest)
		var meta struct{ Dependencies yaml.Node }
		if err := yaml.Unmarshal(t.files["meta/main.yml"], &meta); err != nil {
			return "", fmt.Errorf("%s: %w", filepath.Join(dir, "meta", "main.yml"), err)
		}
		found := roleFinder{file: playbook}
		for _, role := range meta.Dependencies.Content {
			found.add(role, "role", "name")
		}
		queue = append(queue, found.roles...)
	}
	return all.sum(), nil
}

// rolesOf lists the roles that a playbook and those that it imports name.
func rolesOf(playbook string, seen map[string]bool) ([]named, error) {
	if seen[playbook] {
		return nil, nil
	}
	seen[playbook] = true
	text, err := os.ReadFile(playbook)
	if err != nil {
		return nil, err
	}
	var document yaml.Node
	if err := yaml.Unmarshal(text, &document); err != nil {
		return nil, fmt.Errorf("%s: %w", playbook, err)
	}
	found := roleFinder{file: playbook}
	for _, play := range document.Content {
		found.tasks(play)
	}
	for _, other := range found.playbooks {
		more, err := rolesOf(filepath.Join(filepath.Dir(playbook), other), seen)
		if err != nil && !errors.Is(err, fs.ErrNotExist) { // Ansible says which one is missing
			return nil, err
		}
		found.roles = append(found.roles, more...)
	}
	return found.roles, nil
}

// roleFinder collects what a playbook names.
type roleFinder struct {
	file      string
	roles     []named
	playbooks []string
}

// tasks looks through a list of plays or tasks.
func (f *roleFinder) tasks(list *yaml.Node) {
	if list.Kind != yaml.SequenceNode {
		return
	}
	for _, one := range list.Content {
		for i := 0; one.Kind == yaml.MappingNode && i+1 < len(one.Content); i += 2 {
			value := one.Content[i+1]
			switch strings.TrimPrefix(strings.TrimPrefix(one.Content[i].Value, "ansible.builtin."), "ansible.legacy.") {
			case "roles":
				for _, role := range value.Content {
					f.add(role, "role", "name")
				}
			case "import_role", "include_role":
				f.add(value, "name")
			case "import_playbook":
				f.playbooks = append(f.playbooks, value.Value)
			case "tasks", "pre_tasks", "post_tasks", "handlers", "block", "rescue", "always":
				f.tasks(value)
			}
		}
	}
}

// add takes a role's name, or one of the arguments that give it. Names with dots belong to collections.
func (f *roleFinder) add(role *yaml.Node, arguments ...string) {
	for i := 0; role.Kind == yaml.MappingNode && i+1 < len(role.Content); i += 2 {
		if slices.Contains(arguments, role.Content[i].Value) {
			role = role.Content[i+1]
		}
	}
	name := role.Value
	if role.Kind != yaml.ScalarNode || name == "" || strings.Contains(name, "{{") || strings.Count(name, ".") > 1 || filepath.IsAbs(name) {
		return
	}
	at := core.Pos{Line: role.Line, Column: role.Column}
	f.roles = append(f.roles, named{name, core.Range{File: f.file, Start: at, End: core.Pos{Line: role.Line, Column: role.Column + len(name)}}})
}
