package secret

import (
	"context"
	"errors"
	"fmt"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	"github.com/aws/smithy-go"
)

// settings are those of AWS's own tools: environment variables, ~/.aws, the role of the machine. So endpoints can be
// replaced as everywhere, by AWS_ENDPOINT_URL_SSM and its kin.
func settings(ctx context.Context, region string) (aws.Config, error) {
	var options []func(*config.LoadOptions) error
	if region != "" {
		options = append(options, config.WithRegion(region))
	}
	c, err := config.LoadDefaultConfig(ctx, options...)
	if err != nil {
		return c, fmt.Errorf("read AWS settings: %w", err)
	}
	if c.Region == "" {
		return c, errors.New("no AWS region is set; write region = \"…\" in the secret block, or set AWS_REGION")
	}
	if _, err := c.Credentials.Retrieve(ctx); err != nil {
		return c, fmt.Errorf("no AWS credentials: set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (%w)", err)
	}
	return c, nil
}

func parameter(ctx context.Context, region, name string) (string, error) {
	c, err := settings(ctx, region)
	if err != nil {
		return "", err
	}
	out, err := ssm.NewFromConfig(c).GetParameter(ctx, &ssm.GetParameterInput{Name: &name, WithDecryption: aws.Bool(true)})
	if err != nil {
		return "", explain(ctx, err, "parameter "+name, c.Region, "ssm:GetParameter")
	}
	return aws.ToString(out.Parameter.Value), nil
}

func secretsManager(ctx context.Context, region, id string) (string, error) {
	c, err := settings(ctx, region)
	if err != nil {
		return "", err
	}
	out, err := secretsmanager.NewFromConfig(c).GetSecretValue(ctx, &secretsmanager.GetSecretValueInput{SecretId: &id})
	if err != nil {
		return "", explain(ctx, err, "secret "+id, c.Region, "secretsmanager:GetSecretValue")
	}
	if out.SecretString == nil {
		return string(out.SecretBinary), nil
	}
	return *out.SecretString, nil
}

// explain says what an answer of AWS means for the one who wrote the manifest.
func explain(ctx context.Context, err error, what, region, action string) error {
	if ctx.Err() != nil {
		return fmt.Errorf("ask AWS for %s: %w", what, context.Cause(ctx))
	}
	answer := smithy.APIError(nil)
	if !errors.As(err, &answer) {
		return fmt.Errorf("ask AWS for %s: %w", what, err)
	}
	switch answer.ErrorCode() {
	case "ParameterNotFound", "ResourceNotFoundException":
		return fmt.Errorf("AWS has no %s in %s", what, region)
	case "AccessDeniedException", "AccessDenied":
		return fmt.Errorf("AWS does not let you read %s: it takes the permission %s, and kms:Decrypt when the key is your own", what, action)
	case "UnrecognizedClientException", "ExpiredTokenException", "InvalidSignatureException":
		return fmt.Errorf("AWS does not accept the credentials: %s", answer.ErrorMessage())
	}
	return fmt.Errorf("ask AWS for %s: %s: %s", what, answer.ErrorCode(), answer.ErrorMessage())
}
