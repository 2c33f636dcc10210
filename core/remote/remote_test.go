package remote_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/seed-b96de936/troop/core"
	"github.com/seed-b96de936/troop/core/remote"
	"github.com/seed-b96de936/troop/core/remote/remotetest"
)

func client(t *testing.T) *remote.Client {
	t.Helper()
	c, err := remote.New(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func TestNewMakesOneKey(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "lab")
	var wg sync.WaitGroup
	public := make([]string, 8)
	for i := range public {
		wg.Go(func() {
			c, err := remote.New(dir)
			if err != nil {
				t.Error(err)
				return
			}
			public[i] = c.PublicKey()
		})
	}
	wg.Wait()
	for _, p := range public {
		if p != public[0] || !strings.HasPrefix(p, "ssh-ed25519 ") {
			t.Fatalf("keys differ or are no ed25519 keys: %q, %q", p, public[0])
		}
	}
	info, err := os.Stat(filepath.Join(dir, "ssh_key"))
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode().Perm() != 0o600 {
		t.Errorf("private key has mode %v", info.Mode())
	}
	out, err := exec.Command("ssh-keygen", "-y", "-f", filepath.Join(dir, "ssh_key")).Output()
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(strings.Fields(string(out))[:2], " "); got != public[0] {
		t.Errorf("ssh-keygen reads %q, want %q", got, public[0])
	}
}

func TestRun(t *testing.T) {
	c := client(t)
	s := remotetest.Listen(t, "127.0.0.1:0", c.PublicKey())
	h := s.Host("web-1")

	out, err := c.Run(t.Context(), h, "cat; echo two >&2", strings.NewReader("one"))
	if err != nil || string(out) != "one" {
		t.Errorf("Run = %q, %v", out, err)
	}
	_, err = c.Run(t.Context(), h, "echo first >&2; echo the reason >&2; exit 3", nil)
	var exit *ssh.ExitError
	if !errors.As(err, &exit) || exit.ExitStatus() != 3 || !strings.Contains(err.Error(), "web-1") || !strings.Contains(err.Error(), "the reason") {
		t.Errorf("error of a failed command = %v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err = c.Run(ctx, h, "sleep 5", nil); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("error of a cancelled command = %v", err)
	}
	if n := s.Logins(); n != 1 {
		t.Errorf("%d connections, want one for all commands", n)
	}
	s.Drop()
	if out, err = c.Run(t.Context(), h, "echo again", nil); err != nil || string(out) != "again\n" {
		t.Errorf("after a lost connection Run = %q, %v", out, err)
	}
}

func TestHostKeys(t *testing.T) {
	c := client(t)
	s := remotetest.Listen(t, "127.0.0.1:0", c.PublicKey())
	h := s.Host("web-1")
	if _, err := c.Run(t.Context(), h, "true", nil); err != nil {
		t.Fatalf("first contact: %v", err)
	}
	addr := fmt.Sprintf("[127.0.0.1]:%d", h.Port)
	pinned, err := os.ReadFile(c.KnownHostsFile())
	if err != nil || string(pinned) != addr+" "+s.HostKey+"\n" {
		t.Errorf("known_hosts = %q, %v", pinned, err)
	}

	s.Stop()
	other := remotetest.Listen(t, fmt.Sprintf("127.0.0.1:%d", h.Port), c.PublicKey())
	_, err = c.Run(t.Context(), h, "true", nil)
	var changed *remote.HostKeyError
	if !errors.As(err, &changed) || changed.Host != "web-1" || changed.Address != addr {
		t.Fatalf("changed host key: %v", err)
	}
	start := time.Now()
	if err := c.Wait(t.Context(), []core.Host{h}, 20*time.Second, nil); !errors.As(err, &changed) || time.Since(start) > 10*time.Second {
		t.Errorf("Wait for a host with a changed key: %v after %s", err, time.Since(start))
	}
	if want := "accept the new key with: troop hosts accept web-1 --env " + filepath.Base(filepath.Dir(c.KnownHostsFile())); !strings.HasSuffix(err.Error(), want) {
		t.Errorf("error = %v, want a command: %s", err, want)
	}
	if h.HostKey, err = c.Offered(t.Context(), h); err != nil || h.HostKey != other.HostKey {
		t.Errorf("Offered = %s, %v; want %s", h.HostKey, err, other.HostKey)
	}
	if now, err := os.ReadFile(c.KnownHostsFile()); err != nil || string(now) != string(pinned) {
		t.Errorf("asking for the key has changed known_hosts: %q, %v", now, err)
	}
	if err := c.Pin([]core.Host{h}); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Run(t.Context(), h, "true", nil); err != nil {
		t.Errorf("after the new key was accepted: %v", err)
	}

	other.Stop()
	third := remotetest.Listen(t, fmt.Sprintf("127.0.0.1:%d", h.Port), c.PublicKey())
	h.HostKey = third.HostKey
	for range 2 {
		if err := c.Pin([]core.Host{h}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := c.Run(t.Context(), h, "true", nil); err != nil {
		t.Errorf("key given by Terraform: %v", err)
	}
	if pinned, err := os.ReadFile(c.KnownHostsFile()); err != nil || string(pinned) != addr+" "+h.HostKey+"\n" {
		t.Errorf("known_hosts = %q, %v", pinned, err)
	}
	for range 2 {
		if err := c.Forget(); err != nil {
			t.Fatal(err)
		}
	}
	if pinned, err := os.ReadFile(c.KnownHostsFile()); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("known_hosts after Forget = %q, %v", pinned, err)
	}
	logins := third.Logins()
	c.Disconnect()
	if _, err := c.Run(t.Context(), h, "true", nil); err != nil || third.Logins() != logins+1 {
		t.Errorf("after Disconnect: %v, %d logins, want %d", err, third.Logins(), logins+1)
	}
	third.Stop()
	if key, err := c.Offered(t.Context(), h); err == nil || !strings.Contains(err.Error(), "web-1") || key != "" {
		t.Errorf("Offered by nobody = %q, %v", key, err)
	}
	h.HostKey = "rubbish"
	if err := c.Pin([]core.Host{h}); err == nil || !strings.Contains(err.Error(), "web-1") {
		t.Errorf("Pin of a broken key: %v", err)
	}
}

func TestWait(t *testing.T) {
	c := client(t)
	up := remotetest.Listen(t, "127.0.0.1:0", c.PublicKey())
	stranger := remotetest.Listen(t, "127.0.0.1:0")
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := free.Addr().(*net.TCPAddr).Port
	_ = free.Close()
	late := core.Host{Name: "late", Address: "127.0.0.1", Port: port, User: "root"}

	ready := time.AfterFunc(300*time.Millisecond, func() { remotetest.Listen(t, fmt.Sprintf("127.0.0.1:%d", port), c.PublicKey()) })
	t.Cleanup(func() { ready.Stop() })
	got := map[core.HostName][]string{}
	err = c.Wait(t.Context(), []core.Host{up.Host("up"), late}, 10*time.Second, func(w remote.Waiting) {
		got[w.Host] = append(got[w.Host], w.State)
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(got["up"]) != 1 || len(got["late"]) < 2 || !strings.Contains(got["late"][0], "refuses") {
		t.Errorf("progress = %q", got)
	}

	err = c.Wait(t.Context(), []core.Host{up.Host("up"), stranger.Host("stranger")}, 5*time.Second, nil)
	if err == nil || !strings.Contains(err.Error(), "stranger") || !strings.Contains(err.Error(), "unable to authenticate") || strings.Contains(err.Error(), "on up ") {
		t.Errorf("timeout: %v", err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	stop := errors.New("the user has had enough")
	time.AfterFunc(50*time.Millisecond, func() { cancel(stop) })
	if err := c.Wait(ctx, []core.Host{stranger.Host("stranger")}, time.Minute, nil); !errors.Is(err, stop) {
		t.Errorf("cancelled: %v", err)
	}
}

func TestWaitForCloudInit(t *testing.T) {
	for status, want := range map[int]string{0: "", 1: "cloud-init failed: .*disk is missing", 2: ""} {
		c := client(t)
		s := remotetest.Listen(t, "127.0.0.1:0", c.PublicKey())
		bin := t.TempDir()
		script := fmt.Sprintf("#!/bin/sh\necho 'disk is missing'\nexit %d\n", status)
		if err := os.WriteFile(filepath.Join(bin, "cloud-init"), []byte(script), 0o755); err != nil {
			t.Fatal(err)
		}
		s.Command = func(command string) string { return "PATH=" + bin + ":$PATH\n" + command }
		err := c.Wait(t.Context(), []core.Host{s.Host("web-1")}, 10*time.Second, nil)
		switch {
		case want == "" && err != nil:
			t.Errorf("cloud-init with status %d: %v", status, err)
		case want != "" && (err == nil || !regexp.MustCompile(want).MatchString(err.Error())):
			t.Errorf("cloud-init with status %d: %v, want %s", status, err, want)
		}
	}
}

func TestWaitTellsOfSlowCloudInit(t *testing.T) {
	c := client(t)
	s := remotetest.Listen(t, "127.0.0.1:0", c.PublicKey())
	bin := t.TempDir()
	script := "#!/bin/sh\n[ \"$2\" = --wait ] && exec sleep 10\necho 'status: running'\necho 'detail: installs packages'\nexit 2\n"
	if err := os.WriteFile(filepath.Join(bin, "cloud-init"), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	s.Command = func(command string) string { return "PATH=" + bin + ":$PATH\n" + command }
	var got []string
	err := c.Wait(t.Context(), []core.Host{s.Host("web-1")}, 3*time.Second, func(w remote.Waiting) { got = append(got, w.State) })
	if err == nil || !strings.Contains(err.Error(), "web-1") || !strings.Contains(err.Error(), "cloud-init did not finish within 3s: status: running; detail: installs packages") {
		t.Errorf("timeout: %v", err)
	}
	if len(got) != 2 || got[1] != "cloud-init is still running" {
		t.Errorf("progress = %q", got)
	}
}

func TestDial(t *testing.T) {
	c := client(t)
	s := remotetest.Listen(t, "127.0.0.1:0", c.PublicKey())
	echo, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = echo.Close() })
	go func() {
		for {
			conn, err := echo.Accept()
			if err != nil {
				return
			}
			go func() {
				in := bufio.NewScanner(conn)
				for in.Scan() {
					fmt.Fprintln(conn, in.Text())
				}
				_ = conn.Close()
			}()
		}
	}()
	conn, err := c.Dialer(s.Host("router-1"))(t.Context(), "tcp", echo.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	fmt.Fprintln(conn, "hello")
	if got, err := bufio.NewReader(conn).ReadString('\n'); err != nil || got != "hello\n" {
		t.Errorf("echo = %q, %v", got, err)
	}
	if err := conn.SetReadDeadline(time.Now().Add(20 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("read past the deadline: %v", err)
	}
	_ = echo.Close()
	if _, err := c.DialContext(t.Context(), s.Host("router-1"), "tcp", echo.Addr().String()); err == nil || !strings.Contains(err.Error(), "router-1") {
		t.Errorf("dial of a closed port: %v", err)
	}
	if n := s.Logins(); n != 1 {
		t.Errorf("%d connections, want one", n)
	}
}

func TestCommandIsUnderstoodByOpenSSH(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a folder with 100%")
	c, err := remote.New(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	s := remotetest.Listen(t, "127.0.0.1:0", c.PublicKey())
	h := s.Host("web-1")
	h.HostKey = s.HostKey
	argv, err := c.Command(t.Context(), h, nil, "echo", "hello")
	if err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(argv[0], argv[1:]...).CombinedOutput(); err == nil {
		t.Errorf("ssh takes a host whose key is not pinned: %s", out)
	}
	if err := c.Pin([]core.Host{h}); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(argv[0], argv[1:]...).CombinedOutput()
	if err != nil || string(out) != "hello\n" {
		t.Errorf("ssh = %q, %v", out, err)
	}
}

func TestQuote(t *testing.T) {
	for _, s := range []string{"", "a b", `it's`, "$(x) `y` \\ \n"} {
		out, err := exec.Command("sh", "-c", "printf %s "+remote.Quote(s)).Output()
		if err != nil || string(out) != s {
			t.Errorf("Quote(%q) reads as %q, %v", s, out, err)
		}
	}
}

func TestKeyOf(t *testing.T) {
	seed := bytes.Repeat([]byte{7}, 32)
	private, public, err := remote.KeyOf(seed)
	if err != nil {
		t.Fatal(err)
	}
	key, err := ssh.ParsePrivateKey([]byte(private))
	if err != nil || strings.TrimSpace(string(ssh.MarshalAuthorizedKey(key.PublicKey()))) != public {
		t.Errorf("key %s: %v", public, err)
	}
	if again, _, _ := remote.KeyOf(seed); again != private {
		t.Error("another text for the same seed")
	}
	seed[0]++
	if _, other, _ := remote.KeyOf(seed); other == public {
		t.Error("the same key for another seed")
	}
}

// TestRotate has three hosts in turn: one with the first key, one where a configuration has put the newest, and one that it
// has not reached.
func TestRotate(t *testing.T) {
	dir := t.TempDir()
	open := func() *remote.Client {
		t.Helper()
		c, err := remote.New(dir)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		return c
	}
	first := open()
	if len(first.Admitted())+len(first.Retired()) > 0 {
		t.Errorf("before a rotation: %q, %q", first.Admitted(), first.Retired())
	}
	if err := remote.Rotate(dir); err != nil {
		t.Fatal(err)
	}
	if err := remote.Rotate(dir); !errors.Is(err, remote.ErrUnsettled) {
		t.Errorf("twice at once: %v", err)
	}
	c := open()
	if c.PublicKey() != first.PublicKey() || len(c.Admitted()) != 1 || c.Admitted()[0] == first.PublicKey() || !slices.Equal(c.Retired(), []string{first.PublicKey()}) {
		t.Fatalf("hosts are made with %q; admitted %q, retired %q", c.PublicKey(), c.Admitted(), c.Retired())
	}
	unreached, reached := remotetest.Listen(t, "127.0.0.1:0", first.PublicKey()), remotetest.Listen(t, "127.0.0.1:0", c.Admitted()...)
	for _, s := range []*remotetest.Server{unreached, reached} {
		if _, err := c.Run(t.Context(), s.Host("web-1"), "true", nil); err != nil {
			t.Error(err)
		}
		argv, err := c.Command(t.Context(), s.Host("web-1"), nil, "true")
		if err != nil {
			t.Fatal(err)
		}
		if out, err := exec.Command(argv[0], argv[1:]...).CombinedOutput(); err != nil {
			t.Errorf("ssh: %v: %s", err, out)
		}
	}
	if err := c.Settle(t.Context(), []core.Host{reached.Host("web-1"), unreached.Host("web-2")}); err == nil || !strings.Contains(err.Error(), "web-2 does not admit the new SSH key") || strings.Contains(err.Error(), "web-1") {
		t.Errorf("a host without the new key: %v", err)
	}
	if err := c.Settle(t.Context(), []core.Host{reached.Host("web-1")}); err != nil {
		t.Fatal(err)
	}
	if err := remote.Rotate(dir); err != nil {
		t.Fatal(err)
	}
	again := open()
	if got := again.Retired(); !slices.Equal(got, []string{c.Admitted()[0], first.PublicKey()}) || again.Admitted()[0] == c.Admitted()[0] {
		t.Errorf("after two rotations: admitted %q, retired %q", again.Admitted(), got)
	}
	if _, err := again.Run(t.Context(), reached.Host("web-1"), "true", nil); err != nil { // it has the key before the newest
		t.Error(err)
	}
}
