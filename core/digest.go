package core

import (
	"crypto/sha256"
	"io"
	"os"
	"strings"

	"github.com/seed-b96de936/troop/plugins/sdk/contract"
)

// DigestOf returns the digest of some bytes.
func DigestOf(b []byte) Digest {
	sum := sha256.Sum256(b)
	return contract.DigestSum(sum[:])
}

// DigestAll returns the digest of several texts. Each text's length counts: moving bytes from one text to the next
// changes the digest.
func DigestAll(texts ...[]byte) Digest {
	var sums strings.Builder
	for _, text := range texts {
		sums.WriteString(string(DigestOf(text)))
	}
	return DigestOf([]byte(sums.String()))
}

// DigestReader returns the digest of everything r yields until EOF.
func DigestReader(r io.Reader) (Digest, error) {
	sum := sha256.New()
	if _, err := io.Copy(sum, r); err != nil {
		return "", err
	}
	return contract.DigestSum(sum.Sum(nil)), nil
}

// DigestFile returns the digest of a file's content.
func DigestFile(path string) (Digest, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer func() { _ = f.Close() }()
	return DigestReader(f)
}
