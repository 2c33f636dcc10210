package environment

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/seed-b96de936/troop/core/remote"
)

// secrets are made once per environment and stored only in its folder and on the hosts that need them.
type secrets struct {
	RedisPassword     string `json:"redis_password"`
	StoragePrivateKey string `json:"storage_private_key"` // hosts send backups with it
	StoragePublicKey  string `json:"storage_public_key"`
}

// values lists the values to mask in all output.
func (s secrets) values() []string { return []string{s.RedisPassword, s.StoragePrivateKey} }

func (e *Environment) secretsFile() string { return filepath.Join(e.dir, "secrets.json") }

// secrets reads the environment's secrets, or makes them. Processes that make them at the same time get the same ones.
func (e *Environment) secrets() (secrets, error) {
	s, err := readSecrets(e.secretsFile())
	if !errors.Is(err, fs.ErrNotExist) {
		return s, err
	}
	s.RedisPassword = rand.Text()
	s.StoragePrivateKey, s.StoragePublicKey, err = remote.NewKey("troop backups")
	if err != nil {
		return s, err
	}
	data, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return s, err
	}
	if err := writeFirst(e.secretsFile(), data); err != nil {
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
