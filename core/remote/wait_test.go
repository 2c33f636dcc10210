package remote_test

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/seed-b96de936/troop/core"
	"github.com/seed-b96de936/troop/core/remote"
	"github.com/seed-b96de936/troop/core/remote/remotetest"
)

// closed returns a host on a port on which nobody listens.
func closed(t *testing.T, name core.HostName) core.Host {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := l.Addr().(*net.TCPAddr).Port
	_ = l.Close()
	return core.Host{Name: name, Address: "127.0.0.1", Port: port, User: "root"}
}

func TestWaitTellsTheStateAgain(t *testing.T) {
	c := client(t)
	c.Hurry(30 * time.Millisecond)
	late := closed(t, "late")
	up := remotetest.Listen(t, "127.0.0.1:0", c.PublicKey())
	var told []remote.Waiting
	started := false
	err := c.Wait(t.Context(), []core.Host{up.Host("up"), late}, time.Minute, func(w remote.Waiting) {
		if w.Host == "up" {
			return
		}
		told = append(told, w)
		if due(told) == 3 && !started { // it was told again, and comes now
			started = true
			remotetest.Listen(t, fmt.Sprintf("127.0.0.1:%d", late.Port), c.PublicKey())
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	if told[0].Due || !strings.HasPrefix(told[0].State, "refuses connections to 127.0.0.1:") {
		t.Errorf("first told: %+v", told[0])
	}
	if told[1].State != told[0].State+" (since 0s)" || !told[1].Due {
		t.Errorf("then told: %+v", told[1])
	}
	if last := told[len(told)-1]; !strings.HasPrefix(last.State, "answers after") || !last.Due {
		t.Errorf("last told: %+v", last)
	}
}

func due(all []remote.Waiting) int {
	n := 0
	for _, w := range all {
		if w.Due {
			n++
		}
	}
	return n
}

func TestWaitEndsWhereItCannotHelp(t *testing.T) {
	c := client(t)
	c.Hurry(time.Minute, time.Millisecond, time.Millisecond)
	stranger := remotetest.Listen(t, "127.0.0.1:0")
	replaced := remotetest.Listen(t, "127.0.0.1:0", c.PublicKey()).Host("replaced")
	replaced.HostKey = stranger.HostKey
	if err := c.Pin([]core.Host{replaced}); err != nil {
		t.Fatal(err)
	}
	rsa := replaced
	rsa.Name, rsa.Address = "rsa", "localhost"
	rsa.HostKey = rsaKey
	if err := c.Pin([]core.Host{rsa}); err != nil {
		t.Fatal(err)
	}
	for name, x := range map[string]struct {
		host core.Host
		want []string
	}{
		"key refused":          {stranger.Host("stranger"), []string{"refuses the key of the environment for the user root 3 times within", "is root the right user", c.KeyFile() + ".pub"}},
		"host key differs":     {replaced, []string{"host key of replaced", "troop hosts accept replaced --env"}},
		"host key of no kind":  {rsa, []string{"no host key of the pinned type", "troop hosts accept rsa --env"}},
		"another host is late": {stranger.Host("stranger"), []string{"wait for SSH on late", "not waited for any longer: refuses connections"}},
	} {
		t.Run(name, func(t *testing.T) {
			hosts := []core.Host{x.host, closed(t, "late")}
			err := c.Wait(t.Context(), hosts, time.Hour, nil) // the test's own timeout is the limit
			for _, want := range x.want {
				if err == nil || !strings.Contains(err.Error(), want) {
					t.Errorf("%v\nwant: %s", err, want)
				}
			}
		})
	}
}

func TestWaitEndsAtDamagedPins(t *testing.T) {
	c := client(t)
	if err := os.WriteFile(c.KnownHostsFile(), []byte("rubbish\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	s := remotetest.Listen(t, "127.0.0.1:0", c.PublicKey())
	if err := c.Wait(t.Context(), []core.Host{s.Host("web-1")}, time.Hour, nil); err == nil || !strings.Contains(err.Error(), "known_hosts") {
		t.Errorf("err = %v", err)
	}
}

// A host may be right and take its key late.
func TestWaitForTheKey(t *testing.T) {
	c := client(t)
	c.Hurry(time.Minute, time.Millisecond, time.Millisecond)
	stranger := remotetest.Listen(t, "127.0.0.1:0")
	h := stranger.Host("web-1")
	err := c.Wait(t.Context(), []core.Host{h}, time.Minute, func(w remote.Waiting) {
		if strings.HasPrefix(w.State, "refuses the key") {
			stranger.Stop()
			s := remotetest.Listen(t, fmt.Sprintf("127.0.0.1:%d", h.Port), c.PublicKey())
			h.HostKey = s.HostKey
			if err := c.Pin([]core.Host{h}); err != nil {
				t.Error(err)
			}
		}
	})
	if err != nil {
		t.Error(err)
	}
}

// cloud-init may restart the host.
func TestWaitSurvivesARestart(t *testing.T) {
	c := client(t)
	s := remotetest.Listen(t, "127.0.0.1:0", c.PublicKey())
	bin := t.TempDir()
	if err := os.WriteFile(filepath.Join(bin, "cloud-init"), []byte("#!/bin/sh\nexit 0\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	var runs atomic.Int32
	s.Command = func(command string) string {
		if runs.Add(1) == 1 {
			s.Drop()
		}
		return "PATH=" + bin + ":$PATH\n" + command
	}
	var states []string
	if err := c.Wait(t.Context(), []core.Host{s.Host("web-1")}, time.Minute, func(w remote.Waiting) { states = append(states, w.State) }); err != nil {
		t.Error(err)
	}
	if n := runs.Load(); n != 2 {
		t.Errorf("asked %d times: %q", n, states)
	}
}

func TestObstacles(t *testing.T) {
	c := client(t)
	h := core.Host{Name: "web-1", Address: "203.0.113.7", User: "admin"}
	dial := func(err error) error {
		return &net.OpError{Op: "dial", Net: "tcp", Err: os.NewSyscallError("connect", err)}
	}
	for want, err := range map[string]error{
		"no route to 203.0.113.7; this machine must reach":      dial(syscall.EHOSTUNREACH),
		"no route to 203.0.113.7; this machine":                 dial(syscall.ENETUNREACH),
		"refuses connections to 203.0.113.7:22; sshd does not":  dial(syscall.ECONNREFUSED),
		"no answer from 203.0.113.7:22; a security group or":    dial(syscall.ETIMEDOUT),
		"lookup web.example.org: no such host; the address":     &net.DNSError{Name: "web.example.org", Err: "no such host"},
		"refuses the key of the environment for the user admin": errors.New("ssh: handshake failed: ssh: unable to authenticate, attempted methods [none publickey]"),
		"ssh: handshake failed: EOF":                            errors.New("ssh: handshake failed: EOF"),
	} {
		if got := c.Obstacle(h, err); !strings.HasPrefix(got, want) {
			t.Errorf("%v:\n%s\nwant: %s", err, got, want)
		}
	}
}

const rsaKey = "ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAABAQCvlYXbU6UUIeRt2aKfberTSJoqNP6rMMtO7T+ORWHKmPx94LIrdHlxLjRiLsft0GX+VcclsGErSXEdLiadXiN+PrRCXT+ljAlDlGOCqhI/ehYUW/gzBBz7Sv6I1in5trIA9uLJk6Svv9E7dlMxyaVUjVLQSu5Tq9uyxNCjDx6A3EeKSU0kb58EQ+idZNXSZR154pqmEnrfhQUrnXTcmX0PsjMMOiCUNjMEsp2sCNFM10q3gfYOMQGLInUeUGRnhaC0o0flPUu4kihEah/obDTYDHjv6Vl5dSHx8UgOB02Wj/q545i5MkB6nzZcdZmIwV+3MHNCStKMHF/EORehdeXx"
