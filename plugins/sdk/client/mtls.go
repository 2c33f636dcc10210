package client

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"time"

	"github.com/seed-b96de936/troop/plugins/sdk/internal/wire"
)

// secrets authenticate both ends of a plugin's connection. They are made for one process and never stored.
type secrets struct {
	config *tls.Config // of the core
	plugin []byte      // for the plugin's wire.TLSKey: its certificate and key, and the core's certificate; PEM
	core   []byte      // the core's certificate, PEM
}

// newSecrets makes keys and certificates for both ends. It differs from go-plugin's AutoMTLS in two points: the curve is
// P-256 instead of P-521, which took more than half of a plugin's start, and the plugin does not make its own key. A plugin
// that does not know wire.TLSKey uses AutoMTLS with the same configuration.
func newSecrets() (*secrets, error) {
	core, err := newIdentity()
	if err != nil {
		return nil, err
	}
	plugin, err := newIdentity()
	if err != nil {
		return nil, err
	}
	key, err := x509.MarshalECPrivateKey(plugin.key)
	if err != nil {
		return nil, fmt.Errorf("encode key: %w", err)
	}
	var forPlugin bytes.Buffer
	for _, b := range []*pem.Block{
		{Type: wire.PEMCertificate, Bytes: plugin.cert.Raw}, {Type: wire.PEMKey, Bytes: key}, {Type: wire.PEMPeer, Bytes: core.cert.Raw},
	} {
		if err := pem.Encode(&forPlugin, b); err != nil {
			return nil, fmt.Errorf("encode secrets: %w", err)
		}
	}
	return &secrets{
		config: wire.MutualTLS(tls.Certificate{Certificate: [][]byte{core.cert.Raw}, PrivateKey: core.key}, plugin.cert),
		plugin: forPlugin.Bytes(),
		core:   pem.EncodeToMemory(&pem.Block{Type: wire.PEMCertificate, Bytes: core.cert.Raw}),
	}, nil
}

type identity struct {
	key  *ecdsa.PrivateKey
	cert *x509.Certificate
}

// newIdentity makes a self-signed certificate. Both ends are server and client: the core serves the capabilities.
func newIdentity() (identity, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return identity{}, fmt.Errorf("make key: %w", err)
	}
	now := time.Now()
	template := &x509.Certificate{
		SerialNumber:          big.NewInt(now.UnixNano()),
		Subject:               pkix.Name{CommonName: wire.ServerName, Organization: []string{"troop"}},
		DNSNames:              []string{wire.ServerName},
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
		KeyUsage:              x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		BasicConstraintsValid: true,
		IsCA:                  true,
		NotBefore:             now.Add(-time.Minute),
		NotAfter:              now.AddDate(30, 0, 0), // agents may run as long as their host
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return identity{}, fmt.Errorf("make certificate: %w", err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return identity{}, fmt.Errorf("read certificate: %w", err)
	}
	return identity{key, cert}, nil
}
