package remote

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/crypto/ssh"

	"github.com/seed-b96de936/troop/core"
)

type keyPair struct {
	file   string // private half
	public string // authorized_keys format
	signer ssh.Signer
}

// PublicKey returns the public key in an environment's folder in authorized_keys format, or "" if there is none yet. It
// makes no key.
func PublicKey(dir string) (string, error) {
	b, err := os.ReadFile(filepath.Join(dir, keyFile+".pub"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("read SSH key: %w", err)
	}
	return string(b), nil
}

// The files of an environment's keys. Hosts are made with the first one; after a rotation, a configuration puts the
// present one in its place.
const (
	keyFile     = "ssh_key"
	presentFile = "ssh_key.present"
	formerFile  = "ssh_key.former" // the present one before: some hosts may not have the new one yet
)

// ErrUnsettled says that not all hosts have the key of the last rotation.
var ErrUnsettled = errors.New("the SSH key of the last rotation is not on all hosts yet")

// Rotate makes a new key in an environment's folder, which a configuration puts on the hosts. The earlier ones are kept, and
// tried after it; the one before until Settle. A crash leaves a key that the hosts admit.
func Rotate(dir string) error {
	present, former, next := filepath.Join(dir, presentFile), filepath.Join(dir, formerFile), filepath.Join(dir, ".ssh_key.next")
	err := makeKey(next)
	if err == nil {
		err = os.Link(present, former)
	}
	if errors.Is(err, fs.ErrNotExist) {
		err = os.Link(filepath.Join(dir, keyFile), former)
	}
	if errors.Is(err, fs.ErrExist) {
		return ErrUnsettled
	}
	if err == nil {
		err = os.Rename(next, present)
	}
	if err != nil {
		return fmt.Errorf("rotate SSH key: %w", err)
	}
	return nil
}

// Settle removes the key before the newest one, when each of the hosts admits this one. Without such a key it does
// nothing.
func (c *Client) Settle(ctx context.Context, hosts []core.Host) error {
	former := filepath.Join(filepath.Dir(c.key.file), formerFile)
	if _, err := os.Stat(former); err != nil {
		return nil
	}
	newest := c
	if len(c.later) > 0 {
		newest = &Client{key: c.later[0], known: c.known, patience: c.patience, conns: map[string]*conn{}, given: map[string]settings{}, alone: true}
		defer func() { _ = newest.Close() }()
	}
	var errs []error
	for _, h := range hosts {
		if _, err := newest.Run(ctx, h, "true", nil); err != nil {
			errs = append(errs, fmt.Errorf("%s does not admit the new SSH key, so that the earlier one stays; does its playbook have the role base? %w", h.Name, err))
		}
	}
	if len(errs) > 0 {
		return errors.Join(errs...)
	}
	return os.Remove(former)
}

// rotated reads the keys that were made after the first one, the newest first.
func rotated(dir string, first keyPair) ([]keyPair, error) {
	var keys []keyPair
	for _, name := range []string{presentFile, formerFile} {
		k := keyPair{file: filepath.Join(dir, name)}
		raw, err := os.ReadFile(k.file)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err == nil {
			k.signer, err = ssh.ParsePrivateKey(raw)
		}
		if err != nil {
			return nil, fmt.Errorf("open SSH key %s: %w", k.file, err)
		}
		k.public = authorized(k.signer.PublicKey())
		if k.public != first.public && (len(keys) == 0 || keys[0].public != k.public) {
			keys = append(keys, k)
		}
	}
	return keys, nil
}

// openKey reads dir/ssh_key, or makes it. Processes that make it at the same time get the same key.
func openKey(dir string) (keyPair, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return keyPair{}, fmt.Errorf("open SSH key: %w", err)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return keyPair{}, fmt.Errorf("open SSH key: %w", err)
	}
	k := keyPair{file: filepath.Join(dir, keyFile)}
	raw, err := os.ReadFile(k.file)
	if errors.Is(err, fs.ErrNotExist) {
		if err := makeKey(k.file); err != nil {
			return keyPair{}, fmt.Errorf("make SSH key: %w", err)
		}
		raw, err = os.ReadFile(k.file)
	}
	if err != nil {
		return keyPair{}, fmt.Errorf("open SSH key: %w", err)
	}
	if k.signer, err = ssh.ParsePrivateKey(raw); err != nil {
		return keyPair{}, fmt.Errorf("open SSH key %s: %w; if you remove the file, a new key is made, which the hosts do not accept", k.file, err)
	}
	k.public = authorized(k.signer.PublicKey())
	if err := os.WriteFile(k.file+".pub", []byte(k.public+"\n"), 0o644); err != nil {
		return keyPair{}, fmt.Errorf("open SSH key: %w", err)
	}
	return k, nil
}

// makeKey writes a new private key to path unless one exists.
func makeKey(path string) error {
	private, _, err := NewKey("troop")
	if err != nil {
		return err
	}
	tmp, err := os.CreateTemp(filepath.Dir(path), ".ssh_key-*") // mode 0600
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(tmp.Name()) }()
	_, err = tmp.WriteString(private)
	if err := errors.Join(err, tmp.Sync(), tmp.Close()); err != nil {
		return err
	}
	if err := os.Link(tmp.Name(), path); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return nil
}

// NewKey makes an ed25519 key pair: the private key in OpenSSH format, the public key in authorized_keys format.
func NewKey(comment string) (private, public string, err error) {
	pub, priv, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return "", "", err
	}
	block, err := ssh.MarshalPrivateKey(priv, comment)
	if err != nil {
		return "", "", err
	}
	sshPub, err := ssh.NewPublicKey(pub)
	if err != nil {
		return "", "", err
	}
	return string(pem.EncodeToMemory(block)), authorized(sshPub), nil
}

// KeyOf is the ed25519 key pair of a seed of 32 bytes, always as the same text: the private key in PKCS #8, the public key in
// authorized_keys format.
func KeyOf(seed []byte) (private, public string, err error) {
	key := ed25519.NewKeyFromSeed(seed)
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return "", "", err
	}
	pub, err := ssh.NewPublicKey(key.Public())
	if err != nil {
		return "", "", err
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})), authorized(pub), nil
}

func authorized(k ssh.PublicKey) string {
	return strings.TrimSpace(string(ssh.MarshalAuthorizedKey(k)))
}
