package remote

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/gofrs/flock"
	"github.com/google/renameio/v2"
	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"

	"github.com/seed-b96de936/troop/core"
)

// HostKeyError: a host presents another key than the pinned one.
type HostKeyError struct {
	Host        core.HostName
	Address     string // in known_hosts format
	Environment string
	Got, Want   string // fingerprints
	Written     bool   // the manifest names the key, and none is pinned
}

func (e *HostKeyError) Error() string {
	if e.Written {
		return fmt.Sprintf("%s (%s) shows the host key %s, and the manifest says %s; if the server is the right one, correct host_key in its block",
			e.Host, e.Address, e.Got, e.Want)
	}
	return fmt.Sprintf("host key of %s (%s) has changed: pinned %s, now %s; if the host was replaced on purpose, accept the new key with: troop hosts accept %s --env %s",
		e.Host, e.Address, e.Want, e.Got, e.Host, e.Environment)
}

// Pin records the hosts' keys, which come from Terraform, and replaces earlier keys of the same addresses. A host without
// a key is pinned on first connection.
func (c *Client) Pin(hosts []core.Host) error {
	keys := map[string]ssh.PublicKey{}
	for _, h := range hosts {
		if h.HostKey == "" {
			continue
		}
		key, _, _, _, err := ssh.ParseAuthorizedKey([]byte(h.HostKey))
		if err != nil {
			return fmt.Errorf("pin host key of %s: %w; host_key must be one line of authorized_keys format", h.Name, err)
		}
		keys[knownhosts.Normalize(address(h))] = key
	}
	return c.known.edit(keys)
}

// Forget removes all pinned keys, after the hosts were destroyed.
func (c *Client) Forget() error {
	unlock, err := c.known.lock()
	if err != nil {
		return err
	}
	defer unlock()
	if err := os.Remove(c.known.file); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("forget host keys: %w", err)
	}
	return nil
}

// knownHosts is a file in known_hosts format. It is read at every use, so that edits take effect.
type knownHosts struct{ file string }

// anyKey lists the types of host keys, best first.
var anyKey = []string{
	ssh.KeyAlgoED25519, ssh.KeyAlgoECDSA256, ssh.KeyAlgoECDSA384, ssh.KeyAlgoECDSA521, ssh.KeyAlgoRSASHA512, ssh.KeyAlgoRSASHA256,
}

// environment is the name of the environment in whose folder the file is.
func (k knownHosts) environment() string { return filepath.Base(filepath.Dir(k.file)) }

// algorithms returns the key types to request: only that of the pinned key, since another key of the same host would look
// like a changed one.
func (k knownHosts) algorithms(h core.Host) ([]string, error) {
	pinned, err := k.pinned(h)
	if err != nil {
		return nil, err
	}
	if len(pinned) == 0 {
		key, _, _, _, err := ssh.ParseAuthorizedKey([]byte(h.HostKey))
		if err != nil || h.Given == nil {
			return anyKey, nil //nolint:nilerr // none is known
		}
		pinned = []knownhosts.KnownKey{{Key: key}} // will be
	}
	var names []string
	for _, key := range pinned {
		if key.Key.Type() == ssh.KeyAlgoRSA {
			names = append(names, ssh.KeyAlgoRSASHA512, ssh.KeyAlgoRSASHA256)
			continue
		}
		names = append(names, key.Key.Type())
	}
	return names, nil
}

// pinned returns the pinned keys of a host.
func (k knownHosts) pinned(h core.Host) ([]knownhosts.KnownKey, error) {
	check, err := k.open()
	if err != nil || check == nil {
		return nil, err
	}
	var unknown *knownhosts.KeyError
	if err := check(address(h), &net.TCPAddr{}, noKey{}); errors.As(err, &unknown) {
		return unknown.Want, nil
	}
	return nil, fmt.Errorf("read %s: %w", k.file, err)
}

// check compares a host's key with the pinned one. The first key of a host is pinned; that of a given host only if the
// manifest names it or the user's own files have it.
func (k knownHosts) check(h core.Host, key ssh.PublicKey, s settings) error {
	err := k.compare(h, key)
	if !errors.Is(err, errUnknown) {
		return err
	}
	if h.Given != nil && h.HostKey == "" && !s.trusted(h, key) {
		return &UnknownHostError{
			Host: h.Name, Address: knownhosts.Normalize(address(h)), Key: authorized(key),
			Command: fmt.Sprintf("troop hosts accept %s --env %s", h.Name, k.environment()),
		}
	}
	if want, _, _, _, err := ssh.ParseAuthorizedKey([]byte(h.HostKey)); err == nil && h.Given != nil && authorized(want) != authorized(key) {
		return &HostKeyError{
			Host: h.Name, Address: knownhosts.Normalize(address(h)), Environment: k.environment(), Got: ssh.FingerprintSHA256(key),
			Want: ssh.FingerprintSHA256(want), Written: true,
		}
	}
	unlock, err := k.lock()
	if err != nil {
		return err
	}
	defer unlock()
	if err := k.compare(h, key); !errors.Is(err, errUnknown) {
		return err // pinned by another process meanwhile
	}
	old, err := k.read()
	if err != nil {
		return err
	}
	return k.write(append(old, knownhosts.Line([]string{address(h)}, key)+"\n"...))
}

var errUnknown = errors.New("host key is not pinned yet")

func (k knownHosts) compare(h core.Host, key ssh.PublicKey) error {
	check, err := k.open()
	if err != nil {
		return err
	}
	if check == nil {
		return errUnknown
	}
	err = check(address(h), &net.TCPAddr{}, key)
	var bad *knownhosts.KeyError
	switch {
	case !errors.As(err, &bad):
		return err
	case len(bad.Want) == 0:
		return errUnknown
	}
	return &HostKeyError{
		Host: h.Name, Address: knownhosts.Normalize(address(h)), Environment: k.environment(),
		Got: ssh.FingerprintSHA256(key), Want: ssh.FingerprintSHA256(bad.Want[0].Key),
	}
}

// open returns nil if there is no file yet.
func (k knownHosts) open() (ssh.HostKeyCallback, error) {
	check, err := knownhosts.New(k.file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read pinned host keys: %w", err)
	}
	return check, nil
}

// edit replaces all keys of each address with the given one, or removes them where that is nil. It writes the file only if the content changes.
func (k knownHosts) edit(keys map[string]ssh.PublicKey) error {
	unlock, err := k.lock()
	if err != nil {
		return err
	}
	defer unlock()
	old, err := k.read()
	if err != nil {
		return err
	}
	want := map[string]string{}
	for addr, key := range keys {
		if key != nil {
			want[addr] = knownhosts.Line([]string{addr}, key)
		}
	}
	var lines []string
	for line := range strings.Lines(string(old)) {
		line = strings.TrimSuffix(line, "\n")
		name, _, _ := strings.Cut(line, " ")
		_, ours := keys[name]
		if ours && line != want[name] {
			continue
		}
		delete(want, name)
		lines = append(lines, line)
	}
	for _, addr := range slices.Sorted(maps.Keys(want)) {
		lines = append(lines, want[addr])
	}
	content := strings.Join(append(lines, ""), "\n")
	if content == string(old) {
		return nil
	}
	return k.write([]byte(content))
}

func (k knownHosts) read() ([]byte, error) {
	b, err := os.ReadFile(k.file)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("read pinned host keys: %w", err)
	}
	return b, nil
}

func (k knownHosts) write(b []byte) error {
	if err := renameio.WriteFile(k.file, b, 0o600); err != nil {
		return fmt.Errorf("pin host key: %w", err)
	}
	return nil
}

// Unpin removes the pinned keys of hosts.
func (c *Client) Unpin(hosts ...core.Host) error {
	keys := map[string]ssh.PublicKey{}
	for _, h := range hosts {
		keys[knownhosts.Normalize(address(h))] = nil
	}
	return c.known.edit(keys)
}

// lock keeps other processes from editing the file.
func (k knownHosts) lock() (unlock func(), err error) {
	l := flock.New(k.file + ".lock")
	if err := l.Lock(); err != nil {
		return nil, fmt.Errorf("lock pinned host keys: %w", err)
	}
	return func() { _ = l.Unlock() }, nil
}

// noKey matches no pinned key: the resulting error lists the pinned ones.
type noKey struct{}

func (noKey) Type() string                        { return "none" }
func (noKey) Marshal() []byte                     { return nil }
func (noKey) Verify([]byte, *ssh.Signature) error { return errors.New("no key") }

// Offered returns the key that a host presents now in authorized_keys format, of the pinned key's type if possible. It
// neither logs in nor pins the key.
func (c *Client) Offered(ctx context.Context, h core.Host) (string, error) {
	prefer, err := c.known.algorithms(h)
	if err != nil {
		return "", err
	}
	var offered ssh.PublicKey
	conn, err := c.handshake(ctx, h, &ssh.ClientConfig{
		User:              h.User,
		HostKeyAlgorithms: slices.Concat(prefer, anyKey),
		HostKeyCallback: func(_ string, _ net.Addr, key ssh.PublicKey) error {
			offered = key
			return errSeen
		},
	})
	if offered != nil {
		return strings.TrimSpace(string(ssh.MarshalAuthorizedKey(offered))), nil
	}
	if err == nil { // cannot happen: the key check always fails
		err = conn.Close()
	}
	return "", fmt.Errorf("get host key of %s: %w", h.Name, err)
}

var errSeen = errors.New("the key has been seen")

// HostKey returns the pinned key of a host in authorized_keys format.
func (c *Client) HostKey(h core.Host) (string, error) {
	keys, err := c.known.pinned(h)
	if err != nil {
		return "", err
	}
	if len(keys) == 0 {
		return "", fmt.Errorf("host key of %s: %w", h.Name, errUnknown)
	}
	return strings.TrimSpace(string(ssh.MarshalAuthorizedKey(keys[0].Key))), nil
}

// Fingerprint is the short form of a key in authorized_keys format, as OpenSSH shows it.
func Fingerprint(key string) string {
	if key == "" {
		return "none"
	}
	k, _, _, _, err := ssh.ParseAuthorizedKey([]byte(key))
	if err != nil {
		return fmt.Sprintf("(%v)", err)
	}
	return k.Type() + " " + ssh.FingerprintSHA256(k)
}
