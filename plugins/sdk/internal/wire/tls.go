package wire

import (
	"crypto/tls"
	"crypto/x509"
)

// The secrets of a connection, which the core hands to a plugin through an inherited pipe: PEM blocks.
const (
	TLSKey         = "TROOP_TLS_FD" // variable that holds the number of the pipe
	PEMCertificate = "CERTIFICATE"  // the plugin's own
	PEMKey         = "EC PRIVATE KEY"
	PEMPeer        = "PEER CERTIFICATE" // the core's
	ServerName     = "localhost"
)

// MutualTLS is how either end knows itself and the one peer that it trusts, as client and as server.
func MutualTLS(own tls.Certificate, peer *x509.Certificate) *tls.Config {
	pool := x509.NewCertPool()
	pool.AddCert(peer)
	return &tls.Config{
		Certificates: []tls.Certificate{own},
		ClientAuth:   tls.RequireAndVerifyClientCert,
		ClientCAs:    pool,
		RootCAs:      pool,
		ServerName:   ServerName,
		MinVersion:   tls.VersionTLS13,
	}
}
