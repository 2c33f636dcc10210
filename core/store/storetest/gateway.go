package storetest

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/seed-b96de936/troop/core/store"
)

// The credentials of Gateway.
const (
	AccessKey = "test"
	SecretKey = "test-secret-key"
	Region    = "eu-central-1"
)

// gateway is the path of a versitygw, a real S3 server. Its module is one of its own, beside this file: nothing of troop
// depends on it.
var gateway = sync.OnceValues(func() (string, error) {
	_, here, _, _ := runtime.Caller(0)
	dir := filepath.Dir(here)
	if !filepath.IsAbs(dir) { // -trimpath: tests run in the folder of their package
		out, err := exec.Command("go", "list", "-f", "{{.Dir}}", "github.com/seed-b96de936/troop/core/store/storetest").Output()
		if err != nil {
			return "", fmt.Errorf("find storetest: %w", err)
		}
		dir = strings.TrimSpace(string(out))
	}
	cmd := exec.Command("go", "tool", "-n", "versitygw") // builds it once, into Go's cache
	cmd.Dir = filepath.Join(dir, "testdata", "gateway")
	out, err := cmd.Output()
	if exit, ok := err.(*exec.ExitError); ok { //nolint:errorlint // of Output itself
		err = fmt.Errorf("build versitygw: %w: %s", err, exit.Stderr)
	}
	return strings.TrimSpace(string(out)), err
})

// Server is a running S3 server with the bucket troop-test.
type Server struct {
	store.S3Options
	Dir string // with a folder for the bucket, and in it the objects as files
	cmd *exec.Cmd
}

// Environ is what the environment of a process has to be for Gateway: its credentials, and nothing of this machine's.
func Environ() map[string]string {
	return map[string]string{
		"AWS_ACCESS_KEY_ID": AccessKey, "AWS_SECRET_ACCESS_KEY": SecretKey, "AWS_SESSION_TOKEN": "", "AWS_PROFILE": "", "AWS_REGION": "",
		"AWS_CONFIG_FILE": os.DevNull, "AWS_SHARED_CREDENTIALS_FILE": os.DevNull, "AWS_EC2_METADATA_DISABLED": "true",
	}
}

// Gateway starts a real S3 server in a folder that is removed after the test. Environ has its credentials.
func Gateway(t testing.TB) *Server {
	t.Helper()
	program, err := gateway()
	if err != nil {
		t.Fatal(err)
	}
	s := &Server{Dir: t.TempDir()}
	s.S3Options = store.S3Options{Bucket: "troop-test", Prefix: "shop", Region: Region, PathStyle: true}
	if err := os.Mkdir(filepath.Join(s.Dir, s.Bucket), 0o755); err != nil {
		t.Fatal(err)
	}
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	s.Endpoint = "http://" + address
	var said bytes.Buffer
	s.cmd = exec.CommandContext(context.WithoutCancel(t.Context()), program, "--access", AccessKey, "--secret", SecretKey, "--region", Region, "--port", address, "--quiet", "posix", s.Dir)
	s.cmd.Stdout, s.cmd.Stderr = &said, &said
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- s.cmd.Wait() }()
	t.Cleanup(func() {
		_ = s.cmd.Process.Kill()
		<-ended //nolint:errcheck // it was killed
	})
	for {
		conn, err := (&net.Dialer{Timeout: time.Second}).DialContext(t.Context(), "tcp", address)
		if err == nil {
			_ = conn.Close()
			return s
		}
		select {
		case err := <-ended:
			ended <- err
			t.Fatalf("versitygw ended: %v\n%s", err, said.String())
		case <-time.After(20 * time.Millisecond):
		}
	}
}
