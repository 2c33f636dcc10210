package acme

import (
	"crypto/tls"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/seed-b96de936/troop/plugins/deploy/state"
)

// Due is when a certificate, as Obtain returns it, must be renewed: when two thirds of its life are over, and at once when it
// is of another authority or for other names. The second result is when it ends; zero when no authority has given it.
func Due(text string, s state.ACME) (due, ends time.Time, err error) {
	pair, err := tls.X509KeyPair([]byte(text), []byte(text))
	if err != nil {
		return due, ends, fmt.Errorf("read the certificate: %w", err)
	}
	leaf := pair.Leaf
	if strings.HasPrefix(text, from("")[:len(from(""))-1]) {
		ends = leaf.NotAfter
	}
	names, want := slices.Sorted(slices.Values(leaf.DNSNames)), slices.Sorted(slices.Values(s.Domains))
	if !strings.HasPrefix(text, from(s.Directory)) || !slices.Equal(names, want) {
		return due, ends, nil
	}
	const share = 3
	return leaf.NotAfter.Add(-leaf.NotAfter.Sub(leaf.NotBefore) / share), ends, nil
}
