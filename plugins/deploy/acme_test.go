package main

import (
	"bytes"
	"context"
	stdtls "crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/acme"

	"github.com/seed-b96de936/troop/plugins/sdk/tooltest"
)

// authority is Pebble beside a site. It knows every name as the site's router, unless told otherwise.
type authority struct {
	t       *testing.T
	dir     string
	net24   string
	ca      string // of its own HTTPS, as PEM
	process *exec.Cmd
}

// newAuthority starts an authority whose certificates live as long as that.
func newAuthority(t *testing.T, s *site, life time.Duration) *authority {
	t.Helper()
	a := &authority{t: t, dir: t.TempDir(), net24: strings.TrimSuffix(strings.TrimPrefix(s.url, "http://"), ".2:21080")}
	own, key := certificate(t, 1, time.Now().Add(24*time.Hour), net.ParseIP(a.net24+".3"))
	a.ca = own
	config, err := json.Marshal(map[string]any{"pebble": map[string]any{
		"listenAddress": a.net24 + ".3:14000", "managementListenAddress": a.net24 + ".3:15000", "certificate": filepath.Join(a.dir, "tls.pem"),
		"privateKey": filepath.Join(a.dir, "key.pem"), "httpPort": 21080, "tlsPort": 21443, "retryAfter": map[string]int{"authz": 1, "order": 1},
		"profiles":        map[string]any{"default": map[string]any{"description": "for tests", "validityPeriod": int(life.Seconds())}},
		"domainBlocklist": []string{"blocked.example.com"},
	}})
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{"tls.pem": own, "key.pem": key, "config.json": string(config)} {
		if err := os.WriteFile(filepath.Join(a.dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	a.run("pebble-challtestsrv", "-defaultIPv4", a.net24+".2", "-defaultIPv6", "", "-dnsserver", a.net24+".3:8053", "-management", a.net24+".3:8055", "-http01", "", "-https01", "", "-tlsalpn01", "", "-doh", "")
	a.start()
	return a
}

func (a *authority) run(name string, args ...string) *exec.Cmd {
	a.t.Helper()
	out, err := os.OpenFile(filepath.Join(a.dir, name+".out"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		a.t.Fatal(err)
	}
	cmd := exec.CommandContext(context.WithoutCancel(a.t.Context()), tooltest.Path(a.t, name), args...)
	cmd.Env = append(os.Environ(), "PEBBLE_VA_NOSLEEP=1")
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Start(); err != nil {
		a.t.Fatal(err)
	}
	_ = out.Close()
	a.t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if a.t.Failed() {
			text, _ := os.ReadFile(out.Name())
			a.t.Logf("%s:\n%s", name, text[max(0, len(text)-3000):])
		}
	})
	return cmd
}

func (a *authority) start() {
	a.t.Helper()
	a.process = a.run("pebble", "-config", filepath.Join(a.dir, "config.json"), "-dnsserver", a.net24+".3:8053")
	for {
		if resp, err := a.client().Get(a.directory()); err == nil {
			_ = resp.Body.Close()
			return
		}
		if time.Sleep(lookTime); a.t.Context().Err() != nil {
			a.t.Fatal("Pebble does not answer")
		}
	}
}

func (a *authority) stop() {
	_ = a.process.Process.Kill()
	_ = a.process.Wait()
}

func (a *authority) directory() string { return "https://" + a.net24 + ".3:14000/dir" }

// client trusts the authority's own certificate.
func (a *authority) client() *http.Client {
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM([]byte(a.ca))
	return &http.Client{Timeout: time.Minute, Transport: &http.Transport{DisableKeepAlives: true, TLSClientConfig: &stdtls.Config{RootCAs: pool, MinVersion: stdtls.VersionTLS12}}}
}

// root is what browsers would trust; Pebble makes a new one at each start.
func (a *authority) root() *x509.CertPool {
	a.t.Helper()
	resp, err := a.client().Get("https://" + a.net24 + ".3:15000/roots/0")
	if err != nil {
		a.t.Fatal(err)
	}
	text, err := io.ReadAll(resp.Body)
	_ = resp.Body.Close()
	pool := x509.NewCertPool()
	if err != nil || !pool.AppendCertsFromPEM(text) {
		a.t.Fatalf("the root: %v\n%s", err, text)
	}
	return pool
}

// resolve makes a name an address; empty makes it the router's again.
func (a *authority) resolve(name, address string) {
	a.t.Helper()
	call, body := "add-a", fmt.Sprintf(`{"host":"%s.","addresses":[%q]}`, name, address)
	if address == "" {
		call = "clear-a"
	}
	resp, err := http.Post("http://"+a.net24+".3:8055/"+call, "application/json", strings.NewReader(body))
	if err != nil {
		a.t.Fatal(err)
	}
	_ = resp.Body.Close()
}

// block is the manifest's block tls.
func (a *authority) block(domains string) string {
	return fmt.Sprintf("tls {\n domains = [%s]\n email = \"ops@example.com\"\n directory = %q\n ca = %q\n}\n", domains, a.directory(), a.ca)
}

// serial returns the number of the certificate that the router serves to those who trust a root; empty when they do not
// trust it. Without a root they trust every certificate, also one that has ended.
func (s *site) serial(roots *x509.CertPool) string {
	https := strings.Replace(strings.TrimPrefix(s.url, "http://"), ":21080", ":21443", 1)
	c, err := stdtls.Dial("tcp", https, &stdtls.Config{RootCAs: roots, InsecureSkipVerify: roots == nil, ServerName: "shop.example.com", MinVersion: stdtls.VersionTLS12}) //nolint:gosec // as said
	if err != nil {
		return ""
	}
	defer func() { _ = c.Close() }()
	return c.ConnectionState().PeerCertificates[0].SerialNumber.String()
}

// problem is why the agent has no new certificate.
func (s *site) problem() string {
	if c := s.actual().Certificate; c != nil {
		return c.Problem
	}
	return ""
}

// TestACME has the router's certificate issued by a real authority, and renewed under load while nothing else changes; then
// everything goes wrong that can, and the certificate from before goes on serving.
func TestACME(t *testing.T) {
	t.Parallel()
	s := newSite(t, oneEach)
	a := newAuthority(t, s, 18*time.Second)
	s.mustDeploy(artifact1)
	plain := s.manifest
	s.manifest += a.block(`"shop.example.com", "www.example.com"`)
	r := s.deploy(artifact1)
	if r.Err != nil {
		t.Fatal(r.Err)
	}
	expect(t, "the output address", r.Outputs["address"], any("https://shop.example.com"))
	root := a.root()
	first := s.serial(root)
	if first == "" {
		t.Fatalf("the router serves no certificate of the authority: %s", s.problem())
	}
	configuration, err := os.ReadFile(filepath.Join(s.dir, "haproxy.cfg"))
	if err != nil {
		t.Fatal(err)
	}
	stop := ask(strings.Replace(strings.Replace(s.url, "http:", "https:", 1), ":21080", ":21443", 1))
	second := first
	s.eventually("the certificate is renewed", func() bool { second = s.serial(root); return second != "" && second != first })

	// The certificate from before serves until the test can no longer see that it does.
	fails := func(what, want string) {
		t.Helper()
		s.eventually(what, func() bool { return strings.Contains(s.problem(), want) })
	}
	recovers := func(what string) {
		t.Helper()
		s.eventually(what, func() bool { return s.serial(a.root()) != "" && s.problem() == "" })
	}
	a.stop()
	before := s.serial(nil)
	fails("the directory is down", "the directory "+a.directory()+" does not answer")
	if now := s.serial(nil); now != before {
		t.Errorf("serves %q while the authority is down, want %q", now, before)
	}
	a.start() // it has forgotten the account
	recovers("the directory is back")
	if n, failed := stop(); n == 0 || len(failed) > 0 {
		t.Errorf("%d requests while certificates were replaced, failed: %v", n, failed)
	}
	a.resolve("www.example.com", a.net24+".9")
	fails("a name points elsewhere", "the authority does not find this router under www.example.com (")
	a.resolve("www.example.com", "")
	recovers("the name points here")

	account := filepath.Join(s.dir, stateDir, "acme-account.pem")
	a.deactivate(account)
	fails("the account is revoked", "remove "+account+" on the router for a new one")
	if err := os.Remove(account); err != nil {
		t.Fatal(err)
	}
	recovers("there is a new account")

	var said []string
	for _, e := range s.fake.Published() {
		if e.Kind == "certificate" {
			said = append(said, string(e.Severity))
		}
	}
	if got, want := strings.Join(said, " "), "alert resolved alert resolved alert resolved"; got != want {
		t.Errorf("events: %s, want %s", got, want)
	}
	if now, err := os.ReadFile(filepath.Join(s.dir, "haproxy.cfg")); err != nil || !bytes.Equal(now, configuration) {
		t.Errorf("the configuration has changed since: %v", err)
	}
	s.manifest = plain + a.block(`"shop.example.com", "blocked.example.com"`)
	if r := s.deploy(artifact1); r.Err != nil || !strings.Contains(s.problem(), "the authority gives no certificate for shop.example.com, blocked.example.com: ") {
		t.Errorf("a refused name: %v, %q", r.Err, s.problem())
	}
}

// deactivate revokes the account of a key.
func (a *authority) deactivate(file string) {
	a.t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		a.t.Fatal(err)
	}
	block, _ := pem.Decode(text)
	key, err := x509.ParseECPrivateKey(block.Bytes)
	if err != nil {
		a.t.Fatal(err)
	}
	c := &acme.Client{Key: key, DirectoryURL: a.directory(), HTTPClient: a.client()}
	if _, err := c.Register(a.t.Context(), &acme.Account{}, acme.AcceptTOS); err != nil && !errors.Is(err, acme.ErrAccountAlreadyExists) {
		a.t.Fatal(err)
	}
	if err := c.DeactivateReg(a.t.Context()); err != nil {
		a.t.Fatal(err)
	}
}
