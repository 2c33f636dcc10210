package storage

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"

	"github.com/seed-b96de936/troop/plugins/sdk/bucket"
)

// Objects says where the files of one host are in a bucket.
type Objects struct {
	bucket.Options // its prefix is the host's own folder
	Host           string
	KeyID, Secret  string // the host's own credentials
	Lock           bucket.Lock
}

const (
	attempts    = 4               // of one request, if the server cannot do its work
	longestWait = 5 * time.Second // between two of them
	partSize    = 8 << 20         // bytes of a part: two of them are in memory, and an object has 78 GiB at most
)

// S3 is a host's folder in a bucket. Files are added if there is none of their name, and locked if that was asked for. Not for
// concurrent use.
type S3 struct {
	ctx    context.Context //nolint:containedctx // of the connection, as that of SFTP
	bucket *bucket.Bucket
	http   *http.Client
	lock   bucket.Lock
	full   bool // by the last answer
}

// OpenS3 returns a host's folder in a bucket, once the bucket has answered and has the object lock that files need. Every call on
// it returns when ctx ends or the server stops answering.
func OpenS3(ctx context.Context, o Objects) (*S3, error) {
	credentials := fmt.Sprintf("write those of the host in the environment block: storage_key %q { id = …, secret = … }", o.Host)
	words := bucket.Words{
		Name: "the bucket " + o.String(), Block: "the block s3 of storage", Credentials: credentials, Renew: credentials,
		Rights: "give the host what the maintenance plugin's page says: s3:ListBucket, s3:GetObject and s3:PutObject below its prefix, and with a lock s3:PutObjectRetention and s3:GetBucketObjectLockConfiguration",
	}
	if o.KeyID == "" || o.Secret == "" {
		return nil, &bucket.UnusableError{Name: words.Name, Problem: "host " + o.Host + " has no credentials for it", Remedy: credentials}
	}
	client := &http.Client{
		Transport:     bucket.Transport().GetTransport(),
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }, // it says which region is right
	}
	b := bucket.Open(aws.Config{
		HTTPClient: client,
		Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
			return aws.Credentials{AccessKeyID: o.KeyID, SecretAccessKey: o.Secret}, nil
		}),
		Retryer: func() aws.Retryer {
			return retry.NewStandard(func(r *retry.StandardOptions) { r.MaxAttempts, r.MaxBackoff = attempts, longestWait })
		},
	}, o.Options, words)
	s := &S3{ctx: ctx, bucket: b, http: client, lock: o.Lock}
	var err error
	if o.Lock.Mode != "" {
		err = b.CheckLock(ctx)
	} else {
		for _, err = range b.List(ctx, "/", true) { // the first answer says it
			break
		}
	}
	if err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// Close ends the connections. Twice is harmless.
func (s *S3) Close() error {
	s.http.CloseIdleConnections()
	return nil
}

// Put stores src under a name that is not taken yet, and reads it back: the error for another name is fs.ErrExist. An object is
// there whole or not at all, so it is read when it is; the parts of one that was interrupted stay until the bucket's lifecycle rule
// removes them.
func (s *S3) Put(name string, src io.Reader, back io.Writer) error {
	w := bucket.Write{Absent: true, Lock: s.lock}
	first, err := io.ReadAll(io.LimitReader(src, partSize))
	if err != nil {
		return err
	}
	if len(first) < partSize {
		_, err = s.bucket.Put(s.ctx, escape(name), bytes.NewReader(first), int64(len(first)), w)
	} else {
		_, err = s.bucket.PutParts(s.ctx, escape(name), parts(first, src), 1, w)
	}
	s.full = bucket.Full(err)
	if errors.Is(err, bucket.ErrTaken) || errors.As(err, new(*bucket.UnusableError)) && s.exists(name) {
		return fmt.Errorf("write %s/%s: %w", s.bucket, name, fs.ErrExist)
	}
	if err != nil {
		return err
	}
	return s.Get(name, back)
}

// exists reports whether there is an object. Some servers only say that one that is locked may not be written.
func (s *S3) exists(name string) bool {
	out, err := s.bucket.Get(s.ctx, escape(name))
	if err == nil {
		_ = out.Body.Close() // it is not read
	}
	return err == nil
}

// parts yields the first part and the rest of src. The memory of a part is used again for the next but one.
func parts(first []byte, src io.Reader) iter.Seq2[io.ReadSeeker, error] {
	return func(yield func(io.ReadSeeker, error) bool) {
		other := make([]byte, partSize)
		for n := len(first); n > 0; first, other = other, first {
			if !yield(bytes.NewReader(first[:n]), nil) || n < partSize {
				return
			}
			var err error
			if n, err = io.ReadFull(src, other); err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
				yield(nil, err)
				return
			}
		}
	}
}

// Names returns the names of all stored files.
func (s *S3) Names() ([]string, error) {
	var names []string
	for page, err := range s.bucket.List(s.ctx, "", false) {
		if err != nil {
			return nil, err
		}
		for _, o := range page.Contents {
			if name, err := url.PathUnescape(s.bucket.Own(o.Key)); err == nil { // else it is none of ours
				names = append(names, name)
			}
		}
	}
	return names, nil
}

// Get writes a stored file to dst.
func (s *S3) Get(name string, dst io.Writer) error {
	out, err := s.bucket.Get(s.ctx, escape(name))
	if err != nil {
		return err
	}
	_, err = io.CopyBuffer(dst, struct{ io.Reader }{out.Body}, make([]byte, 128<<10))
	if err := errors.Join(err, out.Body.Close()); err != nil {
		return fmt.Errorf("read %s/%s: %w", s.bucket, name, err)
	}
	return nil
}

// Removed returns the IDs of the backups that a lifecycle rule of the bucket has removed: they are gone, and their lock had ended.
// Without a lock none is known to have been removed.
func (s *S3) Removed(known []Receipt) ([]string, error) {
	if s.lock.Mode == "" {
		return nil, nil
	}
	ended := time.Now().Add(s.bucket.ClockOff() - s.lock.For)
	var old []Receipt
	for _, r := range known {
		if r.Verified.Before(ended) {
			old = append(old, r)
		}
	}
	if len(old) == 0 {
		return nil, nil
	}
	names, err := s.Names()
	if err != nil {
		return nil, err
	}
	there := map[string]bool{}
	for _, name := range names {
		there[name] = true
	}
	var ids []string
	for _, r := range old {
		if !there[string(r.Remote)] {
			ids = append(ids, r.ID)
		}
	}
	return ids, nil
}

// Full says that the bucket took no more at the last write, and what to do; empty: it did, or that is not known.
func (s *S3) Full() string {
	if s.full {
		return "its quota or its disk is full; raise it, or let a lifecycle rule remove old backups"
	}
	return ""
}

// escape is a name as a key: keys are text, and names are bytes.
func escape(name string) string {
	const plain = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-"
	var key strings.Builder
	for i := range len(name) {
		if c := name[i]; strings.IndexByte(plain, c) >= 0 {
			key.WriteByte(c)
		} else {
			fmt.Fprintf(&key, "%%%02X", c)
		}
	}
	return key.String()
}
