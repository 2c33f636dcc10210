package bus_test

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/seed-b96de936/troop/core/bus"
	"github.com/seed-b96de936/troop/core/bus/redistest"
)

// TestTraffic listens between the operator's side and Redis: it reads neither the password nor what is written.
func TestTraffic(t *testing.T) {
	m := environment(t)
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	var (
		mu    sync.Mutex
		heard bytes.Buffer
	)
	hear := writer(func(data []byte) (int, error) {
		mu.Lock()
		defer mu.Unlock()
		return heard.Write(data)
	})
	go func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			server, err := new(net.Dialer).DialContext(t.Context(), "tcp", m.Addr)
			if err != nil {
				_ = client.Close()
				continue
			}
			for _, way := range [][2]net.Conn{{client, server}, {server, client}} {
				go func() {
					_, _ = io.Copy(io.MultiWriter(way[1], hear), way[0])
					_ = way[1].Close()
				}()
			}
		}
	}()
	login := bus.Options{
		Address: l.Addr().String(), Certificates: m.Certificates, User: bus.Operator, Password: redistest.PasswordOf("operator"), Sign: &redistest.Signer, Trust: redistest.Trust,
	}
	if _, err := opened(t, login).State("deploy").Set(t.Context(), "desired", []byte("sentinel of the state")); err != nil {
		t.Fatal(err)
	}
	mu.Lock()
	for _, secret := range []string{redistest.PasswordOf("operator"), "sentinel", "troop:order"} {
		if bytes.Contains(heard.Bytes(), []byte(secret)) {
			t.Errorf("who listens reads %q", secret)
		}
	}
	if heard.Len() == 0 {
		t.Error("nothing was heard")
	}
	mu.Unlock()

	// Another server in its place is not told the password.
	m.Secure([]byte(strings.Repeat("x", 32)))
	_, err = opened(t, login).State("deploy").Get(t.Context(), "desired")
	if err == nil || !strings.Contains(err.Error(), "does not prove to be the environment's Redis") {
		t.Errorf("a Redis with another certificate: %v", err)
	}
	if away := new(bus.AwayError); !errors.As(err, &away) {
		t.Errorf("%T, want %T: the hosts go on as they are", err, away)
	}
}

type writer func([]byte) (int, error)

func (w writer) Write(data []byte) (int, error) { return w(data) }

func TestCertificate(t *testing.T) {
	secret := []byte(strings.Repeat("s", 32))
	first, key, err := bus.Certificate(secret)
	again, sameKey, _ := bus.Certificate(secret)
	if err != nil || first != again || key != sameKey {
		t.Fatalf("%v; the same secret gives another certificate", err)
	}
	block, _ := pem.Decode([]byte(first))
	c, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(c)
	for _, at := range []time.Time{time.Date(1999, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(2126, 1, 1, 0, 0, 0, 0, time.UTC)} { // a host's clock may be wrong
		if _, err := c.Verify(x509.VerifyOptions{Roots: roots, DNSName: "redis", CurrentTime: at}); err != nil {
			t.Errorf("in %d: %v", at.Year(), err)
		}
	}
}
