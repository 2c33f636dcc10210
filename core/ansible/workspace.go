package ansible

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/gofrs/flock"
	"golang.org/x/sys/unix"

	"github.com/seed-b96de936/troop/core/remote"
)

// socketPath is the maximum length of a socket's path: that of sockaddr_un, minus what ssh appends while it binds.
const socketPath = 107 - len(".0123456789abcdef")

// sockets is the private folder of a Runner: connections and facts shared between runs, and a folder for each run. A lock
// marks it as in use while this process lives.
type sockets struct {
	dir  string // under the environment's folder
	path string // of the sockets: dir, or a shorter path if that is too long
	lock *flock.Flock
}

func (r *Runner) openSockets() (*sockets, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.sockets != nil {
		return r.sockets, nil
	}
	parent := filepath.Join(r.conf.Dir, "ansible")
	if err := os.MkdirAll(parent, 0o700); err != nil {
		return nil, err
	}
	sweep(parent)
	dir, err := os.MkdirTemp(parent, "run-*") // mode 0700
	if err != nil {
		return nil, err
	}
	s := &sockets{dir: dir, path: dir, lock: flock.New(filepath.Join(dir, "lock"))}
	if err := s.lock.Lock(); err != nil {
		return nil, errors.Join(err, s.close())
	}
	longest := 0
	for _, h := range r.conf.Hosts {
		longest = max(longest, len(h.Address))
	}
	if len(filepath.Join(dir, "65535-"))+longest > socketPath {
		if s.path, err = os.MkdirTemp("/tmp", "troop-"); err != nil {
			return nil, errors.Join(err, s.close())
		}
	}
	r.sockets = s
	return s, nil
}

func (s *sockets) close() error {
	var err error
	if s.path != s.dir && s.path != "" {
		err = os.RemoveAll(s.path)
	}
	return errors.Join(err, os.RemoveAll(s.dir), s.lock.Close())
}

// sweep removes the folders of killed processes.
func sweep(parent string) {
	dirs, _ := filepath.Glob(filepath.Join(parent, "run-*"))
	for _, dir := range dirs {
		lock := flock.New(filepath.Join(dir, "lock"), flock.SetFlag(os.O_RDWR)) // a folder without a lock file is still being made
		if ok, err := lock.TryLock(); ok && err == nil {
			_ = os.RemoveAll(dir)
			_ = lock.Close()
		}
	}
}

// workspace is the private folder of one run.
type workspace struct {
	dir, sockets, shipped   string
	facts                   string // cached facts of the hosts, shared by a Runner's runs
	inventory, vars, events string
	vault                   string // program that says the vault password; empty: none
	galaxy                  string // folder of required collections and roles; empty: none
	config                  string // ansible.cfg: the team's for a playbook of its own, else ours
}

func (r *Runner) workspace(run Run) (_ *workspace, err error) {
	shipped, err := r.shipped.unpack(filepath.Join(r.conf.Dir, "ansible"))
	if err != nil {
		return nil, err
	}
	s, err := r.openSockets()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp(s.dir, "playbook-*")
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			_ = os.RemoveAll(dir)
		}
	}()
	w := &workspace{
		dir: dir, sockets: s.path, shipped: shipped, facts: filepath.Join(s.dir, "facts"),
		inventory: filepath.Join(dir, "inventory.yml"), vars: filepath.Join(dir, "vars.yml"), events: filepath.Join(dir, "events"),
	}
	hosts, err := inventory(r.conf.Hosts)
	if err != nil {
		return nil, err
	}
	holder := map[string]any{} // no part of the fingerprint
	if r.conf.Holder != nil && !run.Check {
		if holder["troop_holder"], err = r.conf.Holder(); err != nil {
			return nil, err
		}
	}
	vars, err := extraVars(r.conf.Vars, run.Vars, holder)
	if err != nil {
		return nil, err
	}
	return w, errors.Join(
		os.WriteFile(filepath.Join(r.conf.Dir, "inventory.yml"), hosts, 0o600), // for people
		os.WriteFile(w.inventory, hosts, 0o600),
		os.WriteFile(w.vars, vars, 0o600),
		unix.Mkfifo(w.events, 0o600),
		w.vaultScript(r.conf.VaultPassword, r.conf.Manifest),
	)
}

func (w *workspace) close() { _ = os.RemoveAll(w.dir) }

// given are variables of the user that a team's own playbook may need: to decrypt its vaults, and to ask others from this
// machine, with delegate_to localhost.
func given(name string) bool {
	return slices.Contains([]string{
		"HOME", "USER", "TMPDIR", "SSH_AUTH_SOCK", "ANSIBLE_VAULT_PASSWORD_FILE", "ANSIBLE_VAULT_IDENTITY_LIST",
		"HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy",
	}, name) || strings.HasPrefix(name, "AWS_")
}

// configFor is the ansible.cfg that holds for a playbook: beside the team's own or in the manifest's folder, else ours.
func (w *workspace) configFor(playbook, manifest string) string {
	if !strings.HasPrefix(playbook, w.shipped) {
		for _, dir := range []string{filepath.Dir(playbook), manifest} {
			file := filepath.Join(dir, "ansible.cfg")
			if _, err := os.Stat(file); err == nil && filepath.IsAbs(dir) {
				return file
			}
		}
	}
	return filepath.Join(w.shipped, "ansible.cfg")
}

// environment is Ansible's process environment. Other settings are in playbooks/ansible.cfg, or in the team's own, over which
// these win: it cannot change how hosts are reached and whose keys are trusted, nor what a run reports. manifest is its
// folder.
func (w *workspace) environment(options []string, manifest string) []string {
	args := append(options, "-o", "ControlMaster=auto", "-o", "ControlPersist=60s", "-o", "ConnectTimeout=10",
		"-o", "ServerAliveInterval=5", "-o", "ServerAliveCountMax=2")
	for i, a := range args {
		if strings.ContainsAny(a, " '\"\\") { // Ansible strips quotes around the whole value
			args[i] = remote.Quote(a)
		}
	}
	env := []string{
		// The user's own is for a program that connects to a host, such as aws.
		"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:" + os.Getenv("PATH"),
		"LANG=C.UTF-8",
		"LC_ALL=C.UTF-8",
		"PYTHONUNBUFFERED=1",
		"ANSIBLE_CONFIG=" + w.config,
		"ANSIBLE_HOME=" + w.dir,
		"ANSIBLE_LOCAL_TEMP=" + filepath.Join(w.dir, "tmp"),
		"ANSIBLE_CACHE_PLUGIN=ansible.builtin.jsonfile",
		"ANSIBLE_CACHE_PLUGIN_CONNECTION=" + w.facts,
		"ANSIBLE_ROLES_PATH=" + strings.Join(append(teamRoles(manifest, w.galaxy), filepath.Join(w.shipped, "roles")), ":"),
		"ANSIBLE_CALLBACK_PLUGINS=" + filepath.Join(w.shipped, "callback_plugins"),
		"ANSIBLE_CALLBACKS_ENABLED=troop",
		"ANSIBLE_SSH_ARGS=" + strings.Join(args, " "),
		"ANSIBLE_SSH_CONTROL_PATH_DIR=" + w.sockets,
		"ANSIBLE_SSH_CONTROL_PATH=%(directory)s/%%p-%%h",
		"ANSIBLE_HOST_KEY_CHECKING=true",
		"ANSIBLE_TRANSPORT=ssh",
		"ANSIBLE_SSH_EXECUTABLE=ssh",
		"ANSIBLE_SSH_COMMON_ARGS=",
		"ANSIBLE_SSH_EXTRA_ARGS=",
		"ANSIBLE_SFTP_EXTRA_ARGS=",
		"ANSIBLE_SCP_EXTRA_ARGS=",
		"ANSIBLE_INVENTORY_ENABLED=yaml,ini,host_list",
		"ANSIBLE_STDOUT_CALLBACK=default",
		"ANSIBLE_NOCOLOR=true",
		"TROOP_EVENTS=" + w.events,
	}
	for _, v := range os.Environ() {
		name, value, _ := strings.Cut(v, "=")
		if name == "ANSIBLE_VAULT_PASSWORD_FILE" && !strings.HasPrefix(value, "~") { // Ansible runs in the playbook's folder
			if file, err := filepath.Abs(value); err == nil && value != "" {
				v = name + "=" + file
			}
		}
		if given(name) && (name != "ANSIBLE_VAULT_PASSWORD_FILE" || w.vault == "") {
			env = append(env, v)
		}
	}
	if home, err := os.UserHomeDir(); err == nil { // for the collections that a team's own playbook uses
		collections := filepath.Join(home, ".ansible/collections") + ":/usr/share/ansible/collections"
		if w.galaxy != "" {
			collections = filepath.Join(w.galaxy, "collections") + ":" + collections
		}
		env = append(env, "ANSIBLE_COLLECTIONS_PATH="+collections)
	}
	if w.vault != "" {
		env = append(env, "ANSIBLE_VAULT_PASSWORD_FILE="+w.vault)
	}
	return env
}
