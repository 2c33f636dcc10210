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
	"time"

	"github.com/pkg/sftp"
	"golang.org/x/crypto/ssh"

	"github.com/seed-b96de936/troop/plugins/maintenance/storage"
)

// Server is a storage host in the test: a real SSH and SFTP server over TCP, with faults.
type Server struct {
	Target   storage.Target
	Cut      atomic.Int64 // bytes that a new connection reads before it is closed; 0: no limit
	Stopped  atomic.Bool  // connections are closed at once
	Parted   atomic.Bool  // the network loses all that is sent
	Forged   atomic.Bool  // new connections see another host key
	Damaging atomic.Bool  // a byte of what is stored changes
}

// New starts a storage host that keeps its files in dir. It ends with the test.
func New(tb testing.TB, dir string) *Server {
	tb.Helper()
	signer, other := newSigner(tb), newSigner(tb)
	clientPub, clientKey, err := ed25519.GenerateKey(rand.Reader)
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
	conf := ssh.ServerConfig{PublicKeyCallback: func(_ ssh.ConnMetadata, key ssh.PublicKey) (*ssh.Permissions, error) {
		if !bytes.Equal(key.Marshal(), allowed.Marshal()) {
			return nil, errors.New("unknown key")
		}
		return nil, nil
	}}
	forged := conf
	conf.AddHostKey(signer)
	forged.AddHostKey(other)
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
			use := &conf
			if h.Forged.Load() {
				use = &forged
			}
			go h.serve(&faultyConn{Conn: c, server: h, left: h.Cut.Load()}, use)
		}
	}()
	return h
}

func (h *Server) serve(c net.Conn, conf *ssh.ServerConfig) {
	defer c.Close()
	if h.Stopped.Load() {
		return
	}
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
		s, err := sftp.NewServer(damaged{ch, h})
		if err != nil {
			return
		}
		go func() { _ = s.Serve(); _ = ch.Close() }()
	}
}

func newSigner(tb testing.TB) ssh.Signer {
	tb.Helper()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		tb.Fatal(err)
	}
	signer, err := ssh.NewSignerFromKey(key)
	if err != nil {
		tb.Fatal(err)
	}
	return signer
}

// faultyConn is closed after so many bytes were read, and stands still while the network is parted.
type faultyConn struct {
	net.Conn
	server *Server
	left   int64
}

func (c *faultyConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	for c.server.Parted.Load() && err == nil {
		time.Sleep(10 * time.Millisecond)
	}
	if c.left > 0 {
		if c.left -= int64(n); c.left <= 0 {
			return 0, errors.Join(io.ErrUnexpectedEOF, c.Close())
		}
	}
	return n, err
}

// damaged is an SFTP channel in which bytes of large packets change: only those with a file's content are large.
type damaged struct {
	ssh.Channel
	server *Server
}

func (d damaged) Read(p []byte) (int, error) {
	n, err := d.Channel.Read(p)
	if n > largePacket && d.server.Damaging.Load() {
		p[n-1] ^= 1
	}
	return n, err
}

const largePacket = 2000 // bytes; a receipt has fewer
