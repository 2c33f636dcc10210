// Package redistest runs a real redis-server for the length of a test. Only tests import it.
package redistest

import (
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/seed-b96de936/troop/core/bus"
)

// Password is what every server asks for.
const Password = "secret"

// Signer is that of the operator's side in tests, and Trust what hosts know of it. Its fence is always 1.
var (
	Signer = bus.Signer{Key: ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize)), Fence: func() (int64, error) { return 1, nil }}
	Trust  = Signer.Key.Public().(ed25519.PublicKey)
)

// Server is a redis-server on loopback that keeps its data over a restart.
type Server struct {
	Addr         string
	Socket       string   // of clients on the same machine
	Certificates string   // of a server with TLS, as PEM
	Arguments    []string // more for redis-server, from the next Restart on
	t            testing.TB
	dir          string
	login        string
	cmd          *exec.Cmd
}

// URL is the address as clients write it.
func (s *Server) URL() string { return "redis://:" + Password + "@" + s.Addr }

// Start runs a server; the test's end stops it.
func Start(t testing.TB) *Server {
	t.Helper()
	s := server(t)
	s.Arguments = []string{"--requirepass", Password}
	s.Restart()
	return s
}

// Open connects the operator's side to a server of Start.
func Open(t testing.TB, s *Server) *bus.Bus {
	t.Helper()
	b := bus.Open(bus.Options{Address: s.Addr, Password: Password, Environment: "lab", Sign: &Signer, Trust: Trust})
	t.Cleanup(func() { _ = b.Close() })
	return b
}

// StartWithRules runs a server with the access rules of the role redis, for hosts of which some are routers. PasswordOf is
// the password of each user.
func StartWithRules(t testing.TB, routers, others []string) *Server {
	t.Helper()
	s := server(t)
	hosts := map[string][]string{}
	for _, h := range slices.Concat(routers, others) {
		hosts[h] = []string{digest(PasswordOf(h))}
	}
	vars, err := json.Marshal(map[string]any{
		"redis_operator": []string{digest(PasswordOf("operator"))}, "redis_hosts": hosts, "redis_routers": routers, "redis_quota_password": PasswordOf("quota"),
	})
	if err != nil {
		t.Fatal(err)
	}
	const program = `import sys, json, jinja2
import hashlib
env = jinja2.Environment(trim_blocks=True, keep_trailing_newline=True, undefined=jinja2.StrictUndefined)
env.filters["hash"] = lambda text, name: hashlib.new(name, text.encode()).hexdigest()
sys.stdout.write(env.from_string(open(sys.argv[1]).read()).render(**json.load(sys.stdin)))`
	render := exec.CommandContext(t.Context(), "python3", "-c", program, Role("templates/users.acl.j2"))
	render.Stdin = strings.NewReader(string(vars))
	rules, err := render.Output()
	if err != nil {
		t.Fatalf("render the access rules (python3-jinja2): %v", err)
	}
	file := filepath.Join(s.dir, "users.acl")
	if err := os.WriteFile(file, rules, 0o600); err != nil {
		t.Fatal(err)
	}
	s.Arguments, s.login = []string{"--aclfile", file}, "operator "+PasswordOf("operator")
	s.Secure(make([]byte, ed25519.SeedSize))
	return s
}

// Secure has the server begin again with the certificate of a secret, and take only TLS from then on.
func (s *Server) Secure(secret []byte) {
	s.t.Helper()
	certificate, key, err := bus.Certificate(secret)
	for name, text := range map[string]string{"cert": certificate, "key": key} {
		err = errors.Join(err, os.WriteFile(filepath.Join(s.dir, name), []byte(text), 0o600))
	}
	if err != nil {
		s.t.Fatal(err)
	}
	s.Certificates = certificate
	s.Restart()
}

// PasswordOf is the password of a host's user, or of the operator's.
func PasswordOf(name string) string { return "password of " + name }

func digest(password string) string {
	sum := sha256.Sum256([]byte(password))
	return hex.EncodeToString(sum[:])
}

// Role is the path of a file of the role redis. Tests are compiled with -trimpath, so the working folder says where the
// tree is.
func Role(file string) string {
	name := filepath.Join("playbooks/roles/redis", file)
	dir, err := os.Getwd()
	for err == nil && dir != "/" {
		if file := filepath.Join(dir, name); exists(file) {
			return file
		}
		dir = filepath.Dir(dir)
	}
	return name
}

func exists(file string) bool {
	_, err := os.Stat(file)
	return err == nil
}

func server(t testing.TB) *Server {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &Server{Addr: l.Addr().String(), t: t, dir: t.TempDir(), login: Password}
	s.Socket = filepath.Join(s.dir, "socket")
	_ = l.Close()
	t.Cleanup(s.Stop)
	return s
}

// Stop ends the server. A second call does nothing.
func (s *Server) Stop() {
	if s.cmd == nil {
		return
	}
	_ = s.cmd.Process.Signal(syscall.SIGTERM)
	s.Resume()
	_ = s.cmd.Wait()
	s.cmd = nil
}

// Hang makes the server take connections and answer nothing, until Resume.
func (s *Server) Hang() { _ = s.cmd.Process.Signal(syscall.SIGSTOP) }

// Resume ends Hang.
func (s *Server) Resume() { _ = s.cmd.Process.Signal(syscall.SIGCONT) }

// Restart ends the server when it runs, starts it on the same address and waits until it answers.
func (s *Server) Restart() {
	s.t.Helper()
	s.Stop()
	_, port, _ := net.SplitHostPort(s.Addr)
	s.cmd = exec.CommandContext(context.Background(), "redis-server", "--bind", "127.0.0.1", "--unixsocket", s.Socket, "--dir", s.dir,
		"--appendonly", "yes", "--appendfsync", "always")
	if s.Certificates == "" {
		s.cmd.Args = append(s.cmd.Args, "--port", port)
	} else { // as the role redis
		s.cmd.Args = append(s.cmd.Args, "--port", "0", "--tls-port", port, "--tls-auth-clients", "no",
			"--tls-cert-file", filepath.Join(s.dir, "cert"), "--tls-key-file", filepath.Join(s.dir, "key"), "--tls-protocols", "TLSv1.3")
	}
	s.cmd.Args = append(s.cmd.Args, s.Arguments...)
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := s.cmd.Start(); err != nil {
		s.t.Fatalf("start redis-server (Debian's package of that name): %v", err)
	}
	deadline := time.Now().Add(10 * time.Second)
	for !s.answers() {
		if time.Now().After(deadline) {
			s.t.Fatal("redis-server does not answer")
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func (s *Server) answers() bool {
	c, err := (&net.Dialer{Timeout: time.Second}).DialContext(context.Background(), "unix", s.Socket)
	if err != nil {
		return false
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(time.Second))
	user, password, two := strings.Cut(s.login, " ")
	if !two {
		user, password = "default", s.login
	}
	fmt.Fprintf(c, "AUTH %q %q\r\nPING\r\n", user, password)
	buf := make([]byte, 64)
	n, _ := c.Read(buf)
	return strings.HasPrefix(string(buf[:n]), "+OK")
}
