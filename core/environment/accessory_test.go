package environment

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/seed-b96de936/troop/core"
)

// The example of RFC 7677.
func TestScram(t *testing.T) {
	t.Parallel()
	const want = "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU="
	salt := "\x5b\x6d\x99\x68\x9d\x12\x35\x8e\xec\xa0\x4b\x14\x12\x36\xfa\x81"
	if got := scram("pencil", []byte(salt)); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

var databases = []core.Accessory{
	{Type: "postgres", Service: "shop", Env: "DATABASE_URL", Port: 15431},
	{Type: "redis", Service: "shop", Env: "REDIS_URL", Port: 16378},
}

// TestAccessoryPasswords expects each service to have passwords of its own, which a rotation does not replace and every output masks.
func TestAccessoryPasswords(t *testing.T) {
	t.Parallel()
	s := secrets{generation: newGeneration()}
	other := core.Accessory{Type: "postgres", Service: "blog"}
	masked := s.values(nil, databases)
	seen := map[string]bool{}
	for _, c := range append(databases[:2:2], other) {
		seen[s.accessoryPassword(c)] = true
	}
	if len(seen) != 3 || !seen[masked[2]] || !seen[masked[3]] {
		t.Errorf("%d passwords, and masked are %q", len(seen), masked)
	}
	next := newGeneration()
	rotated := secrets{generation: s.generation, Next: &next}
	for more := true; more; {
		if rotated, more = rotated.after(); more && rotated.accessoryPassword(other) != s.accessoryPassword(other) {
			t.Error("a rotation has replaced the password of an accessory")
		}
	}
}

// TestAccessoryServers connects to a real PostgreSQL and a real Redis, which have what the role data gives them, with the URLs that a
// service gets.
func TestAccessoryServers(t *testing.T) {
	t.Parallel()
	s, databases := secrets{generation: newGeneration()}, slices.Clone(databases)
	for i := range databases {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		databases[i].Port = l.Addr().(*net.TCPAddr).Port
		_ = l.Close()
	}
	vars := s.accessories(databases, core.Host{Name: "data-1", PrivateAddress: "127.0.0.1"})
	list, _ := vars["troop_accessories"].([]map[string]any)
	certificate, _ := vars["troop_accessories_certificate"].(string)
	key, _ := vars["troop_accessories_key"].(string)
	again, _ := s.accessoryCertificate("127.0.0.1")
	if certificate != again {
		t.Error("the certificate is another one each time")
	}
	dir := t.TempDir()
	if err := os.Chmod(filepath.Dir(dir), 0o755); err != nil { // it is for more than its owner
		t.Fatal(err)
	}
	nobody, err := user.Lookup("nobody")
	if err != nil {
		t.Fatal(err)
	}
	uid, _ := strconv.Atoi(nobody.Uid)
	gid, _ := strconv.Atoi(nobody.Gid)
	for name, text := range map[string]string{"server.crt": certificate, "server.key": key} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		_ = os.Chown(filepath.Join(dir, name), uid, gid)
	}
	_ = os.Chown(dir, uid, gid)
	run := func(line string, args ...string) *exec.Cmd {
		cmd := exec.CommandContext(t.Context(), "sh", append([]string{"-ec", line, "sh"}, args...)...)
		cmd.Env = append(os.Environ(), "HOME="+dir)
		cmd.Dir, cmd.Cancel, cmd.WaitDelay = dir, func() error { return cmd.Process.Signal(syscall.SIGINT) }, 10*time.Second
		if os.Getuid() == 0 { // PostgreSQL does not run as root
			cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}}
		}
		return cmd
	}
	server := run(`export PATH=$(ls -d /usr/lib/postgresql/*/bin | tail -n 1):$PATH
		initdb -D db -U postgres -A trust -E UTF8 --locale C.UTF-8 >/dev/null
		cp server.crt server.key db
		echo 'local all postgres trust
		hostssl shop shop 127.0.0.1/32 scram-sha-256' >db/pg_hba.conf
		exec postgres -D db -k "$PWD" -p "$1" -c listen_addresses=127.0.0.1 -c ssl=on`, fmt.Sprint(databases[0].Port))
	store := run(`echo "user default off
		user shop reset on #$1 ~* &* +@all -@admin" >redis.conf
		exec redis-server redis.conf --bind 127.0.0.1 --port 0 --tls-port "$2" --tls-cert-file server.crt --tls-key-file server.key --tls-auth-clients no \
		--save '' --logfile redis.log`, list[1]["verifier"].(string), fmt.Sprint(databases[1].Port))
	for _, c := range []*exec.Cmd{server, store} {
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Process.Signal(syscall.SIGINT); _ = c.Wait() })
	}
	admin := func() error {
		out, err := run(`psql -X -h "$PWD" -p "$2" -U postgres -c "CREATE ROLE shop LOGIN PASSWORD '$1'" -c 'CREATE DATABASE shop OWNER shop'`, list[0]["verifier"].(string), fmt.Sprint(databases[0].Port)).CombinedOutput()
		if err != nil && strings.Contains(string(out), "already exists") {
			err = nil
		}
		return err
	}
	for end := time.Now().Add(time.Minute); admin() != nil; time.Sleep(50 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("PostgreSQL does not start")
		}
	}
	at := strings.Replace(list[0]["url"].(string), accessoryCA, filepath.Join(dir, "server.crt"), 1)
	if out, err := run(`psql -XAt "$1" -c 'CREATE TABLE t (i int)' -c 'INSERT INTO t VALUES (7)' -c 'SELECT i FROM t'`, at).CombinedOutput(); err != nil || !strings.HasSuffix(string(out), "\n7\n") {
		t.Errorf("psql: %v\n%s", err, out)
	}
	wrong := strings.Replace(at, "shop:", "shop:A", 1)
	if out, err := run(`psql -XAt "$1" -c 'SELECT 1'`, wrong).CombinedOutput(); err == nil || !strings.Contains(string(out), "password authentication failed") {
		t.Errorf("psql with another password: %v\n%s", err, out)
	}

	redis := func(words string) string {
		out, err := run(`redis-cli -u "$1" --cacert server.crt --no-auth-warning `+words+` 2>&1`, list[1]["url"].(string)).Output()
		if err != nil {
			return err.Error() + string(out)
		}
		return strings.TrimSpace(string(out))
	}
	for end := time.Now().Add(time.Minute); redis("set a b") != "OK"; time.Sleep(50 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal(redis("ping"))
		}
	}
	if got := redis("config set dir /tmp"); !strings.Contains(got, "NOPERM") {
		t.Errorf("a service may configure its Redis: %s", got)
	}
}
