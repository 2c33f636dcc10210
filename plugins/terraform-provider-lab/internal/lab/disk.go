package lab

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/sys/unix"
)

// createDisk makes the sparse image for the host's writes, with the host's own files such as its keys, and returns the
// public host key. It mounts nothing.
func createDisk(ctx context.Context, h host, s Spec) (hostKey string, err error) {
	seed := filepath.Join(h.dir(), "seed")
	defer func() { _ = os.RemoveAll(seed) }()
	public, private, err := newHostKey(h.name)
	if err != nil {
		return "", fmt.Errorf("make host key: %w", err)
	}
	for _, dir := range []struct {
		path string
		mode os.FileMode
	}{{"work", 0o755}, {"upper", 0o755}, {"upper/etc", 0o755}, {"upper/etc/ssh", 0o755}, {"upper/root", 0o700}, {"upper/root/.ssh", 0o700}} {
		if err := os.MkdirAll(filepath.Join(seed, dir.path), dir.mode); err != nil {
			return "", err
		}
	}
	for path, file := range map[string]struct {
		text string
		mode os.FileMode
	}{
		"etc/hostname":                     {h.name + "\n", 0o644},
		"etc/hosts":                        {hosts(h.name, s.Address), 0o644},
		"etc/ssh/ssh_host_ed25519_key":     {private, 0o600},
		"etc/ssh/ssh_host_ed25519_key.pub": {public + "\n", 0o644},
		"root/.ssh/authorized_keys":        {strings.TrimSpace(s.AuthorizedKey) + "\n", 0o600},
	} {
		if err := os.WriteFile(filepath.Join(seed, "upper", path), []byte(file.text), file.mode); err != nil {
			return "", err
		}
	}
	image, err := os.OpenFile(h.disk(), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return "", err
	}
	defer func() { _ = image.Close() }()
	if err := image.Truncate(s.Disk); err != nil {
		return "", err
	}
	// No journal: a crashed host is replaced, not repaired. No reserved blocks: full means full.
	cmd := exec.CommandContext(ctx, "mkfs.ext4", "-q", "-F", "-m", "0", "-O", "^has_journal",
		"-E", "lazy_itable_init=1,nodiscard", "-d", seed, h.disk())
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("make file system: %w: %s", err, bytes.TrimSpace(out))
	}
	return public, nil
}

func hosts(name string, address netip.Addr) string {
	return fmt.Sprintf("127.0.0.1 localhost\n::1 localhost\n%s %s\n", address, name)
}

// newHostKey returns an Ed25519 key: the public key in authorized_keys format, the private key in OpenSSH format.
func newHostKey(comment string) (public, private string, err error) {
	pub, priv, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return "", "", err
	}
	block, err := ssh.MarshalPrivateKey(priv, comment)
	if err != nil {
		return "", "", err
	}
	key, err := ssh.NewPublicKey(pub)
	if err != nil {
		return "", "", err
	}
	return strings.TrimSpace(string(ssh.MarshalAuthorizedKey(key))), string(pem.EncodeToMemory(block)), nil
}

// releaseDisk waits until the kernel has released the host's image, shortly after the host's last process has ended.
func releaseDisk(ctx context.Context, h host) error {
	err := poll(ctx, 10*time.Second, func() (bool, error) {
		devices, err := loopDevices(h.dir())
		return len(devices) == 0, err
	})
	if err != nil {
		return fmt.Errorf("release the disk of %s: %w", h.name, err)
	}
	return nil
}

// loopDevices lists the loop devices whose file is below dir.
func loopDevices(dir string) ([]string, error) {
	files, err := filepath.Glob("/sys/block/loop*/loop/backing_file")
	if err != nil {
		return nil, err
	}
	var found []string
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err == nil && strings.HasPrefix(string(b), dir+"/") { // unused devices have no such file
			found = append(found, "/dev/"+filepath.Base(filepath.Dir(filepath.Dir(file))))
		}
	}
	return found, nil
}

// unmountBelow unmounts everything at or below dir in this process's mount namespace, newest first.
func unmountBelow(dir string) error {
	for {
		mounts, err := mountsBelow(dir)
		if err != nil || len(mounts) == 0 {
			return err
		}
		last := mounts[len(mounts)-1]
		if err := unix.Unmount(last, unix.UMOUNT_NOFOLLOW); err != nil {
			return fmt.Errorf("unmount %s: %w", last, err)
		}
	}
}

// mountsBelow lists the mounts at or below dir, oldest first.
func mountsBelow(dir string) ([]string, error) {
	b, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil, err
	}
	var found []string
	for line := range strings.Lines(string(b)) {
		fields := strings.Fields(line)
		const mountPoint = 4
		if len(fields) > mountPoint && (fields[mountPoint] == dir || strings.HasPrefix(fields[mountPoint], dir+"/")) {
			found = append(found, fields[mountPoint])
		}
	}
	return found, nil
}
