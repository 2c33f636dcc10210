package environment

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"net"
	"net/url"
	"strconv"

	"github.com/seed-b96de936/troop/core"
	"github.com/seed-b96de936/troop/core/bus"
)

// accessoryCA is where the role app puts the certificate of the accessories.
const accessoryCA = "/etc/troop/accessories.pem"

// accessoryPassword is the password of a service's user. A rotation does not replace it: releases that run have it.
func (s secrets) accessoryPassword(c core.Accessory) string {
	return s.lasting().password("accessory " + c.Type + " " + c.Service)
}

// accessories are the variables with which the roles make the accessories on a host and tell the services of them. The host
// of the databases gets digests of passwords.
func (s secrets) accessories(all []core.Accessory, data core.Host) map[string]any {
	list := make([]map[string]any, len(all))
	for i, c := range all {
		password := s.accessoryPassword(c)
		list[i] = map[string]any{"type": c.Type, "service": c.Service, "env": c.Env, "port": c.Port, "url": accessoryURL(c, data, password)}
		if c.Type == "postgres" {
			list[i]["verifier"] = scram(password, s.lasting().derive("salt " + c.Service)[:16])
		} else {
			list[i]["verifier"] = digest(password)
		}
	}
	certificate, key := s.accessoryCertificate(data.PrivateAddress)
	return map[string]any{"troop_accessories": list, "troop_accessories_certificate": certificate, "troop_accessories_key": key, "troop_accessories_ca": accessoryCA}
}

func accessoryURL(c core.Accessory, data core.Host, password string) string {
	u := url.URL{Scheme: "rediss", User: url.UserPassword(c.Service, password), Host: net.JoinHostPort(data.PrivateAddress, strconv.Itoa(c.Port))}
	if c.Type == "postgres" {
		u.Scheme, u.Path = "postgres", "/"+c.Service
		u.RawQuery = "sslmode=verify-full&sslrootcert=" + accessoryCA
	}
	return u.String()
}

// accessoryCertificate is what the accessories show to who connects, and its key. PostgreSQL's clients cannot bind a password
// to a certificate with an ed25519 key.
func (s secrets) accessoryCertificate(name string) (certificate, key string) {
	secret := s.lasting().derive("certificate of the accessories")
	private, err := ecdsa.ParseRawPrivateKey(elliptic.P256(), secret)
	for err != nil { // one secret of 2³² is no key
		sum := sha256.Sum256(secret)
		secret = sum[:]
		private, err = ecdsa.ParseRawPrivateKey(elliptic.P256(), secret)
	}
	if certificate, key, err = bus.SelfSigned(private, name); err != nil {
		panic(err) // of another type
	}
	return certificate, key
}

// scram is what PostgreSQL keeps of a password (RFC 5802, RFC 7677).
func scram(password string, salt []byte) string {
	const rounds = 4096
	salted, err := pbkdf2.Key(sha256.New, password, salt, rounds, sha256.Size)
	if err != nil {
		panic(err) // of a length that SHA-256 has not
	}
	of := func(text string) []byte {
		m := hmac.New(sha256.New, salted)
		m.Write([]byte(text))
		return m.Sum(nil)
	}
	stored, text := sha256.Sum256(of("Client Key")), base64.StdEncoding.EncodeToString
	return fmt.Sprintf("SCRAM-SHA-256$%d:%s$%s:%s", rounds, text(salt), text(stored[:]), text(of("Server Key")))
}
