package bus

import (
	"context"
	"crypto"
	"crypto/ed25519"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"time"
)

// serverName is the only name in the certificate of an environment's Redis.
const serverName = "redis"

// Certificate returns the certificate of an environment's Redis and its key, as PEM, from a secret of 32 bytes: always the
// same ones, so that an unchanged configuration is not installed again. It is signed by itself and has no end: clients
// are given the certificate, and trust no authority.
func Certificate(secret []byte) (certificate, key string, err error) {
	return SelfSigned(ed25519.NewKeyFromSeed(secret), serverName)
}

// SelfSigned returns a certificate without an end for one name or address, and its key, as PEM.
func SelfSigned(private crypto.Signer, name string) (certificate, key string, err error) {
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Unix(0, 0), NotAfter: time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC), // RFC 5280, 4.1.2.5: no end
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	if ip := net.ParseIP(name); ip != nil {
		template.IPAddresses = []net.IP{ip}
	} else {
		template.DNSNames = []string{name}
	}
	der, err := x509.CreateCertificate(nil, template, template, private.Public(), private)
	if err != nil {
		return "", "", fmt.Errorf("make the certificate of %s: %w", name, err)
	}
	encoded, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return "", "", fmt.Errorf("make the key of %s: %w", name, err)
	}
	text := func(kind string, der []byte) string {
		return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
	}
	return text("CERTIFICATE", der), text("PRIVATE KEY", encoded), nil
}

type dialer func(ctx context.Context, network, addr string) (net.Conn, error)

// secured dials with TLS and takes no other certificate than these.
func secured(dial dialer, certificates string) dialer {
	known := x509.NewCertPool()
	known.AppendCertsFromPEM([]byte(certificates)) // without any, nothing is taken
	conf := &tls.Config{MinVersion: tls.VersionTLS13, RootCAs: known, ServerName: serverName}
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		plain, err := dial(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		c := tls.Client(plain, conf)
		if err := c.HandshakeContext(ctx); err != nil {
			_ = plain.Close() // the handshake's error says more
			return nil, fmt.Errorf("what answers at %s does not prove to be the environment's Redis: %w", addr, err)
		}
		return c, nil
	}
}
