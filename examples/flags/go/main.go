// Command go reads feature flags with the OpenFeature SDK for Go, from the agent on its host. provider.go is all that it
// takes; OpenFeature's own provider for OFREP does the same.
package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"os"

	"github.com/open-feature/go-sdk/openfeature"
)

func main() {
	if err := run(context.Background(), cmp.Or(os.Getenv("OFREP_ENDPOINT"), "http://127.0.0.1:8016"), os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(ctx context.Context, endpoint string, out io.Writer) error {
	if err := openfeature.SetProviderWithContextAndWait(ctx, newProvider(endpoint)); err != nil {
		return err
	}
	flags := openfeature.NewClient("example")
	for _, user := range []string{"anna", "ben"} {
		about := openfeature.NewEvaluationContext(user, map[string]any{"plan": map[string]string{"anna": "pro"}[user]})
		feature, err := flags.BooleanValue(ctx, "new-feature", false, about)
		banner, err2 := flags.StringValue(ctx, "banner", "none", about)
		limit, err3 := flags.IntValue(ctx, "limit", 10, about)
		fmt.Fprintln(out, user, feature, banner, limit, err, err2, err3)
	}
	return nil
}
