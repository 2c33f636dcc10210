// Package acme gets certificates from an authority that speaks ACME (RFC 8555), and renews them. It proves the names by
// HTTP-01. It runs inside the deploy agent on the router, and knows nothing of HAProxy. Imported by the agent.
//
// golang.org/x/crypto/acme does the protocol: it is part of a module that the tree has already, where lego would bring
// a hundred DNS providers' worth of choices that a router does not need.
package acme

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/google/renameio/v2"
	"golang.org/x/crypto/acme"

	"github.com/seed-b96de936/troop/plugins/deploy/state"
)

// orderTime is how long an authority may take for a certificate.
const orderTime = 3 * time.Minute

// Client gets certificates. Its Handler must answer for the names meanwhile. One order at a time.
type Client struct {
	dir string // of the account's key

	mu      sync.Mutex
	answers map[string]string // to what the authority asks for, by path
}

// New returns a client that keeps the key of its account in a folder.
func New(dir string) *Client { return &Client{dir: dir, answers: map[string]string{}} }

// Account is the file with the account's key.
func (c *Client) Account() string { return filepath.Join(c.dir, "acme-account.pem") }

// ServeHTTP answers the authority.
func (c *Client) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c.mu.Lock()
	answer, ok := c.answers[r.URL.Path]
	c.mu.Unlock()
	if !ok {
		http.NotFound(w, r)
		return
	}
	_, _ = w.Write([]byte(answer)) // an authority that goes away asks again
}

// Obtain returns a new certificate with those of its issuers and its key, as PEM. An error is an *Error when the
// authority or the way to it is the reason.
func (c *Client) Obtain(ctx context.Context, s state.ACME) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, orderTime)
	defer cancel()
	key, err := c.key()
	if err != nil {
		return "", fmt.Errorf("open the key of the account: %w", err)
	}
	chain, private, err := c.order(ctx, s, key)
	if err != nil {
		return "", c.explain(s, err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return "", err
	}
	var text strings.Builder
	text.WriteString(from(s.Directory)) // readers of PEM skip it
	for _, b := range chain {
		_ = pem.Encode(&text, &pem.Block{Type: "CERTIFICATE", Bytes: b}) // a Builder takes everything
	}
	_ = pem.Encode(&text, &pem.Block{Type: "PRIVATE KEY", Bytes: der})
	return text.String(), nil
}

// from begins a certificate of a directory.
func from(directory string) string { return "# from " + directory + "\n" }

// order goes through an order: account, names, certificate.
func (c *Client) order(ctx context.Context, s state.ACME, key *ecdsa.PrivateKey) (chain [][]byte, private *ecdsa.PrivateKey, err error) {
	transport := http.DefaultTransport.(*http.Transport).Clone() //nolint:forcetypeassert // the standard library's
	defer transport.CloseIdleConnections()
	if s.CA != "" {
		pool := x509.NewCertPool()
		pool.AppendCertsFromPEM([]byte(s.CA))
		transport.TLSClientConfig = &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}
	}
	client := &acme.Client{
		Key: key, DirectoryURL: s.Directory, HTTPClient: &http.Client{Transport: transport, Timeout: orderTime / 3},
		UserAgent: "troop", RetryBackoff: backOff,
	}
	if _, err := client.Discover(ctx); err != nil {
		return nil, nil, &Error{Reason: fmt.Sprintf("the directory %s does not answer: %v", s.Directory, err)}
	}
	account := &acme.Account{}
	if s.Email != "" {
		account.Contact = []string{"mailto:" + s.Email}
	}
	if _, err := client.Register(ctx, account, acme.AcceptTOS); err != nil && !errors.Is(err, acme.ErrAccountAlreadyExists) {
		return nil, nil, err
	}
	order, err := client.AuthorizeOrder(ctx, acme.DomainIDs(s.Domains...))
	if err != nil {
		return nil, nil, err
	}
	for _, u := range order.AuthzURLs {
		if err := c.prove(ctx, client, u); err != nil {
			return nil, nil, err
		}
	}
	if order, err = client.WaitOrder(ctx, order.URI); err != nil {
		return nil, nil, err
	}
	if private, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		return nil, nil, err
	}
	request, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{DNSNames: s.Domains}, private)
	if err != nil {
		return nil, nil, err
	}
	chain, _, err = client.CreateCertFromOrder(ctx, order, request, true)
	return chain, private, err
}

// backOff is the pause before a request is repeated; none when the authority says that there were too many.
func backOff(n int, _ *http.Request, resp *http.Response) time.Duration {
	const most = 3
	if n > most || resp != nil && resp.StatusCode == http.StatusTooManyRequests {
		return -1
	}
	return time.Duration(n) * time.Second
}

// prove shows the authority that a name is this router.
func (c *Client) prove(ctx context.Context, client *acme.Client, authorization string) error {
	a, err := client.GetAuthorization(ctx, authorization)
	if err != nil || a.Status == acme.StatusValid {
		return err
	}
	for _, ch := range a.Challenges {
		if ch.Type != "http-01" {
			continue
		}
		answer, err := client.HTTP01ChallengeResponse(ch.Token)
		if err != nil {
			return err
		}
		path := client.HTTP01ChallengePath(ch.Token)
		c.mu.Lock()
		c.answers[path] = answer
		c.mu.Unlock()
		defer func() {
			c.mu.Lock()
			delete(c.answers, path)
			c.mu.Unlock()
		}()
		if _, err := client.Accept(ctx, ch); err != nil {
			return err
		}
		if _, err = client.WaitAuthorization(ctx, a.URI); err != nil {
			return fmt.Errorf("%s: %w", a.Identifier.Value, err)
		}
		return nil
	}
	return &Error{Reason: fmt.Sprintf("the authority does not offer HTTP-01 for %s", a.Identifier.Value)}
}

// key returns the key of the account, a new one at first.
func (c *Client) key() (*ecdsa.PrivateKey, error) {
	text, err := os.ReadFile(c.Account())
	if errors.Is(err, fs.ErrNotExist) {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			return nil, err
		}
		der, err := x509.MarshalECPrivateKey(key)
		if err != nil {
			return nil, err
		}
		return key, renameio.WriteFile(c.Account(), pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der}), 0o600)
	}
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(text)
	if block == nil {
		return nil, fmt.Errorf("%s holds no key; remove it for a new account", c.Account())
	}
	return x509.ParseECPrivateKey(block.Bytes)
}
