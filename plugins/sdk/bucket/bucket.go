// Package bucket is one bucket of any server that speaks S3, with conditional writes, object lock, and errors that say what
// to do. troop's store, in the process of a command, and the maintenance plugin's agent, on a host, import it. It reads no
// AWS configuration: whoever opens a bucket has the credentials.
package bucket

import (
	"context"
	"crypto/md5" //nolint:gosec // what S3 checks a body with
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/smithy-go/logging"
	"github.com/aws/smithy-go/middleware"
	smithyhttp "github.com/aws/smithy-go/transport/http"
	"golang.org/x/sync/errgroup"
)

// Options say where a bucket is. Region and Endpoint may be empty.
type Options struct {
	Bucket, Prefix            string
	Region, Endpoint, Profile string // Profile: of the AWS configuration, for whoever reads that
	PathStyle                 bool   // address the bucket in the path, as most servers other than AWS want
}

func (o Options) String() string { return strings.TrimSuffix("s3://"+o.Bucket+"/"+o.Prefix, "/") }

// Words are how errors name a bucket and what a person can change.
type Words struct {
	Name        string // such as: the store s3://…
	Block       string // where the options are written, such as: the store block
	Credentials string // what to do when there are none
	Renew       string // what to do when the server does not accept them
	Rights      string // what they must allow
}

// Bucket is a connection to a bucket. Each method makes the attempts of the configuration's retryer. Its methods may be
// called from several goroutines.
type Bucket struct {
	Options
	words  Words
	client *s3.Client

	clockOff atomic.Int64 // how far this machine's clock is behind the server's, in nanoseconds, at the last answer
}

const (
	answerWait = 30 * time.Second // for the first byte of an answer, and between two of them; also for a byte to be sent
	abortWait  = 5 * time.Second
)

// errStalled ends a body that does not go on.
var errStalled = fmt.Errorf("no byte came for %.0f s", answerWait.Seconds())

// Transport is the HTTP client of a bucket. It gives up a server that does not answer, or takes nothing.
func Transport() *awshttp.BuildableClient {
	return awshttp.NewBuildableClient().WithTransportOptions(func(t *http.Transport) {
		t.ResponseHeaderTimeout = answerWait
		t.MaxIdleConnsPerHost = 64
		dial := t.DialContext
		t.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
			conn, err := dial(ctx, network, address)
			if err != nil {
				return nil, err
			}
			return sender{conn, answerWait}, nil
		}
	})
}

// sender is a connection whose writes fail when the other side takes nothing for long: a partition closes no connection.
type sender struct {
	net.Conn
	wait time.Duration
}

func (s sender) Write(p []byte) (int, error) {
	if err := s.SetWriteDeadline(time.Now().Add(s.wait)); err != nil {
		return 0, err
	}
	return s.Conn.Write(p)
}

// Open returns a bucket. It sends nothing yet. conf has the credentials.
func Open(conf aws.Config, o Options, w Words) *Bucket {
	o.Prefix = strings.Trim(o.Prefix, "/")
	if o.Region != "" {
		conf.Region = o.Region
	}
	if conf.Region == "" {
		conf.Region = "us-east-1" // other servers take any; AWS says which is right
	}
	o.Region = conf.Region
	if conf.HTTPClient == nil {
		conf.HTTPClient = Transport()
	}
	conf.Logger = logging.Nop{} // its errors say the same
	b := &Bucket{Options: o, words: w}
	b.client = s3.NewFromConfig(conf, func(c *s3.Options) {
		c.UsePathStyle = o.PathStyle
		if o.Endpoint != "" {
			c.BaseEndpoint = aws.String(o.Endpoint)
			// Servers other than AWS may not know newer checksums.
			c.RequestChecksumCalculation = aws.RequestChecksumCalculationWhenRequired
			c.ResponseChecksumValidation = aws.ResponseChecksumValidationWhenRequired
		}
		c.APIOptions = append(c.APIOptions, func(stack *middleware.Stack) error {
			return stack.Deserialize.Add(middleware.DeserializeMiddlewareFunc("troop clock", b.readClock), middleware.After)
		})
	})
	return b
}

// readClock notes the time that an answer says.
func (b *Bucket) readClock(ctx context.Context, in middleware.DeserializeInput, next middleware.DeserializeHandler) (middleware.DeserializeOutput, middleware.Metadata, error) {
	out, m, err := next.HandleDeserialize(ctx, in)
	if res, ok := out.RawResponse.(*smithyhttp.Response); ok {
		if at, dateErr := http.ParseTime(res.Header.Get("Date")); dateErr == nil {
			b.clockOff.Store(int64(time.Until(at)))
		}
	}
	return out, m, err
}

// ClockOff is how far this machine's clock is behind the server's, at the last answer.
func (b *Bucket) ClockOff() time.Duration { return time.Duration(b.clockOff.Load()) }

func (b *Bucket) key(key string) *string {
	if b.Prefix != "" {
		key = b.Prefix + "/" + key
	}
	return aws.String(key)
}

// Get opens an object. Reading its body fails when it ends early, and when no byte comes for long.
func (b *Bucket) Get(ctx context.Context, key string) (*s3.GetObjectOutput, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	out, err := b.client.GetObject(ctx, &s3.GetObjectInput{Bucket: &b.Bucket, Key: b.key(key)})
	if err != nil {
		cancel(nil)
		return nil, b.failed("read", key, err)
	}
	out.Body = &body{
		ReadCloser: out.Body, ctx: ctx, cancel: cancel, left: aws.ToInt64(out.ContentLength), stall: time.AfterFunc(answerWait, func() { cancel(errStalled) }),
	}
	return out, nil
}

// body is the body of an object.
type body struct {
	io.ReadCloser
	ctx    context.Context //nolint:containedctx // of the request, as in net/http
	cancel context.CancelCauseFunc
	stall  *time.Timer
	left   int64
}

func (r *body) Read(p []byte) (int, error) {
	n, err := r.ReadCloser.Read(p)
	r.stall.Reset(answerWait)
	r.left -= int64(n)
	switch {
	case errors.Is(err, io.EOF) && r.left > 0:
		return n, io.ErrUnexpectedEOF
	case err != nil && errors.Is(context.Cause(r.ctx), errStalled):
		return n, errStalled
	}
	return n, err
}

func (r *body) Close() error {
	r.stall.Stop()
	r.cancel(nil)
	return r.ReadCloser.Close()
}

// Write says how an object is written. The zero value writes it in any case.
type Write struct {
	Absent   bool   // only if there is none; else it fails with ErrTaken
	Tag      string // only over the version with this tag; else it fails with ErrTaken
	Metadata map[string]string
	Lock     Lock
}

// Lock keeps an object from being changed or removed for some time. The bucket must have object lock.
type Lock struct {
	Mode string // GOVERNANCE or COMPLIANCE; empty: no lock
	For  time.Duration
}

func (w Write) conditions() (ifNoneMatch, ifMatch *string) {
	if w.Absent {
		ifNoneMatch = aws.String("*")
	}
	if w.Tag != "" {
		ifMatch = &w.Tag
	}
	return ifNoneMatch, ifMatch
}

// until is when a lock ends, by the server's clock.
func (b *Bucket) until(l Lock) (types.ObjectLockMode, *time.Time) {
	if l.Mode == "" {
		return "", nil
	}
	return types.ObjectLockMode(l.Mode), aws.Time(time.Now().Add(b.ClockOff() + l.For).UTC().Truncate(time.Second))
}

// sum is the MD5 of what a request sends: S3 wants it with a lock.
func (l Lock) sum(data io.ReadSeeker) (*string, error) {
	if l.Mode == "" {
		return nil, nil //nolint:nilnil // there is none
	}
	h := md5.New() //nolint:gosec // as above
	if _, err := io.Copy(h, data); err != nil {
		return nil, err
	}
	_, err := data.Seek(0, io.SeekStart)
	return aws.String(base64.StdEncoding.EncodeToString(h.Sum(nil))), err
}

// Put writes an object with one request, and returns its tag.
func (b *Bucket) Put(ctx context.Context, key string, data io.ReadSeeker, size int64, w Write) (string, error) {
	sum, err := w.Lock.sum(data)
	if err != nil {
		return "", err
	}
	in := &s3.PutObjectInput{Bucket: &b.Bucket, Key: b.key(key), Body: data, ContentLength: &size, ContentMD5: sum, Metadata: w.Metadata}
	in.IfNoneMatch, in.IfMatch = w.conditions()
	in.ObjectLockMode, in.ObjectLockRetainUntilDate = b.until(w.Lock)
	out, err := b.client.PutObject(ctx, in)
	if err != nil {
		return "", b.failed("write", key, err)
	}
	return aws.ToString(out.ETag), nil
}

// MostParts is how many parts an object may have.
const MostParts = 10_000

// PutParts writes a large object in parts, so many at a time, and returns its tag. All but the last have 5 MiB or more. When
// a part is asked for, at most atATime of those before it are still read.
func (b *Bucket) PutParts(ctx context.Context, key string, parts iter.Seq2[io.ReadSeeker, error], atATime int, w Write) (_ string, err error) {
	begin := &s3.CreateMultipartUploadInput{Bucket: &b.Bucket, Key: b.key(key), Metadata: w.Metadata}
	begin.ObjectLockMode, begin.ObjectLockRetainUntilDate = b.until(w.Lock)
	begun, err := b.client.CreateMultipartUpload(ctx, begin)
	if err != nil {
		return "", b.failed("write", key, err)
	}
	defer func() {
		if err != nil {
			ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), abortWait)
			defer cancel()
			_, _ = b.client.AbortMultipartUpload(ctx, &s3.AbortMultipartUploadInput{Bucket: &b.Bucket, Key: b.key(key), UploadId: begun.UploadId})
		}
	}()
	var done []*types.CompletedPart
	group, inner := errgroup.WithContext(ctx)
	group.SetLimit(atATime)
	for data, partErr := range parts {
		if partErr == nil && len(done) == MostParts {
			partErr = fmt.Errorf("write %s/%s: it is too large: S3 takes %d parts", b, key, MostParts)
		}
		if partErr != nil {
			_ = group.Wait() // the upload is given up
			return "", partErr
		}
		part := &types.CompletedPart{PartNumber: aws.Int32(int32(len(done) + 1))}
		done = append(done, part)
		group.Go(func() error {
			sum, err := w.Lock.sum(data)
			if err != nil {
				return err
			}
			out, err := b.client.UploadPart(inner, &s3.UploadPartInput{
				Bucket: &b.Bucket, Key: b.key(key), UploadId: begun.UploadId, PartNumber: part.PartNumber, Body: data, ContentMD5: sum,
			})
			if err == nil {
				part.ETag = out.ETag
			}
			return err
		})
		if inner.Err() != nil {
			break
		}
	}
	if err := group.Wait(); err != nil {
		return "", b.failed("write", key, err)
	}
	in := &s3.CompleteMultipartUploadInput{Bucket: &b.Bucket, Key: b.key(key), UploadId: begun.UploadId, MultipartUpload: &types.CompletedMultipartUpload{}}
	for _, part := range done {
		in.MultipartUpload.Parts = append(in.MultipartUpload.Parts, *part)
	}
	in.IfNoneMatch, in.IfMatch = w.conditions()
	out, err := b.client.CompleteMultipartUpload(ctx, in)
	if err != nil {
		return "", b.failed("write", key, err)
	}
	return aws.ToString(out.ETag), nil
}

// Delete removes an object; one that does not exist is no error.
func (b *Bucket) Delete(ctx context.Context, key string) error {
	_, err := b.client.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: &b.Bucket, Key: b.key(key)})
	if err = b.failed("remove", key, err); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// List yields the objects whose keys begin with a prefix, in pages. The keys in a page begin with the bucket's own prefix; Own
// takes it off. Shallow: keys are cut after the next slash.
func (b *Bucket) List(ctx context.Context, prefix string, shallow bool) iter.Seq2[*s3.ListObjectsV2Output, error] {
	return func(yield func(*s3.ListObjectsV2Output, error) bool) {
		in := &s3.ListObjectsV2Input{Bucket: &b.Bucket, Prefix: b.key(prefix)}
		if shallow {
			in.Delimiter = aws.String("/")
		}
		for {
			out, err := b.client.ListObjectsV2(ctx, in)
			if err != nil {
				yield(nil, b.failed("list", prefix, err))
				return
			}
			if !yield(out, nil) || !aws.ToBool(out.IsTruncated) {
				return
			}
			in.ContinuationToken = out.NextContinuationToken
		}
	}
}

// Own is a key of a page without the bucket's own prefix.
func (b *Bucket) Own(key *string) string { return aws.ToString(key)[len(aws.ToString(b.key(""))):] }

// CheckLock fails when the bucket has no object lock.
func (b *Bucket) CheckLock(ctx context.Context) error {
	out, err := b.client.GetObjectLockConfiguration(ctx, &s3.GetObjectLockConfigurationInput{Bucket: &b.Bucket})
	switch {
	case apiCode(err) == "ObjectLockConfigurationNotFoundError",
		err == nil && (out.ObjectLockConfiguration == nil || out.ObjectLockConfiguration.ObjectLockEnabled != types.ObjectLockEnabledEnabled):
		return b.noLock()
	case err != nil:
		return b.failed("read the lock of", "", err)
	}
	return nil
}

func (b *Bucket) noLock() error {
	return &UnusableError{
		b.words.Name, "the bucket " + b.Bucket + " has no object lock",
		"make one that has: aws s3api create-bucket --object-lock-enabled-for-bucket --bucket NAME; or take lock out of " + b.words.Block,
	}
}
