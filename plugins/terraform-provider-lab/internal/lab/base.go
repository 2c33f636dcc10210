package lab

import (
	"context"
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
)

// packages lists everything that the roles need, so that hosts can be configured without a network.
var packages = []string{
	"systemd", "systemd-sysv", "dbus", "openssh-server", "openssh-sftp-server", "sudo", "acl",
	"python3", "python3-apt", "python3-aiosmtpd",
	"haproxy", "redis-server", "nodejs",
	"ca-certificates", "curl", "iproute2", "iputils-ping", "procps", "rsync", "zstd", "xz-utils", "logrotate", "stress-ng",
}

//go:embed base.sh
var baseScript string

// base is the folder of the base tree. Its name contains the version of the recipe.
func base() string {
	sum := sha256.Sum256([]byte(runtime.GOARCH + strings.Join(packages, ",") + baseScript))
	return filepath.Join(cache, "lab-base-"+hex.EncodeToString(sum[:6]))
}

const partial = ".partial" // suffix of an incomplete base

// EnsureBase builds the base tree of all hosts, once per machine and version of the recipe, and returns its folder. The
// first time it needs a Debian mirror and a minute or two. Progress goes to lab-base.log in the cache, and to progress if
// that is not nil.
func EnsureBase(ctx context.Context, progress io.Writer) (string, error) {
	dir := base()
	if _, err := os.Stat(dir); err == nil {
		return dir, nil
	}
	lock, err := lockDir(ctx, cache)
	if err != nil {
		return "", err
	}
	defer func() { _ = lock.Close() }()
	if _, err := os.Stat(dir); err == nil {
		return dir, nil // another process built it meanwhile
	}
	if err := removeInterrupted(); err != nil {
		return "", err
	}
	if err := buildBase(ctx, dir+partial, progress); err != nil {
		return "", errors.Join(fmt.Errorf("build base tree: %w", err), removeInterrupted())
	}
	if err := os.Rename(dir+partial, dir); err != nil {
		return "", fmt.Errorf("build base tree: %w", err)
	}
	return dir, nil
}

// removeInterrupted removes the leftovers of killed builds. The caller holds the cache's lock.
func removeInterrupted() error {
	left, err := filepath.Glob(filepath.Join(cache, "lab-base-*"+partial))
	if err != nil {
		return err
	}
	for _, dir := range left {
		if err := removeFolder(dir); err != nil {
			return err
		}
	}
	return nil
}

func buildBase(ctx context.Context, dir string, progress io.Writer) error {
	if _, err := exec.LookPath("debootstrap"); err != nil {
		return fmt.Errorf("%w; install the package debootstrap", err)
	}
	log, err := os.Create(filepath.Join(cache, "lab-base.log"))
	if err != nil {
		return err
	}
	defer func() { _ = log.Close() }()
	last := &tail{limit: 4 << 10}
	output := io.MultiWriter(log, last)
	if progress != nil {
		output = io.MultiWriter(output, progress)
	}
	cmd := exec.CommandContext(ctx, "sh", "-s", "--", dir, strings.Join(packages, ","))
	cmd.Stdin = strings.NewReader(baseScript)
	cmd.Stdout, cmd.Stderr = output, output
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWNS | syscall.CLONE_NEWPID,
		Pdeathsig:  syscall.SIGKILL,
	}
	runtime.LockOSThread() // Pdeathsig follows the thread, not the process
	defer runtime.UnlockOSThread()
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%w\n%s", err, last)
	}
	return nil
}

// removeFolder removes a folder. It fails if anything is mounted there.
func removeFolder(dir string) error {
	mounts, err := mountsBelow(dir)
	if err != nil {
		return err
	}
	if len(mounts) > 0 {
		return fmt.Errorf("remove %s: still mounted: %s", dir, strings.Join(mounts, ", "))
	}
	if err := os.RemoveAll(dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove folder: %w", err)
	}
	return nil
}

// tail is a writer that keeps the last bytes.
type tail struct {
	limit int
	kept  []byte
}

func (t *tail) Write(p []byte) (int, error) {
	t.kept = append(t.kept, p...)
	if over := len(t.kept) - t.limit; over > 0 {
		t.kept = t.kept[over:]
	}
	return len(p), nil
}

func (t *tail) String() string { return strings.TrimSpace(string(t.kept)) }
