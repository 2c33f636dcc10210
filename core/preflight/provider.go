package preflight

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"strings"

	"github.com/seed-b96de936/troop/core"
)

// Request is the input of a provider's check: Terraform's working folder and the root module's variables.
type Request struct {
	Folder    string                     `json:"folder"`
	Variables map[string]json.RawMessage `json:"variables"`
}

// Provider runs a provider's binary with the argument check, which verifies what it needs of this machine. It reads the
// request from standard input and prints one core.Check per line.
func Provider(ctx context.Context, binary string, request Request) ([]core.Check, error) {
	in, err := json.Marshal(request)
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, binary, "check")
	var stderr bytes.Buffer
	cmd.Stdin, cmd.Stderr = bytes.NewReader(in), &stderr
	out, err := cmd.Output()
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	if err != nil {
		return nil, fmt.Errorf("run check of %s: %w", binary, errors.Join(err, errorOf(stderr.String())))
	}
	var checks []core.Check
	for line := range bytes.Lines(out) {
		var c core.Check
		if err := json.Unmarshal(line, &c); err != nil {
			return nil, fmt.Errorf("run check of %s: unexpected output %q", binary, line)
		}
		checks = append(checks, c)
	}
	return checks, nil
}

func errorOf(text string) error {
	if text = strings.TrimSpace(text); text != "" {
		return errors.New(text)
	}
	return nil
}
