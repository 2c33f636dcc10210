package router

import (
	"context"
	"fmt"
	"os"
)

// Certificate is the certificate by ACME that HAProxy loads when it is reloaded.
func (r *Router) Certificate() (string, error) {
	text, err := os.ReadFile(r.paths.certificate())
	return string(text), err
}

// SetCertificate makes it the certificate of all connections that begin from now on. The file comes first, as with weights.
func (r *Router) SetCertificate(ctx context.Context, text string) error {
	if err := ReplaceFile(r.paths.certificate(), text); err != nil {
		return fmt.Errorf("write the certificate: %w", err)
	}
	return r.api.SetCertificate(ctx, r.paths.certificate(), text)
}
