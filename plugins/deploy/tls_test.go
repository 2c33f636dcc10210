package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	stdtls "crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// certificate is a new one for shop.example.com, and for addresses, that signs itself, and its key.
func certificate(t testing.TB, serial int64, ends time.Time, addresses ...net.IP) (certificate, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(serial), DNSNames: []string{"shop.example.com"}, IPAddresses: addresses, NotBefore: ends.Add(-48 * time.Hour), NotAfter: ends,
		IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})), string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret}))
}

func tlsBlock(certificate, key string) string {
	return fmt.Sprintf("tls {\n certificate = %q\n key = %q\n}\n", certificate, key)
}

// TestHTTPS deploys with a certificate and then with another one: HTTP/2, the redirect, HSTS, and what the application is told.
func TestHTTPS(t *testing.T) {
	t.Parallel()
	s := newSite(t, oneEach)
	s.mustDeploy(artifact1)
	plain := s.manifest
	https := strings.Replace(strings.Replace(s.url, "http:", "https:", 1), ":21080", ":21443", 1)
	stop := func() (int, []error) { return 1, nil }
	for serial := int64(1); serial <= 2; serial++ {
		own, key := certificate(t, serial, time.Now().Add(24*time.Hour))
		s.manifest = plain + tlsBlock(own, key)
		r := s.deploy(artifact1)
		if r.Err != nil {
			t.Fatal(r.Err)
		}
		expect(t, "the output address", r.Outputs["address"], any("https://"+s.ip["router-1"]))
		pool := x509.NewCertPool()
		pool.AppendCertsFromPEM([]byte(own))
		client := &http.Client{
			Transport:     &http.Transport{ForceAttemptHTTP2: true, DisableKeepAlives: true, TLSClientConfig: &stdtls.Config{RootCAs: pool, ServerName: "shop.example.com", MinVersion: stdtls.VersionTLS12}},
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		}
		resp, err := client.Get(https + "/forwarded")
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if err != nil || !strings.Contains(string(b), "X-Forwarded-Proto=https;") {
			t.Errorf("the application is told %q, %v", b, err)
		}
		expect(t, "protocol", resp.Proto, "HTTP/2.0")
		expect(t, "HSTS", resp.Header.Get("Strict-Transport-Security"), "max-age=31536000")
		expect(t, "serial number", resp.TLS.PeerCertificates[0].SerialNumber.Int64(), serial)
		if resp, err = client.Get(s.url + "/cart?a=1"); err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		expect(t, "HTTP", resp.StatusCode, http.StatusPermanentRedirect)
		expect(t, "goes to", resp.Header.Get("Location"), strings.Replace(s.url, "http:", "https:", 1)+"/cart?a=1")
		if serial == 1 {
			stop = ask(https) // the second certificate comes under load
		}
	}
	if n, failed := stop(); n == 0 || len(failed) > 0 {
		t.Errorf("%d requests while the certificate was replaced, failed: %v", n, failed)
	}
	if c, err := stdtls.Dial("tcp", strings.TrimPrefix(https, "https://"), &stdtls.Config{InsecureSkipVerify: true, MaxVersion: stdtls.VersionTLS11}); err == nil { //nolint:gosec // it must be refused
		_ = c.Close()
		t.Error("TLS 1.1 is accepted")
	}
}

// ask sends requests over HTTPS, each on a connection of its own, until the returned function is called. It returns how many
// there were, and the errors.
func ask(url string) (stop func() (int, []error)) {
	client := &http.Client{Transport: &http.Transport{
		ForceAttemptHTTP2: true, DisableKeepAlives: true, TLSClientConfig: &stdtls.Config{InsecureSkipVerify: true}, //nolint:gosec // whatever certificate
	}}
	end, done := make(chan struct{}), make(chan struct{})
	n, failed := 0, []error(nil)
	go func() {
		defer close(done)
		for {
			select {
			case <-end:
				return
			default:
			}
			resp, err := client.Get(url)
			if err == nil {
				_, err = io.Copy(io.Discard, resp.Body)
				_ = resp.Body.Close()
			}
			if n++; err != nil {
				failed = append(failed, err)
			}
		}
	}()
	return func() (int, []error) {
		close(end)
		<-done
		return n, failed
	}
}

// BenchmarkHandshake counts TLS handshakes at the router, and at a HAProxy that has nothing but the same certificate. Budget: x/bare at
// least 0.9.
func BenchmarkHandshake(b *testing.B) {
	s := newSite(b, oneEach)
	own, key := certificate(b, 1, time.Now().Add(24*time.Hour))
	s.manifest += tlsBlock(own, key)
	s.mustDeploy(artifact1)
	router := strings.Replace(strings.TrimPrefix(s.url, "http://"), ":21080", ":21443", 1)
	bare := strings.Replace(router, ":21443", ":21444", 1)
	s.write("bare.pem", own+key)
	s.write("bare.cfg", fmt.Sprintf("defaults\n mode http\n timeout client 10s\nfrontend bare\n bind %s ssl crt %s alpn h2,http/1.1 no-tls-tickets\n http-request return status 200\n",
		bare, filepath.Join(s.dir, "bare.pem")))
	cmd := exec.CommandContext(b.Context(), "haproxy", "-db", "-f", filepath.Join(s.dir, "bare.cfg"))
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	settings := &stdtls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2"}} //nolint:gosec // whatever certificate
	s.eventually("the other HAProxy listens", func() bool {
		c, err := stdtls.Dial("tcp", bare, settings)
		if err == nil {
			_ = c.Close()
		}
		return err == nil
	})
	const clients, each = 4, 250
	shake := func(address string) time.Duration {
		began := time.Now()
		var all sync.WaitGroup
		for range clients {
			all.Go(func() {
				for range each {
					c, err := stdtls.Dial("tcp", address, settings)
					if err != nil {
						b.Error(err)
						return
					}
					_ = c.Close()
				}
			})
		}
		all.Wait()
		return time.Since(began)
	}
	var ours, theirs time.Duration
	for b.Loop() {
		ours += shake(router)
		theirs += shake(bare)
	}
	n := float64(b.N * clients * each)
	b.ReportMetric(n/ours.Seconds(), "router/s")
	b.ReportMetric(n/theirs.Seconds(), "bare/s")
	b.ReportMetric(theirs.Seconds()/ours.Seconds(), "x/bare")
}

func TestCertificateIsChecked(t *testing.T) {
	t.Parallel()
	own, key := certificate(t, 1, time.Now().Add(24*time.Hour))
	_, other := certificate(t, 2, time.Now().Add(24*time.Hour))
	old, oldKey := certificate(t, 3, time.Now().Add(-24*time.Hour))
	for name, tt := range map[string]struct{ certificate, key, want string }{
		"good":        {own, key, ""},
		"another key": {own, other, "want a certificate with its key, both as PEM: private key does not match public key"},
		"no PEM":      {"tls/chain.pem", key, "failed to find any PEM data"},
		"ended":       {old, oldKey, "the certificate for shop.example.com ended at "},
	} {
		err := (&tls{Certificate: tt.certificate, Key: tt.key}).check()
		if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: got %v, want %q", name, err, tt.want)
		}
	}
	for want, block := range map[string]tls{
		"names with * cannot be proven":            {Domains: []string{"*.example.com"}},
		"or has yours":                             {Domains: []string{"shop.example.com"}, Certificate: own},
		"want an address such as":                  {Domains: []string{"shop.example.com"}, Directory: "http://ca/dir"},
		"want a certificate as PEM":                {Domains: []string{"shop.example.com"}, CA: "ca.pem"},
		"want a certificate with its key, or doma": {},
	} {
		if _, err := block.bundle(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
}

// TestTLSSettings has testssl.sh look at the router: nothing above the severity LOW, but for what it says of the certificate, which is
// the test's own, and of headers, which are the application's.
func TestTLSSettings(t *testing.T) {
	t.Parallel()
	s := newSite(t, oneEach)
	own, key := certificate(t, 1, time.Now().Add(24*time.Hour))
	s.manifest += tlsBlock(own, key)
	s.mustDeploy(artifact1)
	address, _, _ := strings.Cut(strings.TrimPrefix(s.url, "http://"), ":")
	report := filepath.Join(t.TempDir(), "report.json")
	scan := exec.CommandContext(t.Context(), "testssl", "--quiet", "--color", "0", "--warnings", "off", "--nodns", "none", "--ip", address, "--jsonfile", report, "https://shop.example.com:21443")
	said, err := scan.CombinedOutput() // its status counts the findings
	text, errRead := os.ReadFile(report)
	var findings []struct{ ID, Severity, Finding string }
	if err := errors.Join(errRead, json.Unmarshal(text, &findings)); err != nil {
		t.Fatalf("%v\n%s", err, said)
	}
	seen := map[string]bool{}
	for _, f := range findings {
		switch {
		case f.Severity == "WARN": // it could not look, as on a busy machine, where one of its connections takes too long
			t.Logf("%s: %s", f.ID, f.Finding)
		case slices.Contains([]string{"OK", "INFO", "LOW", "DEBUG"}, f.Severity), strings.HasPrefix(f.ID, "cert_"), f.ID == "security_headers":
			seen[f.ID] = true
		default:
			seen[f.ID] = true
			t.Errorf("%s: %s: %s", f.ID, f.Severity, f.Finding)
		}
	}
	for _, id := range []string{"SSLv3", "TLS1", "TLS1_1", "TLS1_3", "cipher_order", "heartbleed", "ROBOT", "SWEET32", "LUCKY13"} {
		if !seen[id] {
			t.Errorf("testssl.sh did not look at %s: %v\n%s", id, err, said)
		}
	}
}
