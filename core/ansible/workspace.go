package ansible

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/gofrs/flock"
	"golang.org/x/sys/unix"

	"github.com/seed-b96de936/troop/core/remote"
)

// socketPath is how long a socket's path may be: that of sockaddr_un, less what ssh appends while it binds.
const socketPath = 107 - len(".0123456789abcdef")

// workspace is the private folder of one run. A lock marks it as used for as long as this process lives.
type workspace struct {
	dir, sockets                    string
	config, inventory, vars, events string
	lock                            *flock.Flock
}

func (r *Runner) workspace(run Run) (_ *workspace, err error) {
	parent := filepath.Join(r.conf.Dir, "ansible")
	shipped, err := r.shipped.unpack(parent)
	if err != nil {
		return nil, err
	}
	sweep(parent)
	dir, err := os.MkdirTemp(parent, "run-*") // mode 0700
	if err != nil {
		return nil, err
	}
	w := &workspace{
		dir: dir, sockets: dir, config: filepath.Join(shipped, "ansible.cfg"),
		inventory: filepath.Join(dir, "inventory.yml"), vars: filepath.Join(dir, "vars.yml"), events: filepath.Join(dir, "events"),
		lock: flock.New(filepath.Join(dir, "lock")),
	}
	defer func() {
		if err != nil {
			w.close()
		}
	}()
	if err := w.lock.Lock(); err != nil {
		return nil, err
	}
	hosts, err := inventory(r.conf.Hosts)
	if err != nil {
		return nil, err
	}
	vars, err := extraVars(r.conf.Vars, run.Vars)
	if err != nil {
		return nil, err
	}
	if err := errors.Join(
		os.WriteFile(filepath.Join(r.conf.Dir, "inventory.yml"), hosts, 0o600), // for people
		os.WriteFile(w.inventory, hosts, 0o600),
		os.WriteFile(w.vars, vars, 0o600),
		unix.Mkfifo(w.events, 0o600),
	); err != nil {
		return nil, err
	}
	longest := 0
	for _, h := range r.conf.Hosts {
		longest = max(longest, len(h.Address))
	}
	if len(filepath.Join(dir, "65535-"))+longest > socketPath {
		if w.sockets, err = os.MkdirTemp("/tmp", "troop-"); err != nil {
			return nil, err
		}
	}
	return w, nil
}

func (w *workspace) close() {
	if w.sockets != w.dir {
		_ = os.RemoveAll(w.sockets)
	}
	_ = os.RemoveAll(w.dir)
	_ = w.lock.Close()
}

// sweep removes the workspaces of processes that were killed.
func sweep(parent string) {
	dirs, _ := filepath.Glob(filepath.Join(parent, "run-*"))
	for _, dir := range dirs {
		lock := flock.New(filepath.Join(dir, "lock"), flock.SetFlag(os.O_RDWR)) // one without a lock is being made
		if ok, err := lock.TryLock(); ok && err == nil {
			_ = os.RemoveAll(dir)
			_ = lock.Close()
		}
	}
}

// environment is all that Ansible gets to know of this process's environment. Settings that never change are in
// playbooks/ansible.cfg.
func (w *workspace) environment(ssh *remote.Client) []string {
	shipped := filepath.Dir(w.config)
	args := append(ssh.Options(), "-o", "ControlMaster=auto", "-o", "ControlPersist=60s", "-o", "ConnectTimeout=10",
		"-o", "ServerAliveInterval=10", "-o", "ServerAliveCountMax=3")
	for i, a := range args {
		args[i] = remote.Quote(a)
	}
	env := []string{
		"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
		"LANG=C.UTF-8",
		"LC_ALL=C.UTF-8",
		"PYTHONUNBUFFERED=1",
		"ANSIBLE_CONFIG=" + w.config,
		"ANSIBLE_HOME=" + w.dir,
		"ANSIBLE_LOCAL_TEMP=" + filepath.Join(w.dir, "tmp"),
		"ANSIBLE_ROLES_PATH=" + filepath.Join(shipped, "roles"),
		"ANSIBLE_CALLBACK_PLUGINS=" + filepath.Join(shipped, "callback_plugins"),
		"ANSIBLE_CALLBACKS_ENABLED=troop",
		"ANSIBLE_SSH_ARGS=" + strings.Join(args, " "),
		"ANSIBLE_SSH_CONTROL_PATH_DIR=" + w.sockets,
		"ANSIBLE_SSH_CONTROL_PATH=%(directory)s/%%p-%%h",
		"ANSIBLE_HOST_KEY_CHECKING=true",
		"ANSIBLE_NOCOLOR=true",
		"TROOP_EVENTS=" + w.events,
	}
	for _, name := range []string{"HOME", "USER", "TMPDIR"} {
		if v, ok := os.LookupEnv(name); ok {
			env = append(env, fmt.Sprintf("%s=%s", name, v))
		}
	}
	return env
}
