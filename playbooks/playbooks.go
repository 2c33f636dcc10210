// Package playbooks embeds the playbooks, roles and plugins with which Ansible configures hosts. The command troop
// hands them to core/ansible, which puts them where ansible-playbook can read them.
package playbooks

import "embed"

// FS holds this folder: playbooks and ansible.cfg at its root, roles under roles.
//
//go:embed all:*.yml all:ansible.cfg all:callback_plugins all:roles
var FS embed.FS
