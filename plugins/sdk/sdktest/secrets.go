package sdktest

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/seed-b96de936/troop/plugins/sdk"
	"github.com/seed-b96de936/troop/plugins/sdk/contract"
)

// Token is the value of secret.token for Secrets.
const Token = "token-of-the-manifest"

// Secrets tests the contract of Secret in an implementation of Capabilities. c serves a job whose block refers only to
// secret.token, with the value Token.
func Secrets(ctx context.Context, t *testing.T, c contract.Capabilities) {
	t.Helper()
	for range 2 {
		if v, err := c.Secret(ctx, "token"); err != nil || v != Token {
			t.Errorf("secret.token: %q, %v", v, err)
		}
	}
	for _, name := range []string{"other", "secret.token", "", "storage_private_key", "storage_known_hosts", "redis_password"} {
		v, err := c.Secret(ctx, name)
		missing := (*sdk.NotFoundError)(nil)
		switch {
		case v != "" || !errors.Is(err, sdk.ErrNotFound):
			t.Errorf("a secret %q that the block does not refer to: %q, %v", name, v, err)
		case !errors.As(err, &missing) || missing.What != "secret" || missing.Name != name || !strings.Contains(missing.Remedy, "secret."+name):
			t.Errorf("a secret %q that the block does not refer to: %v, want a remedy", name, err)
		}
	}
}
