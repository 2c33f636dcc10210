package sdk

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"

	"github.com/seed-b96de936/troop/plugins/sdk/internal/wire"
)

// inheritedTLS reads the secrets from the core's pipe.
func inheritedTLS() (*tls.Config, error) {
	fd, err := strconv.Atoi(os.Getenv(wire.TLSKey))
	if err != nil {
		return nil, fmt.Errorf("variable %s: %w", wire.TLSKey, err)
	}
	pipe := os.NewFile(uintptr(fd), "secrets")
	b, err := io.ReadAll(pipe)
	if err = errors.Join(err, pipe.Close(), os.Unsetenv(wire.TLSKey)); err != nil {
		return nil, fmt.Errorf("read secrets: %w", err)
	}
	var own tls.Certificate
	var peer *x509.Certificate
	for block, rest := pem.Decode(b); block != nil; block, rest = pem.Decode(rest) {
		switch block.Type {
		case wire.PEMCertificate:
			own.Certificate = append(own.Certificate, block.Bytes)
		case wire.PEMKey:
			own.PrivateKey, err = x509.ParseECPrivateKey(block.Bytes)
		case wire.PEMPeer:
			peer, err = x509.ParseCertificate(block.Bytes)
		}
		if err != nil {
			return nil, fmt.Errorf("read secrets: %w", err)
		}
	}
	if len(own.Certificate) == 0 || own.PrivateKey == nil || peer == nil {
		return nil, errors.New("read secrets: some are missing")
	}
	return wire.MutualTLS(own, peer), nil
}
