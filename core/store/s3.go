package store

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"iter"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsmiddleware "github.com/aws/aws-sdk-go-v2/aws/middleware"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/smithy-go/logging"
	"github.com/aws/smithy-go/middleware"

	"github.com/seed-b96de936/troop/core"
	"github.com/seed-b96de936/troop/plugins/sdk/bucket"
)

// S3Options say where objects are kept in an S3 bucket. Region, Endpoint and Profile may be empty: then those of the
// AWS configuration count, as for every AWS tool.
type S3Options = bucket.Options

// S3 keeps objects in a bucket of any server that speaks S3 and its conditional writes. The tag of a value is its ETag.
// Each value carries its SHA-256 in its metadata, which Get checks. Each method makes one attempt; Patient repeats it.
type S3 struct{ bucket *bucket.Bucket }

var _ core.Objects = (*S3)(nil)

const (
	sumHeader    = "sha256" // metadata: SHA-256 of a value
	partSize     = 32 << 20 // bytes of a part; values up to this size are written at once
	partsAtATime = 4
)

// OpenS3 returns the objects in a bucket. It sends nothing yet.
func OpenS3(ctx context.Context, o S3Options) (*S3, error) {
	words := bucket.Words{
		Name: "the store " + o.String(), Block: "the store block",
		Credentials: "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or name a profile in the store block: profile = \"…\"",
		Renew:       "renew AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or the profile",
		Rights:      "they need s3:ListBucket on the bucket, and s3:GetObject, s3:PutObject and s3:DeleteObject on " + o.String() + "/*",
	}
	options := []func(*config.LoadOptions) error{
		config.WithHTTPClient(bucket.Transport()),
		config.WithLogger(logging.Nop{}),
		config.WithRetryer(func() aws.Retryer { return aws.NopRetryer{} }),
	}
	if o.Region != "" {
		options = append(options, config.WithRegion(o.Region))
	}
	if o.Profile != "" {
		options = append(options, config.WithSharedConfigProfile(o.Profile))
	}
	conf, err := config.LoadDefaultConfig(ctx, options...)
	if profile, ok := errors.AsType[config.SharedConfigProfileNotExistError](err); ok {
		return nil, bad(words.Name, fmt.Sprintf("there is no AWS profile %q", profile.Profile),
			"make it: aws configure --profile "+profile.Profile+"; or name another in the store block")
	}
	if err != nil {
		return nil, bucket.Unusable(err, o, words)
	}
	return &S3{bucket.Open(conf, o, words)}, nil
}

// Get implements core.Objects.
func (s *S3) Get(ctx context.Context, key string) (io.ReadCloser, core.Object, error) {
	out, err := s.bucket.Get(ctx, key)
	if err != nil {
		return nil, core.Object{}, err
	}
	o := core.Object{
		Key: key, Size: aws.ToInt64(out.ContentLength), Tag: aws.ToString(out.ETag),
		Age: age(out.LastModified, answered(out.ResultMetadata)),
	}
	return &checked{ReadCloser: out.Body, key: s.bucket.String() + "/" + key, want: out.Metadata[sumHeader], sum: sha256.New()}, o, nil
}

// checked is the body of a value. At its end it compares the hash.
type checked struct {
	io.ReadCloser
	key  string
	want string // hexadecimal; empty: somebody else has written the value
	sum  interface {
		io.Writer
		Sum(b []byte) []byte
	}
}

func (c *checked) Read(b []byte) (int, error) {
	n, err := c.ReadCloser.Read(b)
	_, _ = c.sum.Write(b[:n])
	if got := hex.EncodeToString(c.sum.Sum(nil)); errors.Is(err, io.EOF) && c.want != "" && got != c.want {
		return n, &DamageError{File: c.key, Problem: "is damaged: its SHA-256 is " + got, Want: c.want}
	}
	return n, err
}

// Put implements core.Objects.
func (s *S3) Put(ctx context.Context, key string, data io.ReadSeeker, when core.Condition) (core.Object, error) {
	size, err := data.Seek(0, io.SeekEnd)
	if err == nil {
		_, err = data.Seek(0, io.SeekStart)
	}
	if err != nil {
		return core.Object{}, err
	}
	w := bucket.Write{Absent: when.Absent, Tag: when.Tag}
	tag := ""
	if at, ok := data.(io.ReaderAt); ok && size > partSize {
		tag, err = s.bucket.PutParts(ctx, key, sections(at, size), partsAtATime, w)
	} else {
		sum := sha256.New()
		if _, err = io.Copy(sum, data); err == nil {
			_, err = data.Seek(0, io.SeekStart)
		}
		if err != nil {
			return core.Object{}, err
		}
		w.Metadata = map[string]string{sumHeader: hex.EncodeToString(sum.Sum(nil))}
		tag, err = s.bucket.Put(ctx, key, data, size, w)
	}
	if errors.Is(err, bucket.ErrTaken) {
		return core.Object{}, fmt.Errorf("write %s/%s: %w", s.bucket, key, core.ErrChanged)
	}
	if err != nil {
		return core.Object{}, err
	}
	return core.Object{Key: key, Size: size, Tag: tag}, nil
}

// sections cuts a large value into parts.
func sections(data io.ReaderAt, size int64) iter.Seq2[io.ReadSeeker, error] {
	length := max(int64(partSize), (size+bucket.MostParts-1)/bucket.MostParts)
	return func(yield func(io.ReadSeeker, error) bool) {
		for from := int64(0); from < size; from += length {
			if !yield(io.NewSectionReader(data, from, min(length, size-from)), nil) {
				return
			}
		}
	}
}

// Delete implements core.Objects.
func (s *S3) Delete(ctx context.Context, key string) error { return s.bucket.Delete(ctx, key) }

// List implements core.Objects.
func (s *S3) List(ctx context.Context, prefix string, shallow bool) iter.Seq2[core.Object, error] {
	return func(yield func(core.Object, error) bool) {
		for out, err := range s.bucket.List(ctx, prefix, shallow) {
			if err != nil {
				yield(core.Object{}, err)
				return
			}
			if !s.page(out, yield) {
				return
			}
		}
	}
}

// page yields the values and the common prefixes of a page, which come as two lists, in one order.
func (s *S3) page(out *s3.ListObjectsV2Output, yield func(core.Object, error) bool) bool {
	now := answered(out.ResultMetadata)
	values, folders := out.Contents, out.CommonPrefixes
	for len(values)+len(folders) > 0 {
		var o core.Object
		if len(folders) == 0 || len(values) > 0 && aws.ToString(values[0].Key) < aws.ToString(folders[0].Prefix) {
			v := values[0]
			values = values[1:]
			o = core.Object{Key: s.bucket.Own(v.Key), Size: aws.ToInt64(v.Size), Tag: aws.ToString(v.ETag), Age: age(v.LastModified, now)}
		} else {
			o.Key = s.bucket.Own(folders[0].Prefix)
			folders = folders[1:]
		}
		if !yield(o, nil) {
			return false
		}
	}
	return true
}

// answered is the time of an answer by the server's clock; that of this machine if it does not say.
func answered(m middleware.Metadata) time.Time {
	if t, ok := awsmiddleware.GetServerTime(m); ok && !t.IsZero() {
		return t
	}
	return time.Now()
}

// age is the time between a value's writing and an answer. Both are the server's: this machine's clock may be wrong.
func age(written *time.Time, now time.Time) time.Duration {
	if written == nil {
		return 0
	}
	return max(0, now.Sub(*written))
}
