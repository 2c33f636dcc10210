// Package storage sends files to the storage host over SFTP, or to a bucket, reads them back and compares them. The maintenance plugin's
// agent runs it; the plugin and its packages import it.
package storage

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/pkg/sftp"
	"golang.org/x/crypto/ssh"
)

// Target says how to connect to the storage host.
type Target struct {
	Address    string // host:port
	Names      []string
	User       string
	Path       string
	PrivateKey string
	KnownHosts string // lines of a known_hosts file; only keys that are pinned there for one of Names are accepted
}

const (
	dialTimeout   = 10 * time.Second
	aliveEvery    = 5 * time.Second
	aliveTimeout  = 20 * time.Second // the connection is closed after this time without an answer
	chunkSize     = 32 << 10         // that every SFTP server takes
	chunkInFlight = 32               // written and read back at once: 1 MiB fills a link of 400 Mbit/s at 10 ms
)

// SFTP is a connection to the storage host's SFTP server. Not for concurrent use.
type SFTP struct {
	ssh    *ssh.Client
	sftp   *sftp.Client
	path   string
	cancel func()
	alive  sync.WaitGroup
}

// Connect opens a connection. It is closed, and every call on it returns, when ctx ends or the storage host stops
// answering.
func Connect(ctx context.Context, t Target) (*SFTP, error) {
	config, err := t.clientConfig()
	if err != nil {
		return nil, err
	}
	dialCtx, cancelDial := context.WithTimeout(ctx, dialTimeout)
	defer cancelDial()
	conn, err := new(net.Dialer).DialContext(dialCtx, "tcp", t.Address)
	if err != nil {
		return nil, fmt.Errorf("connect to storage host: %w", err)
	}
	if err := conn.SetDeadline(time.Now().Add(dialTimeout)); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	sc, chans, reqs, err := ssh.NewClientConn(conn, t.Address, config)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("connect to storage host %s: %w", t.Address, err), conn.Close())
	}
	if err := conn.SetDeadline(time.Time{}); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	client := ssh.NewClient(sc, chans, reqs)
	ctx, cancel := context.WithCancel(ctx)
	s := &SFTP{ssh: client, path: t.Path, cancel: cancel}
	s.alive.Go(func() { keepAlive(ctx, client) })
	s.sftp, err = sftp.NewClient(client, sftp.MaxConcurrentRequestsPerFile(chunkInFlight))
	if err != nil {
		return nil, errors.Join(fmt.Errorf("start sftp on storage host %s: %w", t.Address, err), s.Close())
	}
	return s, nil
}

func (t Target) clientConfig() (*ssh.ClientConfig, error) {
	signer, err := ssh.ParsePrivateKey([]byte(t.PrivateKey))
	if err != nil {
		return nil, fmt.Errorf("parse the storage key: %w", err)
	}
	keys, err := pinned([]byte(t.KnownHosts), append([]string{t.Address}, t.Names...))
	if err != nil {
		return nil, err
	}
	var algorithms []string
	for _, k := range keys {
		if k.Type() == ssh.KeyAlgoRSA {
			algorithms = append(algorithms, ssh.KeyAlgoRSASHA512, ssh.KeyAlgoRSASHA256)
		} else {
			algorithms = append(algorithms, k.Type())
		}
	}
	return &ssh.ClientConfig{
		Config:            ssh.Config{Ciphers: []string{ssh.CipherAES128GCM, ssh.CipherAES256GCM, ssh.CipherChaCha20Poly1305, ssh.CipherAES256CTR}},
		User:              t.User,
		Auth:              []ssh.AuthMethod{ssh.PublicKeys(signer)},
		HostKeyAlgorithms: algorithms,
		HostKeyCallback: func(_ string, _ net.Addr, key ssh.PublicKey) error {
			if slices.ContainsFunc(keys, func(k ssh.PublicKey) bool { return bytes.Equal(k.Marshal(), key.Marshal()) }) {
				return nil
			}
			return errors.New("the storage host's key is not the pinned one")
		},
	}, nil
}

// pinned returns the keys in lines of known_hosts for one of names.
func pinned(lines []byte, names []string) ([]ssh.PublicKey, error) {
	var keys []ssh.PublicKey
	for len(lines) > 0 {
		marker, hosts, key, _, rest, err := ssh.ParseKnownHosts(lines)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("parse the storage host's pinned keys: %w", err)
		}
		lines = rest
		match := slices.ContainsFunc(hosts, func(h string) bool {
			bare := strings.TrimPrefix(h, "[")
			if i := strings.LastIndex(bare, "]:"); i >= 0 {
				bare = bare[:i] + ":" + bare[i+2:]
			}
			host, _, err := net.SplitHostPort(bare)
			return slices.Contains(names, bare) || err == nil && slices.Contains(names, host)
		})
		if marker == "" && match {
			keys = append(keys, key)
		}
	}
	if len(keys) == 0 {
		return nil, fmt.Errorf("no key is pinned for the storage host (%s)", strings.Join(names, ", "))
	}
	return keys, nil
}

// keepAlive closes the connection when ctx ends or the other side stops answering: a partition does not close a TCP
// connection.
func keepAlive(ctx context.Context, client *ssh.Client) {
	defer client.Close()
	tick := time.NewTicker(aliveEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		answer := make(chan error, 1)
		go func() {
			_, _, err := client.SendRequest("keepalive@openssh.com", true, nil)
			answer <- err
		}()
		select {
		case <-ctx.Done():
			return
		case err := <-answer:
			if err != nil {
				return
			}
		case <-time.After(aliveTimeout):
			return
		}
	}
}

// Close closes the connection. Twice is harmless.
func (s *SFTP) Close() error {
	s.cancel()
	if s.sftp != nil {
		_ = s.sftp.Close() // all data was synced
	}
	_ = s.ssh.Close() // as above
	s.alive.Wait()
	return nil
}

func (s *SFTP) full(name string) string { return path.Join(s.path, name) }

// Put stores src under a name that is not taken yet: the error for another one is fs.ErrExist. The storage host lets nothing
// be changed, renamed or removed, so what a lost connection leaves there is half a file without a receipt.
func (s *SFTP) Put(name string, src io.Reader, back io.Writer) error {
	full := s.full(name)
	if _, err := s.sftp.Lstat(full); err == nil {
		return fmt.Errorf("create %s on storage host: %w", name, fs.ErrExist)
	}
	f, err := s.sftp.OpenFile(full, os.O_RDWR|os.O_CREATE|os.O_EXCL)
	if err != nil {
		return fmt.Errorf("create %s on storage host: %w", name, err)
	}
	err = pieces(back, src, chunkSize, chunkInFlight, func(at int64, chunk, _ []byte) ([]byte, error) {
		if _, err := f.WriteAt(chunk, at); err != nil {
			return nil, err
		}
		n, err := f.ReadAt(chunk, at)
		if errors.Is(err, io.EOF) { // less than was written: what is compared differs
			err = nil
		}
		return chunk[:n], err
	})
	if _, can := s.sftp.HasExtension("fsync@openssh.com"); can && err == nil {
		err = f.Sync()
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("write %s on storage host: %w", name, err)
	}
	return nil
}

// Names returns the names of all stored files.
func (s *SFTP) Names() ([]string, error) {
	files, err := s.sftp.ReadDir(s.path)
	if err != nil {
		return nil, fmt.Errorf("list the files on storage host: %w", err)
	}
	names := make([]string, 0, len(files))
	for _, f := range files {
		names = append(names, f.Name())
	}
	return names, nil
}

// Get writes a stored file to dst.
func (s *SFTP) Get(name string, dst io.Writer) error {
	f, err := s.sftp.Open(s.full(name))
	if err != nil {
		return fmt.Errorf("open %s on storage host: %w", name, err)
	}
	_, err = f.WriteTo(dst)
	if err := errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("read %s on storage host: %w", name, err)
	}
	return nil
}

// fullBelow is the number of free bytes below which the storage host counts as full.
const fullBelow = 16 << 20

// quotaFile is beside the folder of the files while the storage host takes no more of this host; it says why. The role
// storage writes it.
const quotaFile = "../full.txt"

// removedFile is beside the folder of the files: it lists the IDs of old backups that the storage host has removed. The
// role storage writes it; the host cannot.
const removedFile = "../removed.txt"

// Removed returns the IDs of the backups that the storage host has removed because they were old.
func (s *SFTP) Removed([]Receipt) ([]string, error) {
	var list limited
	if err := s.Get(removedFile, &list); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	return strings.Fields(list.String()), nil
}

// Full says why the storage host has no space for this host, and what to do; empty: it has, or that is not known.
func (s *SFTP) Full() string {
	var why limited
	if s.Get(quotaFile, &why) == nil {
		return strings.TrimSpace(why.String()) + "; raise storage_quota among the variables of the environment's ansible block, or remove old backups there"
	}
	if v, err := s.sftp.StatVFS(s.path); err == nil && v.Frsize*v.Bavail < fullBelow {
		return "its disk is full; give it a larger one, or remove old backups there"
	}
	return ""
}
