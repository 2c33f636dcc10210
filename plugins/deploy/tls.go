package main

import (
	"crypto/sha256"
	stdtls "crypto/tls"
	"encoding/hex"
	"fmt"
	"strings"
	"time"

	"github.com/seed-b96de936/troop/plugins/sdk"
)

type tls struct {
	Certificate string       `hcl:"certificate" doc:"Certificate and those of its issuers, as PEM: file(\"tls/chain.pem\")."`
	Key         string       `hcl:"key" sensitive:"true" doc:"Its private key, as PEM: a secret."`
	HSTS        sdk.Duration `hcl:"hsts" default:"\"8760h\"" doc:"How long browsers remember that there is HTTPS (Strict-Transport-Security); 0s: they do not."`
}

// bundle is what HAProxy reads: certificate, issuers and key.
func (t *tls) bundle() string {
	return strings.TrimSpace(t.Certificate) + "\n" + strings.TrimSpace(t.Key) + "\n"
}

// digest tells bundles apart without telling a key.
func (t *tls) digest() string {
	sum := sha256.Sum256([]byte(t.bundle()))
	return hex.EncodeToString(sum[:])[:16]
}

// check says what is wrong with certificate and key, once both are known.
func (t *tls) check() error {
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

// address is where clients reach the service.
func (d *deployer) address() string {
	scheme := "http"
	if d.c.TLS != nil {
		scheme = "https"
	}
	return fmt.Sprintf("%s://%s", scheme, d.router.Address)
}
