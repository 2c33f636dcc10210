package remote_test

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/binary"
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

// server is an SSH server that runs commands with sh and forwards TCP connections.
type server struct {
	t        *testing.T
	listener net.Listener
	conf     *ssh.ServerConfig
	hostKey  ssh.PublicKey
	logins   atomic.Int32

	mu    sync.Mutex
	conns []net.Conn
}

// listen starts a server on addr with a new host key. It lets in who holds one of the keys.
func listen(t *testing.T, addr string, keys ...string) *server {
	t.Helper()
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := ssh.NewSignerFromKey(private)
	if err != nil {
		t.Fatal(err)
	}
	s := &server{t: t, hostKey: signer.PublicKey()}
	s.conf = &ssh.ServerConfig{PublicKeyCallback: func(_ ssh.ConnMetadata, key ssh.PublicKey) (*ssh.Permissions, error) {
		for _, k := range keys {
			if k == strings.TrimSpace(string(ssh.MarshalAuthorizedKey(key))) {
				return nil, nil
			}
		}
		return nil, fmt.Errorf("unknown key")
	}}
	s.conf.AddHostKey(signer)
	if s.listener, err = net.Listen("tcp", addr); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.stop)
	go s.serve()
	return s
}

func (s *server) host(name core.HostName) core.Host {
	a := s.listener.Addr().(*net.TCPAddr)
	return core.Host{Name: name, Address: "127.0.0.1", Port: a.Port, User: "root"}
}

func (s *server) stop() {
	_ = s.listener.Close()
	s.drop()
}

// drop cuts all connections.
func (s *server) drop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.conns {
		_ = c.Close()
	}
	s.conns = nil
}

func (s *server) serve() {
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
					go session(ch)
				case "direct-tcpip":
					go forward(ch)
				default:
					_ = ch.Reject(ssh.UnknownChannelType, "unknown")
				}
			}
		}()
	}
}

func session(nc ssh.NewChannel) {
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
			cmd := exec.Command("sh", "-c", string(r.Payload[4:]))
			cmd.Stdin, cmd.Stdout, cmd.Stderr = ch, ch, ch.Stderr()
			_ = cmd.Run()
			status := binary.BigEndian.AppendUint32(nil, uint32(cmd.ProcessState.ExitCode()))
			_, _ = ch.SendRequest("exit-status", false, status)
			_ = ch.Close()
		}()
	}
}

func forward(nc ssh.NewChannel) {
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
	out, err := net.Dial("tcp", net.JoinHostPort(to.Host, fmt.Sprint(to.Port)))
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
