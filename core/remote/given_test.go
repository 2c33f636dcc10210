package remote_test

import (
	"crypto/ed25519"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"

	"github.com/seed-b96de936/troop/core"
	"github.com/seed-b96de936/troop/core/remote"
	"github.com/seed-b96de936/troop/core/remote/remotetest"
)

// user is somebody with an SSH configuration, a key and an agent with another key.
type user struct {
	dir                 string
	public, held        string // in authorized_keys format
	knownHosts, keyFile string
}

// newUser puts a program ssh that reads the user's configuration first into PATH.
func newUser(t *testing.T) *user {
	t.Helper()
	real, err := exec.LookPath("ssh")
	if err != nil {
		t.Fatal(err)
	}
	u := &user{dir: t.TempDir()}
	u.knownHosts, u.keyFile = filepath.Join(u.dir, "known_hosts"), filepath.Join(u.dir, "id")
	u.write(t, "ssh", fmt.Sprintf("#!/bin/sh\ncase \" $* \" in *' -F '*) exec %[1]s \"$@\";; esac\nexec %[1]s -F %s/config \"$@\"\n", real, u.dir))
	private, public, err := remote.NewKey("user")
	if err != nil {
		t.Fatal(err)
	}
	u.write(t, "id", private)
	u.public = public
	u.configure(t, "")
	t.Setenv("PATH", u.dir+":"+os.Getenv("PATH"))
	t.Setenv("SSH_AUTH_SOCK", u.agent(t))
	return u
}

func (u *user) write(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(u.dir, name), []byte(text), 0o700); err != nil {
		t.Fatal(err)
	}
}

func (u *user) configure(t *testing.T, lines string) {
	t.Helper()
	u.write(t, "config", lines+fmt.Sprintf("\nHost *\n  IdentityFile %s\n  UserKnownHostsFile %s\n", u.keyFile, u.knownHosts))
}

func (u *user) agent(t *testing.T) string {
	t.Helper()
	_, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := ssh.NewSignerFromKey(private)
	if err != nil {
		t.Fatal(err)
	}
	u.held = strings.TrimSpace(string(ssh.MarshalAuthorizedKey(signer.PublicKey())))
	ring := agent.NewKeyring()
	if err := ring.Add(agent.AddedKey{PrivateKey: private}); err != nil {
		t.Fatal(err)
	}
	socket := filepath.Join(u.dir, "agent")
	l, err := new(net.ListenConfig).Listen(t.Context(), "unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() { _ = agent.ServeAgent(ring, c) }()
		}
	}()
	return socket
}

// given is a server that the manifest names.
func given(s *remotetest.Server, name core.HostName) core.Host {
	h := s.Host(name)
	h.Given = &core.Given{}
	return h
}

func TestGivenHostsAreReachedAsTheUserSays(t *testing.T) {
	u := newUser(t)
	for name, key := range map[string]string{"a file": u.public, "the agent": u.held} {
		t.Run(name, func(t *testing.T) {
			c := client(t)
			s := remotetest.Listen(t, "127.0.0.1:0", key)
			h := given(s, "web-1")
			h.HostKey = s.HostKey
			if out, err := c.Run(t.Context(), h, "echo here", nil); err != nil || string(out) != "here\n" {
				t.Fatalf("%q, %v", out, err)
			}
			line, err := c.Command(t.Context(), h, nil, "echo", "here")
			if err != nil {
				t.Fatal(err)
			}
			if out, err := exec.CommandContext(t.Context(), line[0], line[1:]...).CombinedOutput(); err != nil || !strings.Contains(string(out), "here\n") {
				t.Errorf("%v: %v\n%s", line, err, out)
			}
		})
	}
}

func TestGivenHostsBehindAJumpHost(t *testing.T) {
	u := newUser(t)
	jump, s := remotetest.Listen(t, "127.0.0.1:0", u.public), remotetest.Listen(t, "127.0.0.1:0", u.public)
	u.write(t, "known_hosts", fmt.Sprintf("[127.0.0.1]:%d %s\n", jump.Host("").Port, jump.HostKey))
	h := given(s, "web-1")
	h.HostKey = s.HostKey
	h.Jump = fmt.Sprintf("root@127.0.0.1:%d", jump.Host("").Port)
	for name, host := range map[string]core.Host{"of the manifest": h, "of the configuration": func() core.Host {
		u.configure(t, fmt.Sprintf("Match host localhost\n  ProxyJump %s\n", h.Jump))
		other := h
		other.Address, other.Given = "localhost", &core.Given{}
		return other
	}()} {
		t.Run(name, func(t *testing.T) {
			c, before := client(t), jump.Logins()
			if out, err := c.Run(t.Context(), host, "echo here", nil); err != nil || string(out) != "here\n" || jump.Logins() == before {
				t.Fatalf("%q, %v, %d logins at the jump host", out, err, jump.Logins()-before)
			}
			line, err := c.Command(t.Context(), host, nil, "echo", "here")
			if err != nil {
				t.Fatal(err)
			}
			if out, err := exec.CommandContext(t.Context(), line[0], line[1:]...).CombinedOutput(); err != nil || !strings.Contains(string(out), "here\n") {
				t.Errorf("%v: %v\n%s", line, err, out)
			}
		})
	}
	t.Run("that does not answer", func(t *testing.T) {
		jump.Stop()
		err := client(t).Wait(t.Context(), []core.Host{h}, time.Second, nil)
		if err == nil || !strings.Contains(err.Error(), "cannot be reached through its jump host: ") || !strings.Contains(err.Error(), "Connection refused") {
			t.Error(err)
		}
	})
}

func TestTheKeyOfAGivenHost(t *testing.T) {
	u := newUser(t)
	s, other := remotetest.Listen(t, "127.0.0.1:0", u.public), remotetest.Listen(t, "127.0.0.1:0", u.public)
	h := given(s, "web-1")
	connect := func(h core.Host) error {
		c := client(t)
		_, err := c.Run(t.Context(), h, "true", nil)
		return err
	}
	unknown, ok := errors.AsType[*remote.UnknownHostError](connect(h))
	if !ok || unknown.Key != s.HostKey || !strings.Contains(unknown.Error(), "troop hosts accept web-1 --env ") {
		t.Errorf("a key that nobody knows: %v", unknown)
	}
	said := h
	said.HostKey = other.HostKey
	if err := connect(said); err == nil || !strings.Contains(err.Error(), "the manifest says SHA256:") {
		t.Errorf("another key than the manifest's: %v", err)
	}
	u.write(t, "known_hosts", fmt.Sprintf("[127.0.0.1]:%d %s\n", h.Port, s.HostKey))
	if err := connect(h); err != nil {
		t.Errorf("a key that the user knows: %v", err)
	}
}

// A host that Terraform made is reached through what its module says, with the environment's key and no other.
func TestHostsBehindOthers(t *testing.T) {
	u := newUser(t)
	jump := remotetest.Listen(t, "127.0.0.1:0", u.public)
	u.write(t, "known_hosts", fmt.Sprintf("[127.0.0.1]:%d %s\n", jump.Host("").Port, jump.HostKey))
	c := client(t)
	s := remotetest.Listen(t, "127.0.0.1:0", c.PublicKey())
	through := s.Host("web-1")
	through.Jump = fmt.Sprintf("root@127.0.0.1:%d", jump.Host("").Port)
	session := s.Host("web-2")
	session.User, session.SSM = "admin", &core.Session{Instance: "i-0123456789abcdef0", Region: "eu-central-1"}
	// A stand-in for the AWS command line, which needs an account.
	u.write(t, "aws", fmt.Sprintf("#!/bin/sh\ntest \"$*\" = 'ssm start-session --region eu-central-1 --target i-0123456789abcdef0 --document-name AWS-StartSSHSession --parameters portNumber=%d' &&\nexec ssh -W 127.0.0.1:%[1]d %s\n", session.Port, "ssh://"+through.Jump))
	for _, h := range []core.Host{through, session} {
		before := jump.Logins()
		if out, err := c.Run(t.Context(), h, "echo here", nil); err != nil || string(out) != "here\n" || jump.Logins() == before {
			t.Fatalf("%s: %q, %v, %d logins at the jump host", h.Name, out, err, jump.Logins()-before)
		}
		line, err := c.Command(t.Context(), h, nil, "echo", "here")
		if err != nil {
			t.Fatal(err)
		}
		if out, err := exec.CommandContext(t.Context(), line[0], line[1:]...).CombinedOutput(); err != nil || !strings.Contains(string(out), "here\n") {
			t.Errorf("%v: %v\n%s", line, err, out)
		}
	}
	u.write(t, "aws", "#!/bin/sh\necho 'An error occurred (TargetNotConnected)' >&2\nexit 254\n")
	err := client(t).Wait(t.Context(), []core.Host{session}, time.Second, nil)
	if err == nil || !strings.Contains(err.Error(), "cannot be reached through AWS Systems Manager: An error occurred (TargetNotConnected); this machine needs") {
		t.Error(err)
	}
}

// Waiting mends none of this.
func TestGivenHostsRefuseAtOnce(t *testing.T) {
	u := newUser(t)
	locked := remotetest.Listen(t, "127.0.0.1:0")
	sudo := remotetest.Listen(t, "127.0.0.1:0", u.public)
	u.write(t, "sudo", "#!/bin/sh\necho 'sudo: a password is required' >&2\nexit 1\n")
	c := client(t)
	refuses, asks := given(locked, "web-1"), given(sudo, "web-2")
	for _, h := range []*core.Host{&refuses, &asks} {
		h.User = "deploy"
	}
	refuses.HostKey, asks.HostKey = locked.HostKey, sudo.HostKey
	for want, h := range map[string]core.Host{
		"to ~deploy/.ssh/authorized_keys there: " + c.PublicKey():                                         refuses,
		"(a password is required); as root there: echo 'deploy ALL=(ALL) NOPASSWD: ALL' > /etc/sudoers.d": asks,
	} {
		err := c.Wait(t.Context(), []core.Host{h}, time.Hour, nil) // the test's own timeout is the limit
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v\nwant: %s", err, want)
		}
	}
}
