package main

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/pkg/sftp"
	"golang.org/x/crypto/ssh"
)

// sftpHost is a storage host within the test: a real SSH and SFTP server over TCP, whose connections can be cut
// after some bytes.
type sftpHost struct {
	target target
	cut    atomic.Int64 // bytes that a connection takes before it ends; 0: no end
}

func newSFTPHost(tb testing.TB, dir string) *sftpHost {
	tb.Helper()
	_, hostKey, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		tb.Fatal(err)
	}
	clientPub, clientKey, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		tb.Fatal(err)
	}
	signer, err := ssh.NewSignerFromKey(hostKey)
	if err != nil {
		tb.Fatal(err)
	}
	allowed, err := ssh.NewPublicKey(clientPub)
	if err != nil {
		tb.Fatal(err)
	}
	block, err := ssh.MarshalPrivateKey(clientKey, "")
	if err != nil {
		tb.Fatal(err)
	}
	conf := &ssh.ServerConfig{PublicKeyCallback: func(_ ssh.ConnMetadata, key ssh.PublicKey) (*ssh.Permissions, error) {
		if !bytes.Equal(key.Marshal(), allowed.Marshal()) {
			return nil, errors.New("unknown key")
		}
		return nil, nil
	}}
	conf.AddHostKey(signer)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = l.Close() })
	h := &sftpHost{target: target{
		address: l.Addr().String(), user: "troop-backup", path: dir, privateKey: string(pem.EncodeToMemory(block)), names: []string{"storage-1"},
		knownHosts: "storage-1 " + string(ssh.MarshalAuthorizedKey(signer.PublicKey())),
	}}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go h.serve(&cutConn{Conn: c, left: h.cut.Load()}, conf)
		}
	}()
	return h
}

func (h *sftpHost) serve(c net.Conn, conf *ssh.ServerConfig) {
	defer c.Close()
	conn, chans, reqs, err := ssh.NewServerConn(c, conf)
	if err != nil {
		return
	}
	defer conn.Close()
	go ssh.DiscardRequests(reqs)
	for nc := range chans {
		ch, reqs, err := nc.Accept()
		if err != nil {
			return
		}
		go func() {
			for r := range reqs {
				_ = r.Reply(r.Type == "subsystem", nil)
			}
		}()
		s, err := sftp.NewServer(ch)
		if err != nil {
			return
		}
		go func() { _ = s.Serve(); _ = ch.Close() }()
	}
}

// cutConn ends after it has read so many bytes.
type cutConn struct {
	net.Conn
	left int64
}

func (c *cutConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if c.left > 0 {
		if c.left -= int64(n); c.left <= 0 {
			return 0, errors.Join(io.ErrUnexpectedEOF, c.Close())
		}
	}
	return n, err
}

// noise is content that does not compress.
func noise(tb testing.TB, n int) []byte {
	tb.Helper()
	b := make([]byte, n)
	if _, err := rand.Read(b); err != nil {
		tb.Fatal(err)
	}
	return b
}

func TestStorage(t *testing.T) {
	for _, compress := range []string{"zstd", "none"} {
		t.Run(compress, func(t *testing.T) {
			dir := t.TempDir()
			h := newSFTPHost(t, filepath.Join(dir, "storage"))
			content := append(noise(t, 3<<20), longLog...)
			file := filepath.Join(dir, "app.log")
			if err := os.WriteFile(file, content, 0o600); err != nil {
				t.Fatal(err)
			}
			f, err := os.Open(file)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = f.Close() })

			h.cut.Store(1 << 20)
			s, err := connect(t.Context(), h.target)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := send(s, f, "web-1/app/x", compress); err == nil {
				t.Error("a connection that ended in the middle stored the file")
			}
			_ = s.Close()
			if _, err := os.Stat(filepath.Join(h.target.path, "web-1/app/x")); err == nil {
				t.Error("half a file has its whole name")
			}

			h.cut.Store(0)
			s, err = connect(t.Context(), h.target)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = s.Close() })
			sent, err := send(s, f, "web-1/app/x", compress)
			if err != nil {
				t.Fatal(err)
			}
			var back bytes.Buffer
			if err := fetch(s, sent, &back); err != nil || !bytes.Equal(back.Bytes(), content) {
				t.Errorf("read back %d bytes: %v", back.Len(), err)
			}
			if free, known := s.Free(); !known || free == 0 {
				t.Errorf("free space %d, known %v", free, known)
			}
			stored := filepath.Join(h.target.path, "web-1/app/x")
			b, err := os.ReadFile(stored)
			if err != nil {
				t.Fatal(err)
			}
			for name, damaged := range map[string][]byte{
				"cut off":   b[:len(b)-1],
				"a byte":    slices.Concat(b[:1000], []byte{b[1000] ^ 1}, b[1001:]),
				"longer":    append(slices.Clone(b), 0),
				"all of it": nil,
			} {
				if err := os.WriteFile(stored, damaged, 0o600); err != nil {
					t.Fatal(err)
				}
				if err := fetch(s, sent, io.Discard); !errors.Is(err, errMismatch) {
					t.Errorf("%s: %v, want a mismatch", name, err)
				}
			}
		})
	}
}

func TestStorageIdentity(t *testing.T) {
	h := newSFTPHost(t, t.TempDir())
	other := newSFTPHost(t, t.TempDir())
	for name, test := range map[string]struct {
		change func(x *target)
		want   string
	}{
		"another host's key": {func(x *target) { x.knownHosts = other.target.knownHosts }, "not the pinned one"},
		"no key for it":      {func(x *target) { x.names = []string{"storage-2"} }, "no key is pinned"},
		"our key is unknown": {func(x *target) { x.privateKey = other.target.privateKey }, "unable to authenticate"},
		"no key of ours":     {func(x *target) { x.privateKey = "" }, "parse the storage key"},
	} {
		t.Run(name, func(t *testing.T) {
			x := h.target
			test.change(&x)
			s, err := connect(t.Context(), x)
			if err == nil {
				_ = s.Close()
				t.Fatal("connected")
			}
			if !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want it to say %q", err, test.want)
			}
		})
	}
}

// TestPartition has a storage host that takes everything and never answers: the context ends the wait.
func TestPartition(t *testing.T) {
	h := newSFTPHost(t, t.TempDir())
	ctx, cancel := context.WithCancel(t.Context())
	s, err := connect(ctx, h.target)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	cancel()
	if err := s.Get("x", io.Discard); err == nil {
		t.Error("no error after the context ended")
	}
}
