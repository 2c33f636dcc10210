package storage_test

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	s3types "github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/seed-b96de936/troop/plugins/maintenance/file"
	"github.com/seed-b96de936/troop/plugins/maintenance/storage"
	"github.com/seed-b96de936/troop/plugins/sdk/bucket"
	"github.com/seed-b96de936/troop/plugins/sdk/bucket/buckettest"
)

const locked = "troop-locked"

// objects is the folder of web-1 in a bucket of the server.
func objects(g *buckettest.Server, name string, days int) storage.Objects {
	o := storage.Objects{Options: g.Options, Host: "web-1", KeyID: buckettest.AccessKey, Secret: buckettest.SecretKey}
	o.Bucket, o.Prefix = name, "lab/web-1"
	if days > 0 {
		o.Lock = bucket.Lock{Mode: "COMPLIANCE", For: time.Duration(days) * 24 * time.Hour}
	}
	return o
}

func open(t *testing.T, o storage.Objects) *storage.S3 {
	t.Helper()
	s, err := storage.OpenS3(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func openFile(t *testing.T, content []byte) *os.File {
	t.Helper()
	name := filepath.Join(t.TempDir(), "app.log")
	if err := os.WriteFile(name, content, 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	return f
}

// TestS3 stores small and large files, with a lock and without.
func TestS3(t *testing.T) {
	g := buckettest.Gateway(t)
	g.MakeBucket(t, locked, true)
	for what, o := range map[string]storage.Objects{"locked": objects(g, locked, 2), "not locked": objects(g, g.Bucket, 0)} {
		for compress, content := range map[string][]byte{
			"zstd": append(noise(t, 20<<20), strings.Repeat("GET / 200 1.2ms\n", 1000)...), // three parts
			"none": bytes.Repeat([]byte("0123456789abcdef"), 1<<20),                        // exactly two
		} {
			t.Run(what+" "+compress, func(t *testing.T) {
				s, f := open(t, o), openFile(t, content)
				name := compress + " a\xff/%41.log"
				sent, err := storage.Send(s, f, name, compress)
				if err != nil {
					t.Fatal(err)
				}
				var back bytes.Buffer
				if err := storage.Fetch(open(t, o), sent, &back); err != nil || !bytes.Equal(back.Bytes(), content) {
					t.Errorf("read back %d bytes: %v", back.Len(), err)
				}
				if _, err := storage.Send(s, f, name, compress); !errors.Is(err, fs.ErrExist) {
					t.Errorf("a name that is taken: %v", err)
				}
				if err := s.Put(name, strings.NewReader("small"), io.Discard); !errors.Is(err, fs.ErrExist) {
					t.Errorf("a small file over it: %v", err)
				}
				if err := s.Put(compress+".json", strings.NewReader(""), io.Discard); err != nil {
					t.Errorf("an empty file: %v", err)
				}
				if names, err := s.Names(); err != nil || !slices.Contains(names, name) || !slices.Contains(names, compress+".json") {
					t.Errorf("names: %q, %v", names, err)
				}
				if err := s.Get("another", io.Discard); !errors.Is(err, fs.ErrNotExist) {
					t.Errorf("a file that is not there: %v", err)
				}
				spoil(t, filepath.Join(g.Dir, o.Bucket, o.Prefix))
				if err := storage.Fetch(s, sent, io.Discard); !errors.Is(err, storage.ErrMismatch) {
					t.Errorf("a byte on the server's disk: %v, want a mismatch", err)
				}
			})
		}
	}
}

// spoil changes a byte of each large file in a folder.
func spoil(t *testing.T, dir string) {
	t.Helper()
	n := 0
	err := filepath.Walk(dir, func(path string, info fs.FileInfo, err error) error {
		if err != nil || info.IsDir() || info.Size() < 1<<20 {
			return err
		}
		n++
		f, err := os.OpenFile(path, os.O_RDWR, 0)
		if err != nil {
			return err
		}
		b := make([]byte, 1)
		_, err = f.ReadAt(b, 1<<19)
		if err == nil {
			_, err = f.WriteAt([]byte{b[0] ^ 1}, 1<<19)
		}
		return errors.Join(err, f.Close())
	})
	if err != nil || n == 0 {
		t.Fatalf("%d files in %s: %v", n, dir, err)
	}
}

// TestS3Faults has a server that answers 503 for a while and for ever, a line that breaks, and bytes that are others when
// they arrive.
func TestS3Faults(t *testing.T) {
	t.Parallel()
	g := buckettest.Gateway(t)
	g.MakeBucket(t, locked, true)
	line := g.Line(t)
	o := objects(g, locked, 1)
	o.Endpoint = line.Endpoint
	content := noise(t, 17<<20)
	var n atomic.Int32
	every := func(k int32, trouble buckettest.Trouble) func(*http.Request) buckettest.Trouble {
		return func(*http.Request) buckettest.Trouble {
			if n.Add(1)%k == 0 {
				return trouble
			}
			return buckettest.Trouble{}
		}
	}
	unavailable := buckettest.Trouble{Status: http.StatusServiceUnavailable}
	for _, tt := range []struct {
		name  string
		judge func(*http.Request) buckettest.Trouble
		want  string // empty: it is stored
	}{
		{"503 for a while", every(2, unavailable), ""},
		{"the line breaks", every(2, buckettest.Trouble{Cut: true}), ""},
		{"503", every(1, unavailable), "503"},
		{"no line", every(1, buckettest.Trouble{Cut: true}), "EOF"},
		{"another byte arrives", func(r *http.Request) buckettest.Trouble {
			return buckettest.Trouble{FlipSent: r.Method == http.MethodPut}
		}, "400"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			line.Do(nil)
			s := open(t, o)
			line.Do(tt.judge)
			sent, err := storage.Send(s, openFile(t, content), tt.name, "none")
			line.Do(nil)
			switch {
			case tt.want == "" && err != nil:
				t.Error(err)
			case tt.want == "":
				if err := storage.Fetch(s, sent, io.Discard); err != nil {
					t.Error(err)
				}
			case err == nil || !strings.Contains(err.Error(), tt.want):
				t.Errorf("got %v, want it to say %q", err, tt.want)
			}
			if names, err := s.Names(); err != nil || slices.Contains(names, tt.name) != (tt.want == "") {
				t.Errorf("afterwards there are %q, %v", names, err)
			}
		})
	}
	t.Run("another byte comes back", func(t *testing.T) {
		s := open(t, o)
		sent, err := storage.Send(s, openFile(t, content), "back", "none")
		if err != nil {
			t.Fatal(err)
		}
		line.Do(func(*http.Request) buckettest.Trouble { return buckettest.Trouble{Flip: true} })
		if err := storage.Fetch(s, sent, io.Discard); !errors.Is(err, storage.ErrMismatch) {
			t.Errorf("got %v, want a mismatch", err)
		}
	})
}

// TestS3Refused says what is wrong, and what to do.
func TestS3Refused(t *testing.T) {
	g := buckettest.Gateway(t)
	g.MakeBucket(t, locked, true)
	g.User(t, "nobody", "nobody-secret")
	for name, tt := range map[string]struct {
		change func(o *storage.Objects)
		want   []string
	}{
		"no bucket":      {func(o *storage.Objects) { o.Bucket = "troop-none" }, []string{"there is no bucket troop-none", "make it"}},
		"no object lock": {func(o *storage.Objects) { o.Bucket = g.Bucket }, []string{"the bucket troop-test has no object lock", "object-lock-enabled-for-bucket"}},
		"no credentials": {func(o *storage.Objects) { o.KeyID = "" }, []string{"host web-1 has no credentials for it", `storage_key "web-1"`}},
		"unknown key":    {func(o *storage.Objects) { o.KeyID = "someone" }, []string{"not accepted", `storage_key "web-1"`}},
		"wrong secret":   {func(o *storage.Objects) { o.Secret = "wrong-secret" }, []string{"not accepted (SignatureDoesNotMatch)", `storage_key "web-1"`}},
		"no rights":      {func(o *storage.Objects) { o.KeyID, o.Secret = "nobody", "nobody-secret" }, []string{"do not allow this (AccessDenied)", "s3:PutObjectRetention"}},
		"wrong region":   {func(o *storage.Objects) { o.Region = "us-west-2" }, []string{"the bucket is in the region " + buckettest.Region, "write in the block s3 of storage: region = "}},
		"no server":      {func(o *storage.Objects) { o.Endpoint = "http://127.0.0.1:1" }, []string{"connection refused"}},
		"no such host":   {func(o *storage.Objects) { o.Endpoint = "http://nowhere.invalid" }, []string{"there is no host nowhere.invalid", "correct endpoint"}},
	} {
		for _, days := range []int{0, 1} {
			if name == "no object lock" && days == 0 {
				continue
			}
			t.Run(name, func(t *testing.T) {
				o := objects(g, locked, days)
				tt.change(&o)
				s, err := storage.OpenS3(t.Context(), o)
				if err == nil {
					_ = s.Close()
					t.Fatal("it can be used")
				}
				for _, want := range tt.want {
					if !strings.Contains(err.Error(), want) {
						t.Errorf("got %v, want it to say %q", err, want)
					}
				}
				if strings.Contains(err.Error(), o.Secret) && o.Secret != "" {
					t.Errorf("it says the secret: %v", err)
				}
			})
		}
	}
}

// TestS3Lock keeps files from their owner. How long does not depend on the host's clock.
func TestS3Lock(t *testing.T) {
	g := buckettest.Gateway(t)
	g.MakeBucket(t, locked, true)
	line := g.Line(t)
	o := objects(g, locked, 30)
	o.Endpoint = line.Endpoint
	ahead := 10 * time.Minute // of the server, as its answers say
	line.Do(func(*http.Request) buckettest.Trouble { return buckettest.Trouble{Clock: ahead} })
	owner := g.Client(buckettest.AccessKey, buckettest.SecretKey)
	s := open(t, o)
	for name, content := range map[string][]byte{"small": []byte("line\n"), "large": noise(t, 10<<20)} {
		if err := s.Put(name, bytes.NewReader(content), io.Discard); err != nil {
			t.Fatal(err)
		}
		key := o.Prefix + "/" + name
		got, err := owner.GetObjectRetention(t.Context(), &s3.GetObjectRetentionInput{Bucket: &o.Bucket, Key: &key})
		if err != nil {
			t.Fatal(err)
		}
		if off := time.Until(aws.ToTime(got.Retention.RetainUntilDate)) - 30*24*time.Hour - ahead; got.Retention.Mode != "COMPLIANCE" || off.Abs() > time.Minute {
			t.Errorf("%s: locked as %s, %v too long", name, got.Retention.Mode, off)
		}
		if _, err := owner.DeleteObject(t.Context(), &s3.DeleteObjectInput{Bucket: &o.Bucket, Key: &key}); err == nil {
			t.Errorf("%s was removed", name)
		}
		if _, err := owner.PutObject(t.Context(), &s3.PutObjectInput{Bucket: &o.Bucket, Key: &key, Body: strings.NewReader("another")}); err == nil {
			t.Errorf("%s was changed", name)
		}
	}
}

// TestS3Removed takes what is missing for removed by a lifecycle rule only when its lock has ended.
func TestS3Removed(t *testing.T) {
	g := buckettest.Gateway(t)
	g.MakeBucket(t, locked, true)
	s := open(t, objects(g, locked, 1))
	receipt := func(id string, age time.Duration) storage.Receipt {
		return storage.Receipt{ID: id, Verified: time.Now().Add(-age), Object: storage.Object{Remote: file.Name(id)}}
	}
	known := []storage.Receipt{receipt("old", 25*time.Hour), receipt("young", 23*time.Hour), receipt("there", 48*time.Hour)}
	if err := s.Put("there", strings.NewReader("x"), io.Discard); err != nil {
		t.Fatal(err)
	}
	if ids, err := s.Removed(known); err != nil || !slices.Equal(ids, []string{"old"}) {
		t.Errorf("removed: %v, %v", ids, err)
	}
	if ids, err := open(t, objects(g, locked, 0)).Removed(known); err != nil || len(ids) != 0 {
		t.Errorf("removed without a lock: %v, %v", ids, err)
	}
}

// TestS3Policy gives two hosts the policy of the plugin's page. Each adds and reads its own files, and neither changes nor removes
// any, nor sees those of the other.
func TestS3Policy(t *testing.T) {
	g := buckettest.Gateway(t)
	g.MakeBucket(t, locked, true)
	page, err := os.ReadFile("../notes.md")
	if err != nil {
		t.Fatal(err)
	}
	_, text, _ := strings.Cut(string(page), "```json\n")
	text, _, _ = strings.Cut(text, "```")
	var statements []string
	for _, host := range []string{"web-1", "web-2"} {
		g.User(t, host, host+"-secret")
		one := strings.NewReplacer("PRINCIPAL", host, "BUCKET", locked, "PREFIX", "lab", "HOST", host).Replace(text)
		_, one, _ = strings.Cut(one, "[\n")
		statements = append(statements, one[:strings.LastIndex(one, "]")])
	}
	g.Policy(t, locked, `{"Version": "2012-10-17", "Statement": [`+strings.Join(statements, ",")+`]}`)
	as := func(host string) storage.Objects {
		o := objects(g, locked, 1)
		o.Host, o.Prefix, o.KeyID, o.Secret = host, "lab/"+host, host, host+"-secret"
		return o
	}
	one, two := open(t, as("web-1")), open(t, as("web-2"))
	large := noise(t, 10<<20)
	if err := errors.Join(one.Put("a", strings.NewReader("x"), io.Discard), one.Put("large", bytes.NewReader(large), io.Discard), two.Put("b", strings.NewReader("y"), io.Discard)); err != nil {
		t.Fatal(err)
	}
	var got bytes.Buffer
	if err := one.Get("large", &got); err != nil || !bytes.Equal(got.Bytes(), large) {
		t.Errorf("read %d bytes, %v", got.Len(), err)
	}
	if names, err := one.Names(); err != nil || !slices.Equal(names, []string{"a", "large"}) {
		t.Errorf("names: %v, %v", names, err)
	}
	if err := one.Put("a", strings.NewReader("z"), io.Discard); !errors.Is(err, fs.ErrExist) {
		t.Errorf("over its own: %v", err)
	}
	other := as("web-1")
	other.Prefix = "lab/web-2"
	thief, err := storage.OpenS3(t.Context(), other) // it sees that there is a lock
	if err != nil {
		t.Fatal(err)
	}
	defer thief.Close()
	if err := thief.Get("b", io.Discard); err == nil || !strings.Contains(err.Error(), "AccessDenied") {
		t.Errorf("it reads another host's: %v", err)
	}
	if err := thief.Put("c", strings.NewReader("z"), io.Discard); err == nil || !strings.Contains(err.Error(), "AccessDenied") {
		t.Errorf("it adds to another host's: %v", err)
	}
	if names, err := thief.Names(); err == nil {
		t.Errorf("it lists another host's: %v", names)
	}
	client := g.Client("web-1", "web-1-secret")
	name, past := locked, time.Now().Add(time.Minute)
	for _, key := range []string{"lab/web-1/a", "lab/web-1/large", "lab/web-2/b"} {
		if _, err := client.DeleteObject(t.Context(), &s3.DeleteObjectInput{Bucket: &name, Key: &key}); err == nil {
			t.Errorf("%s was removed", key)
		}
		if _, err := client.PutObject(t.Context(), &s3.PutObjectInput{Bucket: &name, Key: &key, Body: strings.NewReader("z")}); err == nil {
			t.Errorf("%s was changed", key)
		}
		if _, err := client.PutObjectRetention(t.Context(), &s3.PutObjectRetentionInput{
			Bucket: &name, Key: &key, BypassGovernanceRetention: aws.Bool(true), ChecksumAlgorithm: "CRC32",
			Retention: &s3types.ObjectLockRetention{Mode: "COMPLIANCE", RetainUntilDate: &past},
		}); err == nil {
			t.Errorf("the lock of %s was shortened", key)
		}
	}
}
