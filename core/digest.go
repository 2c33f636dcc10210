package core

import (
	"crypto/sha256"
	"encoding/hex"
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

// ParseDigest reads a digest; false: the text is none.
func ParseDigest(text string) (Digest, bool) {
	d, ok := DigestHex(Digest(text).Hex())
	return d, ok && string(d) == text // with capital letters it is another name
}

// DigestHex returns the digest of 64 hexadecimal digits; false: the text is none.
func DigestHex(text string) (Digest, bool) {
	raw, err := hex.DecodeString(text)
	if err != nil || len(raw) != sha256.Size {
		return "", false
	}
	return contract.DigestSum(raw), true
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
