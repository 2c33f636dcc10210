package buckettest

import (
	"context"
	"os/exec"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
)

// Client is an S3 client of the server, for what a bucket's owner does.
func (s *Server) Client(key, secret string) *s3.Client {
	return s3.New(s3.Options{
		BaseEndpoint: &s.Endpoint, Region: Region, UsePathStyle: true,
		Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
			return aws.Credentials{AccessKeyID: key, SecretAccessKey: secret}, nil
		}),
	})
}

// MakeBucket makes another bucket, with object lock or without.
func (s *Server) MakeBucket(t testing.TB, name string, lock bool) {
	t.Helper()
	in := &s3.CreateBucketInput{Bucket: &name, ObjectLockEnabledForBucket: &lock}
	if _, err := s.Client(AccessKey, SecretKey).CreateBucket(t.Context(), in); err != nil {
		t.Fatal(err)
	}
}

// Policy gives a bucket a policy.
func (s *Server) Policy(t testing.TB, name, policy string) {
	t.Helper()
	if _, err := s.Client(AccessKey, SecretKey).PutBucketPolicy(t.Context(), &s3.PutBucketPolicyInput{Bucket: &name, Policy: &policy}); err != nil {
		t.Fatal(err)
	}
}

// User makes a user who may do nothing but what policies allow.
func (s *Server) User(t testing.TB, key, secret string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), s.program, "admin", "--access", AccessKey, "--secret", SecretKey, "--region", Region, "--endpoint-url", s.Endpoint,
		"create-user", "--access", key, "--secret", secret, "--role", "user")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
}
