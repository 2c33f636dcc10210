package archive_test

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/seed-b96de936/troop/plugins/build/archive"
)

// BenchmarkArchive packs a tree and hashes the result, as a build and the store do, beside tar and zstd with the same
// order, dates, owners and level, and sha256sum. Budget: x/tar at most 1.3.
func BenchmarkArchive(b *testing.B) {
	for _, program := range []string{"tar", "zstd", "sha256sum"} {
		if _, err := exec.LookPath(program); err != nil {
			b.Skipf("no peer: %v", err)
		}
	}
	for _, tree := range []struct {
		name        string
		files, size int
	}{{"1GiB", 64, 16 << 20}, {"100000files", 100_000, 2 << 10}} {
		b.Run(tree.name, func(b *testing.B) {
			dir := b.TempDir()
			plant(b, dir, tree.files, tree.size)
			var ours, theirs time.Duration
			for b.Loop() {
				theirs += peer(b, dir)
				ours += pack(b, dir)
			}
			b.ReportMetric(ours.Seconds()/float64(b.N), "archive-s")
			b.ReportMetric(theirs.Seconds()/float64(b.N), "tar-s")
			b.ReportMetric(ours.Seconds()/theirs.Seconds(), "x/tar")
		})
	}
}

// plant makes files of about one size, a hundred to a folder: words, as in sources, and bytes that do not compress.
func plant(b *testing.B, dir string, files, size int) {
	b.Helper()
	r := rand.New(rand.NewPCG(1, 2))
	words := make([]string, 5000)
	for i := range words {
		words[i] = fmt.Sprintf("%x ", r.Uint64N(1<<(8+uint(i)%40)))
	}
	text := make([]byte, 0, size+64)
	for i := range files {
		folder := filepath.Join(dir, fmt.Sprintf("folder-%d", i/100))
		if i%100 == 0 {
			if err := os.Mkdir(folder, 0o755); err != nil {
				b.Fatal(err)
			}
		}
		text = text[:0]
		for len(text) < size*3/4 {
			text = append(text, words[int(r.ExpFloat64()*400)%len(words)]...)
		}
		for len(text) < size {
			text = binary.LittleEndian.AppendUint64(text, r.Uint64())
		}
		if err := os.WriteFile(filepath.Join(folder, fmt.Sprintf("file-%d.txt", i)), text, 0o644); err != nil {
			b.Fatal(err)
		}
	}
}

func pack(b *testing.B, dir string) time.Duration {
	b.Helper()
	file := filepath.Join(b.TempDir(), "a.tar.zst")
	start := time.Now()
	if _, err := archive.Write(b.Context(), file, dir, archive.Options{Time: time.Unix(0, 0)}); err != nil {
		b.Fatal(err)
	}
	f, err := os.Open(file)
	if err != nil {
		b.Fatal(err)
	}
	if _, err := io.Copy(sha256.New(), f); err != nil {
		b.Fatal(err)
	}
	took := time.Since(start)
	info, err := f.Stat()
	if err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(float64(info.Size())/(1<<20), "MiB")
	if err := f.Close(); err != nil {
		b.Fatal(err)
	}
	return took
}

func peer(b *testing.B, dir string) time.Duration {
	b.Helper()
	file := filepath.Join(b.TempDir(), "a.tar.zst")
	script := strings.Join([]string{
		"tar --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner --format=posix --pax-option=delete=atime,delete=ctime -C", dir,
		"-cf - . | zstd -q -3 -o", file, "&& sha256sum", file,
	}, " ")
	start := time.Now()
	if out, err := exec.CommandContext(b.Context(), "sh", "-c", script).CombinedOutput(); err != nil {
		b.Fatalf("%v: %s", err, out)
	}
	took := time.Since(start)
	info, err := os.Stat(file)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(float64(info.Size())/(1<<20), "tar-MiB")
	return took
}
