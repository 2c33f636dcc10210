package wire

import (
	"crypto/tls"
	"crypto/x509"
)

// The secrets of a connection, which the core passes to a plugin through an inherited pipe as PEM blocks.
const (
	TLSKey         = "TROOP_TLS_FD" // variable with the pipe's file descriptor
	PEMCertificate = "CERTIFICATE"  // the plugin's own
	PEMKey         = "EC PRIVATE KEY"
	PEMPeer        = "PEER CERTIFICATE" // the core's
	ServerName     = "localhost"
)

// MutualTLS returns the configuration of either end, as client and server, which trusts exactly one peer.
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
		// The connection lives as long as the process and never leaves the machine: a recording is of no use to a later
		// quantum computer, and the hybrid key exchange is a tenth of a plugin's start. P-256 is for gRPC of other languages.
		CurvePreferences: []tls.CurveID{tls.X25519, tls.CurveP256},
	}
}
