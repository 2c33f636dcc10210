package contract

import (
	"crypto/rand"
	"encoding/hex"
	"strings"
	"time"
)

const crockford = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"

// NewID returns a ULID: 26 characters that sort by t, in milliseconds, and are random beyond it.
func NewID(t time.Time) string {
	var b [16]byte
	ms := uint64(t.UnixMilli())
	for i := range 6 {
		b[i] = byte(ms >> (40 - 8*i))
	}
	_, _ = rand.Read(b[6:]) // never fails
	var id [26]byte
	// 26 digits of 5 bits hold 130: the first holds the upper 3 of the 128.
	for i := range id {
		var digit byte
		for bit := i*5 - 2; bit < i*5+3; bit++ {
			digit <<= 1
			if bit >= 0 {
				digit |= b[bit/8] >> (7 - bit%8) & 1
			}
		}
		id[i] = crockford[digit]
	}
	return string(id[:])
}

// Digest is "sha256:" and 64 hexadecimal digits.
type Digest string

const digestPrefix = "sha256:"

// DigestSum returns the digest for a SHA-256 sum.
func DigestSum(sum []byte) Digest { return Digest(digestPrefix + hex.EncodeToString(sum)) }

// Hex returns the hexadecimal digits without the prefix.
func (d Digest) Hex() string { return strings.TrimPrefix(string(d), digestPrefix) }
