// Package buckettest is a real S3 server for tests, and a network to it that has faults. Only tests import it.
package buckettest

import (
	"bytes"
	"context"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/seed-b96de936/troop/plugins/sdk/bucket"
	"github.com/seed-b96de936/troop/plugins/sdk/tooltest"
)

// The credentials of Gateway.
const (
	AccessKey = "test"
	SecretKey = "test-secret-key"
	Region    = "eu-central-1"
)

// Server is a running S3 server with the bucket troop-test.
type Server struct {
	bucket.Options
	Dir string // with a folder for the bucket, and in it the objects as files
	cmd *exec.Cmd

	program string
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
	return GatewayIn(t, t.TempDir())
}

// GatewayIn starts a real S3 server in a folder.
func GatewayIn(t testing.TB, dir string) *Server {
	t.Helper()
	s := &Server{Dir: dir, program: tooltest.Path(t, "versitygw")}
	s.Options = bucket.Options{Bucket: "troop-test", Prefix: "shop", Region: Region, PathStyle: true}
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
	s.cmd = exec.CommandContext(context.WithoutCancel(t.Context()), s.program, "--access", AccessKey, "--secret", SecretKey, "--region", Region,
		"--iam-dir", t.TempDir(), "--port", address, "--quiet", "posix", s.Dir)
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
