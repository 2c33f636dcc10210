package environment

import (
	"cmp"
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base32"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/google/renameio/v2"

	"github.com/seed-b96de936/troop/core"
	"github.com/seed-b96de936/troop/core/bus"
	"github.com/seed-b96de936/troop/core/remote"
)

// secrets are made once per environment, renewed by a rotation, and stored only in its folder. No host has the seed: what it
// has is derived for it alone, and tells nothing of what another has.
type secrets struct {
	generation
	// Hosts admit Next before anybody uses it, and Former until nobody does. Agents then still trust the certificate of Gone.
	Next   *generation `json:"next,omitempty"`
	Former *generation `json:"former,omitempty"`
	Gone   *generation `json:"gone,omitempty"`
	// Lasting is the seed before the first rotation: of what a rotation does not replace. Empty: there was none.
	Lasting string `json:"lasting_seed,omitempty"`
}

// generation is what a rotation replaces.
type generation struct {
	RedisPassword string `json:"redis_password"` // of the operator's user
	Seed          string `json:"seed"`
}

func newGeneration() generation {
	return generation{RedisPassword: rand.Text(), Seed: rand.Text() + rand.Text()}
}

// values lists the values to mask in all output; hosts may be unknown.
func (s secrets) values(hosts []core.Host, accessories []core.Accessory) []string {
	all := []string{s.lasting().Seed, s.appPassword()}
	for _, c := range accessories {
		all = append(all, s.accessoryPassword(c))
	}
	for _, g := range s.admitted() {
		_, key := g.redisCertificate()
		all = append(all, g.RedisPassword, g.Seed, g.quotaPassword(), key)
		for _, h := range hosts {
			private, _ := g.storageKey(h.Name)
			all = append(all, g.hostPassword(h.Name), private)
		}
	}
	return all
}

// admitted are the generations that hosts admit, always in the same order while they are the same.
func (s secrets) admitted() []generation {
	all := []generation{s.generation}
	for _, g := range []*generation{s.Next, s.Former} {
		if g != nil {
			all = append(all, *g)
		}
	}
	slices.SortFunc(all, func(a, b generation) int { return cmp.Compare(digest(a.Seed), digest(b.Seed)) })
	return all
}

// after returns the secrets that follow in a rotation, once every host has these. ok is false when it is at its end.
func (s secrets) after() (next secrets, ok bool) {
	switch {
	case s.Next != nil:
		former := s.generation
		return secrets{generation: *s.Next, Former: &former, Lasting: s.lasting().Seed}, true
	case s.Former != nil:
		return secrets{generation: s.generation, Gone: s.Former, Lasting: s.Lasting}, true
	case s.Gone != nil:
		return secrets{generation: s.generation, Lasting: s.Lasting}, true
	}
	return s, false
}

// lasting is the generation of what a rotation does not replace. Hosts refuse what another key has signed, also an order
// that stands; and a running application has its password.
func (s secrets) lasting() generation { return generation{Seed: cmp.Or(s.Lasting, s.Seed)} }

// derive returns 32 bytes for one purpose.
func (g generation) derive(purpose string) []byte {
	m := hmac.New(sha256.New, []byte(g.Seed))
	m.Write([]byte(purpose))
	return m.Sum(nil)
}

func (g generation) password(purpose string) string {
	return base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(g.derive(purpose))
}

// hostPassword is the password of a host's user of Redis.
func (g generation) hostPassword(host core.HostName) string {
	return g.password("redis " + string(host))
}

// appPassword is the password of the application's own Redis, which is not troop's.
func (s secrets) appPassword() string { return s.lasting().password("redis of the application") }

// quotaPassword is the password of the user that keeps the limits of each host in Redis.
func (g generation) quotaPassword() string { return g.password("limits in redis") }

// redisCertificate is what Redis shows to who connects, and its key.
func (g generation) redisCertificate() (certificate, key string) {
	certificate, key, err := bus.Certificate(g.derive("certificate of redis"))
	if err != nil {
		panic(err) // of another type than ed25519
	}
	return certificate, key
}

// shown is the generation whose certificate Redis shows: agents know the next one first.
func (s secrets) shown() generation {
	if s.Former != nil {
		return *s.Former
	}
	return s.generation
}

// trusted are the certificates of Redis that its clients take.
func (s secrets) trusted() string {
	trusted, _ := s.redisCertificate()
	if s.Former != nil {
		former, _ := s.Former.redisCertificate()
		trusted += former
	}
	return trusted
}

// renewed is a value in the configuration of a host's agents that another one replaces.
type renewed struct {
	From string `json:"from"`
	To   string `json:"to"`
}

// renewals are what agents that are installed already get, once every host has these secrets.
func (s secrets) renewals(host core.HostName) []renewed {
	switch {
	case s.Former != nil:
		from, _ := s.Former.storageKey(host)
		to, _ := s.storageKey(host)
		certificate, _ := s.Former.redisCertificate()
		return []renewed{{s.Former.hostPassword(host), s.hostPassword(host)}, {from, to}, {certificate, s.trusted()}}
	case s.Gone != nil:
		both := secrets{generation: s.generation, Former: s.Gone}
		return []renewed{{both.trusted(), s.trusted()}}
	}
	return nil
}

// orderKey signs what hosts are told.
func (s secrets) orderKey() ed25519.PrivateKey {
	return ed25519.NewKeyFromSeed(s.lasting().derive("orders"))
}

// trust is the public half of orderKey.
func (s secrets) trust() ed25519.PublicKey { return s.orderKey().Public().(ed25519.PublicKey) }

// storageKey is the key of a host's account on the storage host: the private half as PEM, the public half as a line of
// authorized_keys. Both are always the same text, so that an unchanged configuration is not installed again.
func (g generation) storageKey(host core.HostName) (private, public string) {
	private, public, err := remote.KeyOf(g.derive("storage " + string(host)))
	if err != nil {
		panic(err) // of another type than ed25519
	}
	return private, public
}

// digest is what Redis keeps of a password.
func digest(password string) string {
	sum := sha256.Sum256([]byte(password))
	return hex.EncodeToString(sum[:])
}

func (e *Environment) secretsFile() string { return filepath.Join(e.dir, "secrets.json") }

// secrets reads the environment's secrets, or makes them. Processes that make them at the same time get the same ones.
// Those of an earlier version, which every host knew, are replaced.
func (e *Environment) secrets() (secrets, error) {
	s, err := readSecrets(e.secretsFile())
	old := err == nil && s.Seed == ""
	if !errors.Is(err, fs.ErrNotExist) && !old {
		return s, err
	}
	data, err := json.MarshalIndent(secrets{generation: newGeneration()}, "", "  ")
	if err != nil {
		return s, err
	}
	if old {
		err = renameio.WriteFile(e.secretsFile(), data, 0o600)
	} else {
		err = writeFirst(e.secretsFile(), data)
	}
	if err != nil {
		return s, fmt.Errorf("make secrets: %w", err)
	}
	return readSecrets(e.secretsFile())
}

func readSecrets(file string) (secrets, error) {
	var s secrets
	data, err := os.ReadFile(file)
	if err != nil {
		return s, err
	}
	if err := json.Unmarshal(data, &s); err != nil {
		return s, fmt.Errorf("read %s: %w", file, err)
	}
	return s, nil
}

// writeFirst writes a private file atomically, unless it exists.
func writeFirst(file string, data []byte) error {
	dir := filepath.Dir(file)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	tmp, err := os.CreateTemp(dir, "."+filepath.Base(file)+"-*") // mode 0600
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(tmp.Name()) }()
	_, err = tmp.Write(data)
	if err := errors.Join(err, tmp.Sync(), tmp.Close()); err != nil {
		return err
	}
	if err := os.Link(tmp.Name(), file); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return nil
}
