package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	stdtls "crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"math/big"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/seed-b96de936/troop/plugins/deploy/state"
	"github.com/seed-b96de936/troop/plugins/sdk"
)

type tls struct {
	Certificate string       `hcl:"certificate,optional" doc:"Certificate and those of its issuers, as PEM: file(\"tls/chain.pem\"). Without it, domains."`
	Key         string       `hcl:"key,optional" sensitive:"true" doc:"Its private key, as PEM: a secret."`
	Domains     []string     `hcl:"domains,optional" doc:"Names for which the router gets a certificate by ACME, and renews it when two thirds of its life are over. Their DNS records point at the router, and port 80 is open to everybody."`
	Email       string       `hcl:"email,optional" doc:"Whom the authority may write to."`
	Directory   string       `hcl:"directory" default:"\"https://acme-v02.api.letsencrypt.org/directory\"" doc:"Address of the authority's ACME directory; Let's Encrypt's by default. Whoever names an authority here agrees to its terms."`
	CA          string       `hcl:"ca,optional" doc:"Certificate that an authority of one's own is trusted by, as PEM."`
	HSTS        sdk.Duration `hcl:"hsts" default:"\"8760h\"" doc:"How long browsers remember that there is HTTPS (Strict-Transport-Security); 0s: they do not."`
}

// acme is nil for a certificate of the team's own.
func (t *tls) acme() *state.ACME {
	if len(t.Domains) == 0 {
		return nil
	}
	return &state.ACME{Directory: t.Directory, CA: t.CA, Email: t.Email, Domains: t.Domains}
}

// bundle is what HAProxy reads: certificate, issuers and key. As long as the authority has given none, the router has one
// that it signs itself.
func (t *tls) bundle() (string, error) {
	if err := t.check(); err != nil {
		return "", err
	}
	switch {
	case len(t.Domains) > 0:
		return selfSigned(t.Domains)
	case t.Certificate == "" || t.Key == "":
		return "", sdk.BadAttr("tls", "want a certificate with its key, or domains")
	}
	return strings.TrimSpace(t.Certificate) + "\n" + strings.TrimSpace(t.Key) + "\n", nil
}

func selfSigned(domains []string) (string, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return "", err
	}
	now := time.Now()
	template := &x509.Certificate{SerialNumber: big.NewInt(now.UnixNano()), DNSNames: domains, NotBefore: now, NotAfter: now.Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return "", err
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return "", err
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})) + string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private})), nil
}

// digest tells bundles apart without telling a key.
func (t *tls) digest() string {
	if len(t.Domains) > 0 {
		return state.ByACME
	}
	sum := sha256.Sum256([]byte(strings.TrimSpace(t.Certificate) + "\n" + strings.TrimSpace(t.Key) + "\n"))
	return hex.EncodeToString(sum[:])[:16]
}

var domainName = regexp.MustCompile(`^([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z0-9-]{2,63}$`)

// check says what is wrong with what is known already.
func (t *tls) check() error {
	for i, name := range t.Domains {
		if !domainName.MatchString(name) {
			return sdk.BadAttr(fmt.Sprintf("tls.domains[%d]", i), "want a name such as shop.example.com, in lower case; names with * cannot be proven over HTTP; got %q", name)
		}
	}
	if len(t.Domains) > 0 && (t.Certificate != "" || t.Key != "") {
		return sdk.BadAttr("tls.domains", "the router gets a certificate by ACME or has yours; leave out domains, or certificate and key")
	}
	if u, err := url.Parse(t.Directory); t.Directory != "" && (err != nil || u.Scheme != "https" || u.Host == "") {
		return sdk.BadAttr("tls.directory", "want an address such as https://acme.example.com/directory, got %q", t.Directory)
	}
	if t.CA != "" && !x509.NewCertPool().AppendCertsFromPEM([]byte(t.CA)) {
		return sdk.BadAttr("tls.ca", "want a certificate as PEM")
	}
	if t.Certificate == "" || t.Key == "" {
		return nil
	}
	pair, err := stdtls.X509KeyPair([]byte(t.Certificate), []byte(t.Key))
	if err != nil {
		return sdk.BadAttr("tls.certificate", "want a certificate with its key, both as PEM: %s", strings.TrimPrefix(err.Error(), "tls: "))
	}
	if leaf := pair.Leaf; time.Now().After(leaf.NotAfter) {
		return sdk.BadAttr("tls.certificate", "the certificate for %s ended at %s", strings.Join(leaf.DNSNames, ", "), leaf.NotAfter.Format(time.DateOnly))
	}
	return nil
}

// issueTime is how long a deploy waits for a first certificate.
const issueTime = time.Minute

// awaitCertificate waits until the router has a certificate, or knows why not. A release does not wait for an authority, so
// that is no failure of the deploy.
func (d *deployer) awaitCertificate(ctx context.Context) error {
	if d.c.TLS == nil || d.c.TLS.acme() == nil {
		return nil
	}
	names := strings.Join(d.c.TLS.Domains, ", ")
	for began := time.Now(); time.Since(began) < issueTime; {
		a, err := d.readActual(ctx)
		if err != nil {
			return err
		}
		if c := a.Certificate; c != nil && slices.Equal(c.Domains, d.c.TLS.Domains) {
			switch {
			case c.Problem != "":
				d.job.Warnf("no new certificate for %s: %s", names, c.Problem)
				return nil
			case !c.Ends.IsZero():
				d.job.Logf("the certificate for %s is good until %s", names, c.Ends.UTC().Format(time.DateTime))
				return nil
			}
		}
		if sleep(ctx, lookTime); ctx.Err() != nil {
			return context.Cause(ctx)
		}
	}
	d.job.Warnf("the authority has not given a certificate for %s within %s; the agent on %s goes on asking", names, issueTime, d.router.Name)
	return nil
}

// address is where clients reach the service.
func (d *deployer) address() string {
	scheme, host := "http", d.router.Address
	if d.c.TLS != nil {
		scheme = "https"
		if len(d.c.TLS.Domains) > 0 {
			host = d.c.TLS.Domains[0]
		}
	}
	if len(d.c.Service.Domains) > 0 {
		host = d.c.Service.Domains[0]
	}
	return fmt.Sprintf("%s://%s%s", scheme, host, d.c.Service.Path)
}
