package remote

import (
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

const keyFile = "ssh_key"

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
