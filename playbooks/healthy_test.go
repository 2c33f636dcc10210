package playbooks_test

import (
	"cmp"
	"crypto/sha256"
	"fmt"
	"io/fs"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/seed-b96de936/troop/playbooks"
)

// healthy runs healthy.py for a unit that has restarted n times and whose log is own, and what systemd said of it.
func healthy(t *testing.T, port, health, restarts, own, systemd string) (string, error) {
	t.Helper()
	dir := t.TempDir()
	for name, script := range map[string]string{
		"systemctl":  "echo " + restarts + "\n",
		"journalctl": "case $1 in _SYSTEMD_UNIT=*) cat " + dir + "/own ;; UNIT=*) cat " + dir + "/systemd ;; esac\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("#!/bin/sh\n"+script), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for name, text := range map[string]string{"own": own, "systemd": systemd} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.CommandContext(t.Context(), "python3", "roles/release/files/healthy.py", "shop@a.service", port, "127.0.0.2", health)
	cmd.Env = append(os.Environ(), "PATH="+dir+":"+os.Getenv("PATH"), "http_proxy=http://127.0.0.1:9", "HTTP_PROXY=http://127.0.0.1:9") // a host's own is not asked
	out, err := cmd.Output()
	return string(out), err
}

// TestHealthy holds the reason of a release that does not become healthy: path and answer, exit status, the end of its
// own log, and the remedy of what the sandbox refused.
func TestHealthy(t *testing.T) {
	t.Parallel()
	const asked = `{"path": "/up", "host": "shop.example.com", "status": 204, "timeout": 5, "grace": %}`
	serve := func(network string) string {
		l, err := net.Listen("tcp4", network)
		if err != nil {
			t.Fatal(err)
		}
		s := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			switch {
			case r.Host != "shop.example.com":
				http.Error(w, r.Host, http.StatusBadRequest)
			case r.URL.Path == "/up":
				w.WriteHeader(http.StatusNoContent)
			}
		})}
		go func() { _ = s.Serve(l) }()
		t.Cleanup(func() { _ = s.Close() })
		_, port, _ := net.SplitHostPort(l.Addr().String())
		return port
	}
	everywhere, closed := serve("0.0.0.0:0"), httptest.NewServer(nil)
	closed.Close()
	_, nothing, _ := net.SplitHostPort(closed.Listener.Addr().String())
	died := strings.Repeat("systemd: Main process exited, code=exited, status=1/FAILURE\n", 2)
	for name, tt := range map[string]struct{ port, path, own, systemd, want string }{
		"healthy":      {port: everywhere},
		"other status": {port: everywhere, path: "/", want: "http://shop.example.com:PORT/: answers 200, want 204; its log is empty"},
		"dead": {
			port: nothing, own: "one\ntwo\nthree\nfour\n", systemd: died,
			want: "/up: nothing listens on this port; it ended with status 1/FAILURE, 2 times; its log ends with: two | three | four\none\ntwo",
		},
		"loopback only": {port: serve("127.0.0.1:0"), want: "/up: it listens on 127.0.0.1 only; it must listen on all addresses (0.0.0.0)"},
		"own folder": {
			port: nothing, own: "Error: EROFS: read-only file system, mkdir '/opt/shop/slot-a/app/uploads/new'\n    at Object.mkdirSync (node:fs:1)\n",
			want: `data = ["uploads"] in the service block makes that folder writable; its log ends with: Error: EROFS: read-only file system, mkdir '/opt/shop/slot-a/app/uploads/new'` + "\n",
		},
		"own folder by its other name": {
			port: nothing, own: "mkdir: cannot create directory ‘/opt/shop/releases/0a-1b/app/cache’: Read-only file system\n", want: `data = ["cache"]`,
		},
		"other folder": {port: nothing, own: "OSError: [Errno 30] Read-only file system: '/etc/x'\n", want: "it may write to LOG_DIR, STATE_DIR, /tmp and the folders of data"},
		"netlink": {
			port: nothing, own: "SystemError: uv_interface_addresses returned Unknown system error 97\n", want: `allow = { netlink = "REASON" }`,
		},
		"memory": {port: nothing, own: "FATAL ERROR: Reached heap limit Allocation failed - JavaScript heap out of memory\n", want: "see limits in the service block"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			health, restarts := strings.Replace(asked, "%", "0.2", 1), "0"
			if tt.want == "" {
				health = strings.Replace(asked, "%", "60", 1)
			}
			if tt.path != "" {
				health = strings.Replace(health, `"/up"`, `"`+tt.path+`"`, 1)
			}
			out, err := healthy(t, tt.port, health, restarts, tt.own, tt.systemd)
			want := strings.ReplaceAll(tt.want, "PORT", tt.port)
			if (err == nil) != (want == "") || !strings.Contains(out, want) {
				t.Errorf("got %v and %q, want %q", err, out, want)
			}
		})
	}
}

// TestTasks runs three tasks of which the second fails: the third does not run.
func TestTasks(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for name, script := range map[string]string{
		"systemctl":  "echo $* >>" + dir + "/ran\ncase $2 in shop-two@*) exit 1 ;; esac\n",
		"journalctl": "case $1 in _SYSTEMD_UNIT=shop-two@a.service) echo no such table ;; esac\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("#!/bin/sh\n"+script), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.CommandContext(t.Context(), "python3", "roles/release/files/healthy.py", "--tasks", "shop-one@a.service", "shop-two@a.service", "shop-three@a.service")
	cmd.Env = append(os.Environ(), "PATH="+dir+":"+os.Getenv("PATH"))
	out, err := cmd.Output()
	if err == nil || string(out) != "the task shop-two failed; its log ends with: no such table\nno such table\n" {
		t.Errorf("got %v and %q", err, out)
	}
	ran, err := os.ReadFile(filepath.Join(dir, "ran"))
	if want := "daemon-reload\nstart shop-one@a.service\nstart shop-two@a.service\n"; err != nil || string(ran) != want {
		t.Errorf("ran %q, %v; want %q", ran, err, want)
	}
}

// TestBack holds when a slot is started again as it is: only with the same release, each file as it was installed, and the same
// environment. A release that does not stay up is stopped again; a process beside it that does not is no reason to stay away.
func TestBack(t *testing.T) {
	t.Parallel()
	const same = "PORT=3000\n"
	for name, tt := range map[string]struct {
		change, restarts string
		active           string // exit status of systemctl is-active
		code             int
		ran, out         string
	}{
		"whole":             {code: 0, ran: "start shop@a.service\n--quiet enable shop@a.service\n", out: "shop@a.service\n"},
		"it runs":           {active: "0", code: 0, ran: "start shop@a.service\n--quiet enable shop@a.service\n"},
		"another release":   {change: "ln -sfn releases/2 opt/shop/slot-a", code: 3},
		"no release":        {change: "rm opt/shop/slot-a", code: 3},
		"half a release":    {change: "rm opt/shop/releases/1/start", code: 3},
		"a changed file":    {change: "echo exit >>opt/shop/releases/1/start", code: 3},
		"a changed unit":    {change: "echo x >>unit", code: 3},
		"other environment": {change: "echo PORT=3001 >opt/shop/slot-a.env", code: 3},
		"no list":           {change: "rm installed/shop-a.sha256", code: 3},
		"it dies":           {restarts: "1", code: 1, ran: "start shop@a.service\n--quiet disable --now shop@a.service\n"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			sh := func(script string) {
				t.Helper()
				c := exec.CommandContext(t.Context(), "sh", "-ec", script)
				c.Dir = dir
				if out, err := c.CombinedOutput(); err != nil {
					t.Fatalf("%v\n%s", err, out)
				}
			}
			restarts := cmp.Or(tt.restarts, "0")
			sh("mkdir -p bin opt/shop/releases/1 opt/shop/releases/2 installed; echo run >opt/shop/releases/1/start; echo run >opt/shop/releases/2/start; echo unit >unit; : >ran" +
				"; ln -s releases/1 opt/shop/slot-a; printf '" + same + "' >opt/shop/slot-a.env" +
				"; sha256sum $PWD/unit >installed/shop.sha256; sha256sum $PWD/opt/shop/slot-a/start $PWD/opt/shop/slot-a.env >installed/shop-a.sha256" +
				"; printf '#!/bin/sh\ncase $1 in show) case $5 in *-worker@*) echo 1;; *) echo " + restarts + ";; esac;; is-active) exit " + cmp.Or(tt.active, "3") + ";; *) echo $* >>" + dir + "/ran;; esac\n' >bin/systemctl; printf '#!/bin/sh\n' >bin/journalctl; chmod +x bin/*")
			sh(tt.change)
			const script = "import sys; sys.path.insert(0, 'roles/release/files'); sys.dont_write_bytecode = True; import healthy; " +
				"healthy.OPT, healthy.INSTALLED = sys.argv[1] + '/opt', sys.argv[1] + '/installed'; sys.exit(healthy.back('1', *sys.argv[2:]))"
			c := exec.CommandContext(t.Context(), "python3", "-c", script, dir, fmt.Sprintf("%x", sha256.Sum256([]byte(same))), "shop@a.service", "3000", "127.0.0.1", `{"stays_up": 0.3}`, "shop-worker@a.service")
			c.Env = append(os.Environ(), "PATH="+dir+"/bin:"+os.Getenv("PATH"))
			out, err := c.CombinedOutput()
			if code := c.ProcessState.ExitCode(); code != tt.code || code == 0 && string(out) != tt.out {
				t.Errorf("exit status %d, %v, want %d\n%s, want %s", code, err, tt.code, out, tt.out)
			}
			if ran, err := os.ReadFile(filepath.Join(dir, "ran")); err != nil || string(ran) != tt.ran {
				t.Errorf("ran %q, %v; want %q", ran, err, tt.ran)
			}
		})
	}
}

// TestStay tells a process that has not stayed up after a way back, which did not wait for it, and not one that ended days ago.
func TestStay(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for name, script := range map[string]string{
		"systemctl":  "case $3-$5 in NRestarts-shop-cleaner@*) echo 0 ;; NRestarts-*) echo 1 ;; *-shop-worker@*) sed 's/[.].*/000000/' /proc/uptime ;; *) echo 0 ;; esac\n",
		"journalctl": "case $1 in _SYSTEMD_UNIT=shop-worker@a.service) echo no queue ;; esac\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("#!/bin/sh\n"+script), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, tt := range []struct{ unit, want string }{
		{"shop-mailer@a.service", ""},
		{"shop-worker@a.service", "the process shop-worker does not stay up; its log ends with: no queue\nno queue\n"},
	} {
		cmd := exec.CommandContext(t.Context(), "python3", "roles/release/files/healthy.py", "--stay", "shop-cleaner@a.service", tt.unit)
		cmd.Env = append(os.Environ(), "PATH="+dir+":"+os.Getenv("PATH"))
		if out, err := cmd.Output(); (err == nil) != (tt.want == "") || string(out) != tt.want {
			t.Errorf("%s: got %v and %q, want %q", tt.unit, err, out, tt.want)
		}
	}
}

// TestServicePage holds docs/service.md to the roles: it has all that a release gets, and nothing else.
func TestServicePage(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../docs/service.md")
	if err != nil {
		t.Fatal(err)
	}
	template, err := fs.ReadFile(playbooks.FS, "roles/release/templates/slot.env.j2")
	if err != nil {
		t.Fatal(err)
	}
	var vars struct {
		Opened map[string]string `yaml:"__release_opened"`
	}
	read(t, "roles/release/vars/main.yml", &vars)
	want := slices.Collect(maps.Keys(vars.Opened))
	for _, m := range regexp.MustCompile(`(?m)^([A-Z_]+)=`).FindAllSubmatch(template, -1) {
		want = append(want, string(m[1]))
	}
	var got []string
	for _, m := range regexp.MustCompile("(?m)^\\| `([A-Za-z_]+)` \\| ").FindAllSubmatch(page, -1) {
		got = append(got, string(m[1]))
	}
	got = slices.DeleteFunc(got, func(s string) bool { return s == "allow" }) // the head of a table
	slices.Sort(want)
	slices.Sort(got)
	if !slices.Equal(got, want) {
		t.Errorf("docs/service.md has %q, the roles have %q", got, want)
	}
}
