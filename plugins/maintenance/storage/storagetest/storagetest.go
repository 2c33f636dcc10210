// Package storagetest is a storage host for tests: an SSH and SFTP server over TCP within the test's process. Only tests
// of the maintenance plugin import it.
package storagetest

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"errors"
	"io"
	"net"
	"sync/atomic"
	"testing"

	"github.com/pkg/sftp"
	"golang.org/x/crypto/ssh"

	"github.com/seed-b96de936/troop/plugins/maintenance/storage"
)

// Server is a storage host in the test: a real SSH and SFTP server over TCP, whose connections can be cut
// after some bytes.
type Server struct {
	Target storage.Target
	Cut    atomic.Int64 // bytes that a new connection reads before it is closed; 0: no limit
}

// New starts a storage host that keeps its files in dir. It ends with the test.
func New(tb testing.TB, dir string) *Server {
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
	l, err := new(net.ListenConfig).Listen(tb.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = l.Close() })
	h := &Server{Target: storage.Target{
		Address: l.Addr().String(), User: "troop-backup", Path: dir, PrivateKey: string(pem.EncodeToMemory(block)), Names: []string{"storage-1"},
		KnownHosts: "storage-1 " + string(ssh.MarshalAuthorizedKey(signer.PublicKey())),
	}}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go h.serve(&cutConn{Conn: c, left: h.Cut.Load()}, conf)
		}
	}()
	return h
}

func (h *Server) serve(c net.Conn, conf *ssh.ServerConfig) {
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

// cutConn is closed after so many bytes were read.
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
