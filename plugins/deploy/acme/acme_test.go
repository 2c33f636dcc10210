package acme_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"math/big"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/seed-b96de936/troop/plugins/deploy/acme"
	"github.com/seed-b96de936/troop/plugins/deploy/state"
)

// TestRateLimit has an authority that refuses an order because there were too many, and says when to come back. It is not
// asked again before.
func TestRateLimit(t *testing.T) {
	t.Parallel()
	orders := 0
	mux := http.NewServeMux()
	server := httptest.NewTLSServer(mux)
	t.Cleanup(server.Close)
	answer := func(w http.ResponseWriter, status int, v any) {
		w.Header().Set("Replay-Nonce", "nonce")
		w.WriteHeader(status)
		_ = json.NewEncoder(w).Encode(v)
	}
	mux.HandleFunc("/dir", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, http.StatusOK, map[string]string{"newNonce": server.URL + "/nonce", "newAccount": server.URL + "/account", "newOrder": server.URL + "/order"})
	})
	mux.HandleFunc("/nonce", func(w http.ResponseWriter, _ *http.Request) { answer(w, http.StatusOK, nil) })
	mux.HandleFunc("/account", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Location", server.URL+"/account/1")
		answer(w, http.StatusCreated, map[string]string{"status": "valid"})
	})
	mux.HandleFunc("/order", func(w http.ResponseWriter, _ *http.Request) {
		orders++
		w.Header().Set("Content-Type", "application/problem+json")
		w.Header().Set("Retry-After", "3600")
		answer(w, http.StatusTooManyRequests, map[string]string{"type": "urn:ietf:params:acme:error:rateLimited", "detail": "too many certificates for example.com"})
	})
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	_, err := acme.New(t.TempDir()).Obtain(t.Context(), state.ACME{Directory: server.URL + "/dir", CA: string(ca), Domains: []string{"shop.example.com"}})
	why, ok := errors.AsType[*acme.Error](err)
	if !ok || why.Reason != "the authority's rate limit is reached: too many certificates for example.com" || why.After.Round(time.Minute) != time.Hour {
		t.Errorf("got %#v", err)
	}
	if orders != 1 {
		t.Errorf("it was asked %d times", orders)
	}
}

// TestDue judges certificates of another authority, for other names, and at all ages.
func TestDue(t *testing.T) {
	t.Parallel()
	began := time.Now().Truncate(time.Second)
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{"b.example.com", "a.example.com"}, NotBefore: began, NotAfter: began.Add(90 * time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	pair := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})) + string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}))
	names := []string{"a.example.com", "b.example.com"}
	for name, tt := range map[string]struct {
		text    string
		domains []string
		due     time.Time
		issued  bool
	}{
		"issued":            {"# from https://ca/dir\n" + pair, names, began.Add(60 * time.Hour), true},
		"another authority": {"# from https://test.ca/dir\n" + pair, names, time.Time{}, true},
		"another name":      {"# from https://ca/dir\n" + pair, names[:1], time.Time{}, true},
		"signed by itself":  {pair, names, time.Time{}, false},
	} {
		due, ends, err := acme.Due(tt.text, state.ACME{Directory: "https://ca/dir", Domains: tt.domains})
		if err != nil || !due.Equal(tt.due) || ends.IsZero() == tt.issued {
			t.Errorf("%s: due %s, ends %s, %v; want %s", name, due, ends, err, tt.due)
		}
	}
	if _, _, err := acme.Due("nothing", state.ACME{}); err == nil || !strings.Contains(err.Error(), "read the certificate") {
		t.Errorf("a damaged file: %v", err)
	}
}
