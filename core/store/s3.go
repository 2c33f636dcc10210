package store

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsmiddleware "github.com/aws/aws-sdk-go-v2/aws/middleware"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/smithy-go/logging"
	"github.com/aws/smithy-go/middleware"
	smithyhttp "github.com/aws/smithy-go/transport/http"
	"golang.org/x/sync/errgroup"

	"github.com/seed-b96de936/troop/core"
)

// S3Options say where objects are kept in an S3 bucket. Region, Endpoint and Profile may be empty: then those of the
// AWS configuration count, as for every AWS tool.
type S3Options struct {
	Bucket, Prefix            string
	Region, Endpoint, Profile string
	PathStyle                 bool // address the bucket in the path, as most servers other than AWS want
}

func (o S3Options) String() string { return strings.TrimSuffix("s3://"+o.Bucket+"/"+o.Prefix, "/") }

// S3 keeps objects in a bucket of any server that speaks S3 and its conditional writes. The tag of a value is its ETag.
// Each value carries its SHA-256 in its metadata, which Get checks. Each method makes one attempt; Patient repeats it.
type S3 struct {
	o      S3Options
	client *s3.Client

	clockOff atomic.Int64 // how far this machine's clock is behind the server's, in nanoseconds, at the last answer
}

var _ core.Objects = (*S3)(nil)

const (
	answerWait   = 30 * time.Second // for the first byte of an answer
	sumHeader    = "sha256"         // metadata: SHA-256 of a value
	partSize     = 32 << 20         // bytes of a part; values up to this size are written at once
	partsAtATime = 4
)

// OpenS3 returns the objects in a bucket. It sends nothing yet.
func OpenS3(ctx context.Context, o S3Options) (*S3, error) {
	o.Prefix = strings.Trim(o.Prefix, "/")
	transport := awshttp.NewBuildableClient().WithTransportOptions(func(t *http.Transport) {
		t.ResponseHeaderTimeout = answerWait
		t.MaxIdleConnsPerHost = 64
	})
	options := []func(*config.LoadOptions) error{
		config.WithHTTPClient(transport),
		config.WithLogger(logging.Nop{}), // its errors say the same
		config.WithRetryer(func() aws.Retryer { return aws.NopRetryer{} }),
	}
	if o.Region != "" {
		options = append(options, config.WithRegion(o.Region))
	}
	if o.Profile != "" {
		options = append(options, config.WithSharedConfigProfile(o.Profile))
	}
	conf, err := config.LoadDefaultConfig(ctx, options...)
	if err != nil {
		return nil, o.unusable(err)
	}
	if conf.Region == "" {
		conf.Region = "us-east-1" // other servers take any; AWS says which is right
	}
	o.Region = conf.Region
	s := &S3{o: o}
	s.client = s3.NewFromConfig(conf, func(c *s3.Options) {
		c.UsePathStyle = o.PathStyle
		if o.Endpoint != "" {
			c.BaseEndpoint = aws.String(o.Endpoint)
			// Servers other than AWS may not know newer checksums; ours is in the metadata.
			c.RequestChecksumCalculation = aws.RequestChecksumCalculationWhenRequired
			c.ResponseChecksumValidation = aws.ResponseChecksumValidationWhenRequired
		}
		c.APIOptions = append(c.APIOptions, func(stack *middleware.Stack) error {
			return stack.Deserialize.Add(middleware.DeserializeMiddlewareFunc("troop clock", s.readClock), middleware.After)
		})
	})
	return s, nil
}

// readClock notes the time that an answer says.
func (s *S3) readClock(ctx context.Context, in middleware.DeserializeInput, next middleware.DeserializeHandler) (middleware.DeserializeOutput, middleware.Metadata, error) {
	out, m, err := next.HandleDeserialize(ctx, in)
	if res, ok := out.RawResponse.(*smithyhttp.Response); ok {
		if at, dateErr := http.ParseTime(res.Header.Get("Date")); dateErr == nil {
			s.clockOff.Store(int64(time.Until(at)))
		}
	}
	return out, m, err
}

func (s *S3) key(key string) *string {
	if s.o.Prefix != "" {
		key = s.o.Prefix + "/" + key
	}
	return aws.String(key)
}

// Get implements core.Objects.
func (s *S3) Get(ctx context.Context, key string) (io.ReadCloser, core.Object, error) {
	ctx, cancel := context.WithCancel(ctx)
	out, err := s.client.GetObject(ctx, &s3.GetObjectInput{Bucket: &s.o.Bucket, Key: s.key(key)})
	if err != nil {
		cancel()
		return nil, core.Object{}, s.failed("read", key, err)
	}
	o := core.Object{
		Key: key, Size: aws.ToInt64(out.ContentLength), Tag: aws.ToString(out.ETag),
		Age: age(out.LastModified, answered(out.ResultMetadata)),
	}
	body := &checked{body: out.Body, cancel: cancel, key: s.o.String() + "/" + key, want: out.Metadata[sumHeader], left: o.Size, sum: sha256.New()}
	body.stall = time.AfterFunc(answerWait, cancel)
	return body, o, nil
}

// checked is the body of a value. At its end it compares the hash; it gives up when no byte comes for long.
type checked struct {
	body   io.ReadCloser
	cancel context.CancelFunc
	stall  *time.Timer
	key    string
	want   string // hexadecimal; empty: somebody else has written the value
	left   int64
	sum    interface {
		io.Writer
		Sum(b []byte) []byte
	}
}

func (c *checked) Read(b []byte) (int, error) {
	n, err := c.body.Read(b)
	c.stall.Reset(answerWait)
	_, _ = c.sum.Write(b[:n])
	c.left -= int64(n)
	if errors.Is(err, io.EOF) && c.left > 0 {
		return n, io.ErrUnexpectedEOF
	}
	if got := hex.EncodeToString(c.sum.Sum(nil)); errors.Is(err, io.EOF) && c.want != "" && got != c.want {
		return n, &DamageError{File: c.key, Problem: "is damaged: its SHA-256 is " + got, Want: c.want}
	}
	return n, err
}

func (c *checked) Close() error {
	c.stall.Stop()
	c.cancel()
	return c.body.Close()
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
	if at, ok := data.(io.ReaderAt); ok && size > partSize {
		return s.putParts(ctx, key, at, size, when)
	}
	sum := sha256.New()
	if _, err = io.Copy(sum, data); err == nil {
		_, err = data.Seek(0, io.SeekStart)
	}
	if err != nil {
		return core.Object{}, err
	}
	in := &s3.PutObjectInput{
		Bucket: &s.o.Bucket, Key: s.key(key), Body: data, ContentLength: &size,
		Metadata: map[string]string{sumHeader: hex.EncodeToString(sum.Sum(nil))},
	}
	in.IfNoneMatch, in.IfMatch = conditions(when)
	out, err := s.client.PutObject(ctx, in)
	if err != nil {
		return core.Object{}, s.failed("write", key, err)
	}
	return core.Object{Key: key, Size: size, Tag: aws.ToString(out.ETag)}, nil
}

func conditions(when core.Condition) (ifNoneMatch, ifMatch *string) {
	if when.Absent {
		ifNoneMatch = aws.String("*")
	}
	if when.Tag != "" {
		ifMatch = &when.Tag
	}
	return ifNoneMatch, ifMatch
}

// putParts writes a large value in parts.
func (s *S3) putParts(ctx context.Context, key string, data io.ReaderAt, size int64, when core.Condition) (_ core.Object, err error) {
	begun, err := s.client.CreateMultipartUpload(ctx, &s3.CreateMultipartUploadInput{Bucket: &s.o.Bucket, Key: s.key(key)})
	if err != nil {
		return core.Object{}, s.failed("write", key, err)
	}
	defer func() {
		if err != nil {
			_, _ = s.client.AbortMultipartUpload(context.WithoutCancel(ctx), &s3.AbortMultipartUploadInput{Bucket: &s.o.Bucket, Key: s.key(key), UploadId: begun.UploadId})
		}
	}()
	length := max(int64(partSize), (size+9999)/10000) // S3 takes 10,000 parts
	parts := make([]types.CompletedPart, (size+length-1)/length)
	group, inner := errgroup.WithContext(ctx)
	group.SetLimit(partsAtATime)
	for i := range parts {
		group.Go(func() error {
			from := int64(i) * length
			out, err := s.client.UploadPart(inner, &s3.UploadPartInput{
				Bucket: &s.o.Bucket, Key: s.key(key), UploadId: begun.UploadId, PartNumber: aws.Int32(int32(i + 1)),
				Body: io.NewSectionReader(data, from, min(length, size-from)),
			})
			if err == nil {
				parts[i] = types.CompletedPart{ETag: out.ETag, PartNumber: aws.Int32(int32(i + 1))}
			}
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return core.Object{}, s.failed("write", key, err)
	}
	in := &s3.CompleteMultipartUploadInput{
		Bucket: &s.o.Bucket, Key: s.key(key), UploadId: begun.UploadId, MultipartUpload: &types.CompletedMultipartUpload{Parts: parts},
	}
	in.IfNoneMatch, in.IfMatch = conditions(when)
	out, err := s.client.CompleteMultipartUpload(ctx, in)
	if err != nil {
		return core.Object{}, s.failed("write", key, err)
	}
	return core.Object{Key: key, Size: size, Tag: aws.ToString(out.ETag)}, nil
}

// Delete implements core.Objects.
func (s *S3) Delete(ctx context.Context, key string) error {
	_, err := s.client.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: &s.o.Bucket, Key: s.key(key)})
	if err = s.failed("remove", key, err); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// List implements core.Objects.
func (s *S3) List(ctx context.Context, prefix string, shallow bool) iter.Seq2[core.Object, error] {
	return func(yield func(core.Object, error) bool) {
		in := &s3.ListObjectsV2Input{Bucket: &s.o.Bucket, Prefix: s.key(prefix)}
		if shallow {
			in.Delimiter = aws.String("/")
		}
		for {
			out, err := s.client.ListObjectsV2(ctx, in)
			if err != nil {
				yield(core.Object{}, s.failed("list", prefix, err))
				return
			}
			if !s.page(out, yield) || !aws.ToBool(out.IsTruncated) {
				return
			}
			in.ContinuationToken = out.NextContinuationToken
		}
	}
}

// page yields the values and the common prefixes of a page, which come as two lists, in one order.
func (s *S3) page(out *s3.ListObjectsV2Output, yield func(core.Object, error) bool) bool {
	now := answered(out.ResultMetadata)
	own := len(aws.ToString(s.key("")))
	values, folders := out.Contents, out.CommonPrefixes
	for len(values)+len(folders) > 0 {
		var o core.Object
		if len(folders) == 0 || len(values) > 0 && aws.ToString(values[0].Key) < aws.ToString(folders[0].Prefix) {
			v := values[0]
			values = values[1:]
			o = core.Object{Key: aws.ToString(v.Key)[own:], Size: aws.ToInt64(v.Size), Tag: aws.ToString(v.ETag), Age: age(v.LastModified, now)}
		} else {
			o.Key = aws.ToString(folders[0].Prefix)[own:]
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

// failed gives an error of the SDK its meaning.
func (s *S3) failed(verb, key string, err error) error {
	if err == nil {
		return nil
	}
	status := 0
	if answer, ok := errors.AsType[*smithyhttp.ResponseError](err); ok {
		status = answer.HTTPStatusCode()
	}
	code := apiCode(err)
	switch {
	case code == "NoSuchKey", status == http.StatusNotFound && (code == "" || code == "NotFound"): // others say 404 of a user
		return fmt.Errorf("%s %s/%s: %w", verb, s.o, key, fs.ErrNotExist)
	case status == http.StatusPreconditionFailed:
		return fmt.Errorf("%s %s/%s: %w", verb, s.o, key, core.ErrChanged)
	}
	if bad := s.o.unusable(err); errors.As(bad, new(*UnusableError)) {
		return bad
	}
	return fmt.Errorf("%s %s/%s: %w", verb, s.o, key, brief(err))
}
