package store

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"github.com/seed-b96de936/troop/core"
)

// UnusableError says why a store cannot be used as it is set up, and what to do. Trying again does not help.
type UnusableError struct{ Store, Problem, Remedy string }

func (e *UnusableError) Error() string {
	return fmt.Sprintf("the store %s cannot be used: %s; %s", e.Store, e.Problem, e.Remedy)
}

// maxClockOff is how far the clock of a machine may be from that of the store. A run's ID begins with its time: with a
// wrong clock, runs would be listed in another order than they were made. Servers refuse requests at 15 minutes.
const maxClockOff = 5 * time.Minute

// checkClock compares this machine's clock with the store's, as its last answer said. It is only asked before anything is
// done: a run does not fail because a clock was set.
func checkClock(o core.Objects) error {
	if a, ok := o.(*Announced); ok {
		o = a.Objects
	}
	if p, ok := o.(Patient); ok {
		o = p.Objects
	}
	s, ok := o.(*S3)
	if !ok {
		return nil
	}
	off := time.Duration(s.clockOff.Load())
	if off.Abs() <= maxClockOff {
		return nil
	}
	how := "behind"
	if off < 0 {
		how = "ahead of"
	}
	return &UnusableError{s.o.String(), fmt.Sprintf("this machine's clock is %d minutes %s the store's", int(off.Abs().Round(time.Minute).Minutes()), how), "set it: timedatectl set-ntp true"}
}

// expectedRegion finds the right region in a server's sentence about a wrong one.
var expectedRegion = regexp.MustCompile(`expecting ['"]([a-z0-9-]+)['"]`)

// unusable returns an *UnusableError for what a person has to mend, else err as it is.
func (o S3Options) unusable(err error) error {
	if err == nil {
		return nil
	}
	bad := func(problem, remedy string) error { return &UnusableError{o.String(), problem, remedy} }
	var (
		profile config.SharedConfigProfileNotExistError
		dns     *net.DNSError
		answer  *smithyhttp.ResponseError
		sign    *smithy.OperationError
	)
	switch {
	case errors.As(err, &profile):
		return bad(fmt.Sprintf("there is no AWS profile %q", profile.Profile), "make it: aws configure --profile "+profile.Profile+"; or name another in the store block")
	case errors.As(err, &sign) && isCredentials(err): // whatever those say who were asked for some
		return bad("there are no credentials for it", "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or name a profile in the store block: profile = \"…\"")
	case errors.As(err, &dns) && dns.IsNotFound:
		return bad("there is no host "+dns.Name, "correct endpoint or region in the store block")
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
		return bad("there is no bucket "+o.Bucket, "make it: aws s3 mb s3://"+o.Bucket+"; or correct bucket in the store block")
	case code == "RequestTimeTooSkewed":
		return bad("this machine's clock is wrong by more than 15 minutes", "set it: timedatectl set-ntp true")
	case code == "AuthorizationHeaderMalformed", code == "PermanentRedirect", code == "IllegalLocationConstraintException",
		status == http.StatusMovedPermanently, status == http.StatusTemporaryRedirect, status == http.StatusBadRequest && region != "" && region != o.Region:
		if m := expectedRegion.FindStringSubmatch(err.Error()); m != nil {
			region = m[1]
		}
		if region == "" || region == o.Region {
			return bad("the bucket is not in the region "+o.Region, "write its region in the store block: region = \"…\"")
		}
		return bad("the bucket is in the region "+region+", not in "+o.Region, "write in the store block: region = \""+region+"\"")
	case code == "InvalidAccessKeyId", code == "XAdminUserNotFound", code == "SignatureDoesNotMatch", code == "ExpiredToken", code == "InvalidToken":
		return bad("the credentials are not accepted ("+code+")", "renew AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or the profile")
	case status == http.StatusForbidden || status == http.StatusUnauthorized:
		return bad("the credentials do not allow this ("+cmpOr(code, http.StatusText(status))+")",
			"they need s3:ListBucket on the bucket, and s3:GetObject, s3:PutObject and s3:DeleteObject on "+o.String()+"/*")
	case status == http.StatusNotImplemented:
		return bad("the server does not know what troop asks of it ("+cmpOr(code, "501")+")", "use a server with conditional writes, as AWS, MinIO, Garage, Ceph and versitygw have them")
	}
	return err
}

func cmpOr(a, b string) string {
	if a != "" {
		return a
	}
	return b
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

// busy reports whether a store has answered that it cannot do its work now.
func busy(err error) bool {
	answer, ok := errors.AsType[*smithyhttp.ResponseError](err)
	return ok && (answer.HTTPStatusCode() >= 500 || answer.HTTPStatusCode() == http.StatusTooManyRequests)
}

// temporary reports whether a request may succeed later.
func temporary(err error) bool {
	var damage *DamageError
	switch {
	case err == nil, errors.Is(err, fs.ErrNotExist), errors.As(err, new(*UnusableError)):
		return false
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded), errors.As(err, &damage):
		return true // of one attempt: Patient looks at its own context first
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
