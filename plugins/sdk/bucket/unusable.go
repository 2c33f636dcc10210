package bucket

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"
)

// ErrTaken says that the condition of a write does not hold.
var ErrTaken = errors.New("there is another value")

// UnusableError says why something cannot be used as it is set up, and what to do. Trying again does not help.
type UnusableError struct{ Name, Problem, Remedy string }

func (e *UnusableError) Error() string {
	return fmt.Sprintf("%s cannot be used: %s; %s", e.Name, e.Problem, e.Remedy)
}

// failed gives an error of a request its meaning: fs.ErrNotExist, ErrTaken, an *UnusableError, or a sentence.
func (b *Bucket) failed(verb, key string, err error) error {
	if err == nil {
		return nil
	}
	status := 0
	if answer, ok := errors.AsType[*smithyhttp.ResponseError](err); ok {
		status = answer.HTTPStatusCode()
	}
	code := apiCode(err)
	at := strings.TrimRight(b.String()+"/"+key, "/")
	switch {
	case code == "NoSuchKey", status == http.StatusNotFound && (code == "" || code == "NotFound"): // others say 404 of a user
		return fmt.Errorf("%s %s: %w", verb, at, fs.ErrNotExist)
	case status == http.StatusPreconditionFailed:
		return fmt.Errorf("%s %s: %w", verb, at, ErrTaken)
	}
	if bad := Unusable(err, b.Options, b.words); errors.As(bad, new(*UnusableError)) {
		return bad
	}
	return fmt.Errorf("%s %s: %w", verb, at, brief(err))
}

// expectedRegion finds the right region in a server's sentence about a wrong one.
var expectedRegion = regexp.MustCompile(`expecting ['"]([a-z0-9-]+)['"]`)

// Unusable returns an *UnusableError for what a person has to mend, else err as it is.
func Unusable(err error, o Options, w Words) error {
	if err == nil {
		return nil
	}
	bad := func(problem, remedy string) error { return &UnusableError{w.Name, problem, remedy} }
	var (
		dns    *net.DNSError
		answer *smithyhttp.ResponseError
		sign   *smithy.OperationError
	)
	switch {
	case errors.As(err, &sign) && isCredentials(err): // whatever those say who were asked for some
		return bad("there are no credentials for it", w.Credentials)
	case errors.As(err, &dns) && dns.IsNotFound:
		return bad("there is no host "+dns.Name, "correct endpoint or region in "+w.Block)
	}
	status, region := 0, ""
	if errors.As(err, &answer) {
		status = answer.HTTPStatusCode()
		if answer.Response != nil && answer.Response.Response != nil {
			region = answer.Response.Header.Get("X-Amz-Bucket-Region")
		}
	}
	switch code := apiCode(err); {
	case code == "NoSuchBucket":
		return bad("there is no bucket "+o.Bucket, "make it: aws s3 mb s3://"+o.Bucket+"; or correct bucket in "+w.Block)
	case code == "RequestTimeTooSkewed":
		return bad("this machine's clock is wrong by more than 15 minutes", "set it: timedatectl set-ntp true")
	case code == "AuthorizationHeaderMalformed", code == "PermanentRedirect", code == "IllegalLocationConstraintException",
		status == http.StatusMovedPermanently, status == http.StatusTemporaryRedirect, status == http.StatusBadRequest && region != "" && region != o.Region:
		if m := expectedRegion.FindStringSubmatch(err.Error()); m != nil {
			region = m[1]
		}
		if region == "" || region == o.Region {
			return bad("the bucket is not in the region "+o.Region, "write its region in "+w.Block+": region = \"…\"")
		}
		return bad("the bucket is in the region "+region+", not in "+o.Region, "write in "+w.Block+": region = \""+region+"\"")
	case code == "InvalidAccessKeyId", code == "XAdminUserNotFound", code == "SignatureDoesNotMatch", code == "ExpiredToken", code == "InvalidToken":
		return bad("the credentials are not accepted ("+code+")", w.Renew)
	case status == http.StatusForbidden || status == http.StatusUnauthorized:
		return bad("the credentials do not allow this ("+cmp.Or(code, http.StatusText(status))+")", w.Rights)
	case status == http.StatusNotImplemented:
		return bad("the server does not know what troop asks of it ("+cmp.Or(code, "501")+")", "use a server with conditional writes, as AWS, MinIO, Garage, Ceph and versitygw have them")
	}
	return err
}

func apiCode(err error) string {
	if api, ok := errors.AsType[smithy.APIError](err); ok {
		return api.ErrorCode()
	}
	return ""
}

// isCredentials reports whether no credentials could be had.
func isCredentials(err error) bool {
	return regexp.MustCompile(`get identity|get credentials|refresh cached credentials|no EC2 IMDS role`).MatchString(err.Error())
}

// brief is an error of the SDK without request IDs and the names of its own parts.
func brief(err error) error {
	var (
		answer *smithyhttp.ResponseError
		bad    *url.Error
		api    smithy.APIError
	)
	switch {
	case errors.As(err, &answer) && answer.HTTPStatusCode() == 0 && errors.As(err, &bad): // none came
		return &failedRequest{bad.Err.Error(), err}
	case errors.As(err, &answer) && errors.As(err, &api) && api.ErrorMessage() != "":
		return &failedRequest{fmt.Sprintf("%d %s: %s", answer.HTTPStatusCode(), api.ErrorCode(), api.ErrorMessage()), err}
	case errors.As(err, &answer):
		return &failedRequest{fmt.Sprintf("%d %s", answer.HTTPStatusCode(), http.StatusText(answer.HTTPStatusCode())), err}
	case errors.As(err, &bad):
		return &failedRequest{bad.Err.Error(), err}
	}
	return err
}

type failedRequest struct {
	text string
	error
}

func (e *failedRequest) Error() string { return e.text }
func (e *failedRequest) Unwrap() error { return e.error }

// Busy reports whether a server has answered that it cannot do its work now.
func Busy(err error) bool {
	answer, ok := errors.AsType[*smithyhttp.ResponseError](err)
	return ok && (answer.HTTPStatusCode() >= 500 || answer.HTTPStatusCode() == http.StatusTooManyRequests)
}

// Full reports whether a server has answered that there is no space: AWS has none of these answers.
func Full(err error) bool {
	code := apiCode(err)
	answer, ok := errors.AsType[*smithyhttp.ResponseError](err)
	return ok && answer.HTTPStatusCode() == http.StatusInsufficientStorage || strings.Contains(code, "Quota") || strings.Contains(code, "StorageFull")
}

// Temporary reports whether a request may succeed later.
func Temporary(err error) bool {
	switch {
	case err == nil, errors.Is(err, fs.ErrNotExist), errors.As(err, new(*UnusableError)):
		return false
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return true // of one attempt: the caller looks at its own context first
	}
	if answer, ok := errors.AsType[*smithyhttp.ResponseError](err); ok {
		switch status := answer.HTTPStatusCode(); {
		case status < 300: // the answer cannot be read
			return true
		case slices.Contains([]string{"XAmzContentSHA256Mismatch", "BadDigest", "IncompleteBody"}, apiCode(err)): // damaged on its way there
			return true
		case status >= 500, status == http.StatusTooManyRequests, status == http.StatusRequestTimeout, status == http.StatusConflict:
			return true
		}
		for _, r := range retry.DefaultRetryables {
			if r.IsErrorRetryable(err).Bool() {
				return true
			}
		}
		return false
	}
	return true // it did not answer
}
