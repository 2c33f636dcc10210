package server

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/acme"

	"github.com/seed-b96de936/troop/plugins/sdk/tooltest"
)

// TestACME listens with a certificate of an authority, Pebble, which asks for the proof at the very port, and keeps it.
func TestACME(t *testing.T) {
	const domain = "troop.example.com"
	dir, data := t.TempDir(), t.TempDir()
	// Pebble's own HTTPS has the certificate of Go's test server.
	own := httptest.NewUnstartedServer(nil)
	own.StartTLS()
	pair, trusts := own.TLS.Certificates[0], own.Client()
	own.Close()
	key, err := x509.MarshalPKCS8PrivateKey(pair.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	directory, management, names, control := free(t), free(t), free(t), free(t)
	authority := &acme.Client{DirectoryURL: "https://" + directory + "/dir", HTTPClient: trusts}
	l, err := serveFlags{listen: "127.0.0.1:0", acme: domain, email: "ops@example.com", authority: authority}.open(t.Context(), &Options{Data: data})
	if err != nil {
		t.Fatal(err)
	}
	config, err := json.Marshal(map[string]any{"pebble": map[string]any{
		"listenAddress": directory, "managementListenAddress": management, "certificate": filepath.Join(dir, "own.pem"), "privateKey": filepath.Join(dir, "own.key"),
		"httpPort": 1, "tlsPort": l.Addr().(*net.TCPAddr).Port, "retryAfter": map[string]int{"authz": 1, "order": 1},
		"profiles": map[string]any{"default": map[string]any{"description": "for tests", "validityPeriod": 86400}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string][]byte{
		"own.pem": pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: pair.Certificate[0]}), "own.key": pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key}), "config.json": config,
	} {
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var said [2]bytes.Buffer
	for i, args := range [][]string{
		{"pebble-challtestsrv", "-defaultIPv4", "127.0.0.1", "-defaultIPv6", "", "-dnsserver", names, "-management", control, "-http01", "", "-https01", "", "-tlsalpn01", "", "-doh", ""},
		{"pebble", "-config", filepath.Join(dir, "config.json"), "-dnsserver", names},
	} {
		cmd := exec.CommandContext(t.Context(), tooltest.Path(t, args[0]), args[1:]...)
		cmd.Env, cmd.Stdout, cmd.Stderr = append(os.Environ(), "PEBBLE_VA_NOSLEEP=1"), &said[i], &said[i]
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = cmd.Wait() }) // the end of the test's context kills it
	}
	h := &http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = fmt.Fprint(w, "served") })}
	go func() { _ = h.Serve(l) }()
	t.Cleanup(func() { _ = h.Close() })

	get := func(c *http.Client, url string) (string, error) {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
		if err != nil {
			t.Fatal(err)
		}
		answer, err := c.Do(r)
		if err != nil {
			return "", err
		}
		defer func() { _ = answer.Body.Close() }()
		text, err := io.ReadAll(answer.Body)
		return string(text), err
	}
	var root string
	for end := time.Now().Add(2 * time.Minute); ; time.Sleep(50 * time.Millisecond) {
		if root, err = get(trusts, "https://"+management+"/roots/0"); err == nil {
			break
		}
		if time.Now().After(end) {
			t.Fatal(err)
		}
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM([]byte(root)) {
		t.Fatalf("no root: %s", root)
	}
	people := &http.Client{Transport: &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12},
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, l.Addr().String())
		},
	}}
	if text, err := get(people, "https://"+domain); err != nil || text != "served" {
		t.Fatalf("%q, %v", text, err)
	}
	if kept, err := os.ReadFile(filepath.Join(data, "certificates", domain)); err != nil || !strings.Contains(string(kept), "BEGIN CERTIFICATE") {
		t.Errorf("the certificate is not kept: %v", err)
	}
	if _, err := get(people, "https://other.example.com"); err == nil {
		t.Error("a certificate for another name")
	}
}

// free is an address of this machine that nobody listens on.
func free(t *testing.T) string {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().String()
}
