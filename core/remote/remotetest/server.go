// Package remotetest is an SSH server for tests. It runs in the test's process, runs commands with sh on this machine and
// forwards TCP connections.
package remotetest

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"golang.org/x/crypto/ssh"

	"github.com/seed-b96de936/troop/core"
)

// Server is a running server.
type Server struct {
	HostKey string // authorized_keys format
	// Command, if set, rewrites a command before it runs, for example its folders.
	Command func(string) string
	// Forward, if set, rewrites the target address of a forwarded connection.
	Forward func(addr string) string

	ctx      context.Context // of the test
	listener net.Listener
	conf     *ssh.ServerConfig
	logins   atomic.Int32

	mu    sync.Mutex
	conns []net.Conn
}

// Listen starts a server with a new host key on addr (host:port). It accepts clients with one of the keys and stops at
// the end of the test.
func Listen(t *testing.T, addr string, keys ...string) *Server {
	t.Helper()
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := ssh.NewSignerFromKey(private)
	if err != nil {
		t.Fatal(err)
	}
	s := &Server{ctx: t.Context(), HostKey: strings.TrimSpace(string(ssh.MarshalAuthorizedKey(signer.PublicKey())))}
	s.conf = &ssh.ServerConfig{PublicKeyCallback: func(_ ssh.ConnMetadata, key ssh.PublicKey) (*ssh.Permissions, error) {
		for _, k := range keys {
			if k == strings.TrimSpace(string(ssh.MarshalAuthorizedKey(key))) {
				return nil, nil
			}
		}
		return nil, errors.New("unknown key")
	}}
	s.conf.AddHostKey(signer)
	if s.listener, err = new(net.ListenConfig).Listen(t.Context(), "tcp", addr); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Stop)
	go s.serve()
	return s
}

// Host returns the server as a host of an environment.
func (s *Server) Host(name core.HostName) core.Host {
	a := s.listener.Addr().(*net.TCPAddr)
	return core.Host{Name: name, Address: "127.0.0.1", Port: a.Port, User: "root"}
}

// Logins returns the number of accepted connections.
func (s *Server) Logins() int { return int(s.logins.Load()) }

// Stop stops the server and closes its connections.
func (s *Server) Stop() {
	_ = s.listener.Close()
	s.Drop()
}

// Drop closes all connections.
func (s *Server) Drop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.conns {
		_ = c.Close()
	}
	s.conns = nil
}

func (s *Server) serve() {
	for {
		c, err := s.listener.Accept()
		if err != nil {
			return
		}
		s.mu.Lock()
		s.conns = append(s.conns, c)
		s.mu.Unlock()
		go func() {
			_, channels, requests, err := ssh.NewServerConn(c, s.conf)
			if err != nil {
				return
			}
			s.logins.Add(1)
			go ssh.DiscardRequests(requests)
			for ch := range channels {
				switch ch.ChannelType() {
				case "session":
					go s.session(ch)
				case "direct-tcpip":
					go s.forward(ch)
				default:
					_ = ch.Reject(ssh.UnknownChannelType, "unknown")
				}
			}
		}()
	}
}

func (s *Server) session(nc ssh.NewChannel) {
	ch, requests, err := nc.Accept()
	if err != nil {
		return
	}
	for r := range requests {
		if r.Type != "exec" {
			_ = r.Reply(false, nil)
			continue
		}
		_ = r.Reply(true, nil)
		go func() {
			command := string(r.Payload[4:])
			if s.Command != nil {
				command = s.Command(command)
			}
			cmd := exec.CommandContext(s.ctx, "sh", "-c", command)
			cmd.Stdin, cmd.Stdout, cmd.Stderr = ch, ch, ch.Stderr()
			_ = cmd.Run()
			status := binary.BigEndian.AppendUint32(nil, uint32(cmd.ProcessState.ExitCode()))
			_, _ = ch.SendRequest("exit-status", false, status)
			_ = ch.Close()
		}()
	}
}

func (s *Server) forward(nc ssh.NewChannel) {
	var to struct {
		Host  string
		Port  uint32
		Host2 string
		Port2 uint32
	}
	if err := ssh.Unmarshal(nc.ExtraData(), &to); err != nil {
		_ = nc.Reject(ssh.ConnectionFailed, err.Error())
		return
	}
	addr := net.JoinHostPort(to.Host, fmt.Sprint(to.Port))
	if s.Forward != nil {
		addr = s.Forward(addr)
	}
	out, err := new(net.Dialer).DialContext(s.ctx, "tcp", addr)
	if err != nil {
		_ = nc.Reject(ssh.ConnectionFailed, err.Error())
		return
	}
	ch, requests, err := nc.Accept()
	if err != nil {
		return
	}
	go ssh.DiscardRequests(requests)
	go func() { _, _ = io.Copy(out, ch); _ = out.Close() }()
	_, _ = io.Copy(ch, out)
	_ = ch.Close()
}
