package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/seed-b96de936/troop/plugins/maintenance/storage"
	"github.com/seed-b96de936/troop/plugins/sdk/bucket"
	"github.com/seed-b96de936/troop/plugins/sdk/bucket/buckettest"
)

// benchSize is the size of the log that is moved. The memory that a move takes does not depend on it.
const benchSize = 256 << 20

// BenchmarkMove compares a verified move (compress, send, read back, compare) with tools that only send: the same log, to the
// same OpenSSH server on this machine. The budget is a ratio of 1 or more to scp and to zstd, and 64 MiB.
func BenchmarkMove(b *testing.B) {
	dir := b.TempDir()
	t, port := openSSH(b, dir)
	file := filepath.Join(dir, "app.log")
	writeLog(b, file)
	s, err := storage.Connect(b.Context(), t)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = s.Close() })
	to := filepath.Join(dir, "storage", "peer")
	login := fmt.Sprintf("-q -i %s/key -o UserKnownHostsFile=%s/known_hosts -o IdentitiesOnly=yes", dir, dir)
	peers := map[string]string{
		"scp":      fmt.Sprintf("scp -P %s %s %s root@127.0.0.1:%s", port, login, file, to),
		"rsync":    fmt.Sprintf("rsync --whole-file -e 'ssh -p %s %s' %s root@127.0.0.1:%s", port, login, file, to),
		"zstd-ssh": fmt.Sprintf("set -o pipefail; zstd -q -c %s | ssh -p %s %s root@127.0.0.1 'cat >%s'", file, port, login, to),
	}
	var ours time.Duration
	theirs := map[string]time.Duration{}
	b.SetBytes(benchSize)
	for n := 0; b.Loop(); n++ {
		begin := time.Now()
		f, err := os.Open(file)
		if err != nil {
			b.Fatal(err)
		}
		_, err = storage.Send(s, f, fmt.Sprint("ours", n), "zstd")
		if err := errors.Join(err, f.Close()); err != nil {
			b.Fatal(err)
		}
		ours += time.Since(begin)
		for name, command := range peers {
			begin := time.Now()
			if out, err := exec.CommandContext(b.Context(), "bash", "-c", command).CombinedOutput(); err != nil {
				b.Fatalf("%s: %v: %s", name, err, out)
			}
			theirs[name] += time.Since(begin)
			if err := os.Remove(to); err != nil {
				b.Fatal(err)
			}
		}
	}
	for name, took := range theirs {
		b.ReportMetric(took.Seconds()/ours.Seconds(), "x-"+name)
	}
	b.ReportMetric(peakMiB(b), "MiB-peak")
}

// BenchmarkMoveToBucket is a verified move to a real S3 server on this machine. The budget is 64 MiB.
func BenchmarkMoveToBucket(b *testing.B) {
	g := buckettest.Gateway(b)
	g.MakeBucket(b, "backups", true)
	o := storage.Objects{Options: g.Options, Host: "web-1", KeyID: buckettest.AccessKey, Secret: buckettest.SecretKey, Lock: bucket.Lock{Mode: "GOVERNANCE", For: time.Hour}}
	o.Bucket = "backups"
	file := filepath.Join(b.TempDir(), "app.log")
	writeLog(b, file)
	s, err := storage.OpenS3(b.Context(), o)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = s.Close() })
	b.SetBytes(benchSize)
	for n := 0; b.Loop(); n++ {
		f, err := os.Open(file)
		if err != nil {
			b.Fatal(err)
		}
		sent, err := storage.Send(s, f, fmt.Sprint("ours", n), "zstd")
		if err != nil {
			b.Fatal(err)
		}
		if err := errors.Join(storage.Fetch(s, sent, io.Discard), f.Close()); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(peakMiB(b), "MiB-peak")
}

// peakMiB is the peak memory of this process.
func peakMiB(b *testing.B) float64 {
	b.Helper()
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		b.Fatal(err)
	}
	var kib float64
	for line := range strings.Lines(string(status)) {
		if v, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			if _, err := fmt.Sscan(v, &kib); err != nil {
				b.Fatal(err)
			}
		}
	}
	return kib / 1024
}

// writeLog writes an access log: similar lines with different times and values.
func writeLog(b *testing.B, file string) {
	b.Helper()
	f, err := os.Create(file)
	if err != nil {
		b.Fatal(err)
	}
	w := bufio.NewWriterSize(f, 1<<20)
	paths := []string{"/", "/recent", "/upload", "/healthz", "/set?key=cart", "/get?key=cart"}
	at := time.Unix(1_790_000_000, 0).UTC()
	for n := 0; n < benchSize; {
		at = at.Add(time.Duration(rand.IntN(20)) * time.Millisecond)
		m, err := fmt.Fprintf(w, `{"time":%q,"level":"info","method":"GET","path":%q,"status":200,"ms":%.3f,"id":"%016x"}`+"\n",
			at.Format(time.RFC3339Nano), paths[rand.IntN(len(paths))], rand.ExpFloat64()*3, rand.Uint64())
		if err != nil {
			b.Fatal(err)
		}
		n += m
	}
	if err := errors.Join(w.Flush(), f.Close()); err != nil {
		b.Fatal(err)
	}
}

// openSSH starts an OpenSSH server for one benchmark.
func openSSH(b *testing.B, dir string) (storage.Target, string) {
	b.Helper()
	if os.Getuid() != 0 {
		b.Fatal("this benchmark starts an SSH server: run it as root")
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err := errors.Join(err, l.Close()); err != nil {
		b.Fatal(err)
	}
	for _, name := range []string{"key", "host"} {
		if out, err := exec.CommandContext(b.Context(), "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", filepath.Join(dir, name)).CombinedOutput(); err != nil {
			b.Fatalf("ssh-keygen: %v: %s", err, out)
		}
	}
	read := func(name string) string {
		text, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			b.Fatal(err)
		}
		return string(text)
	}
	known := fmt.Sprintf("[127.0.0.1]:%s %s", port, read("host.pub"))
	conf := fmt.Sprintf("ListenAddress 127.0.0.1:%s\nHostKey %s/host\nAuthorizedKeysFile %s/key.pub\nStrictModes no\nUsePAM no\nPidFile none\nSubsystem sftp internal-sftp\n", port, dir, dir)
	for name, text := range map[string]string{"known_hosts": known, "conf": conf} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			b.Fatal(err)
		}
	}
	if err := os.MkdirAll(filepath.Join(dir, "storage"), 0o755); err != nil {
		b.Fatal(err)
	}
	if err := os.MkdirAll("/run/sshd", 0o755); err != nil {
		b.Fatal(err)
	}
	server := exec.CommandContext(b.Context(), "/usr/sbin/sshd", "-D", "-e", "-f", filepath.Join(dir, "conf"))
	if err := server.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = server.Process.Kill(); _ = server.Wait() })
	t := storage.Target{Address: "127.0.0.1:" + port, User: "root", Path: filepath.Join(dir, "storage"), PrivateKey: read("key"), KnownHosts: known}
	if _, err := ssh.ParsePrivateKey([]byte(t.PrivateKey)); err != nil {
		b.Fatal(err)
	}
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		c, err := net.Dial("tcp", t.Address)
		if err == nil {
			_ = c.Close()
			return t, port
		}
		if time.Now().After(deadline) {
			b.Fatal(err)
		}
	}
}
