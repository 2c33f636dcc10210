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

// Request is what a provider of ours is told: where Terraform works, and the variables of the root module.
type Request struct {
	Folder    string                     `json:"folder"`
	Variables map[string]json.RawMessage `json:"variables"`
}

// Provider asks a provider's binary, which knows best what it needs of this machine: it is run with the argument
// check, reads the request, and writes a core.Check a line.
func Provider(ctx context.Context, binary string, request Request) ([]core.Check, error) {
	in, err := json.Marshal(request)
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, binary, "check")
	var complaints bytes.Buffer
	cmd.Stdin, cmd.Stderr = bytes.NewReader(in), &complaints
	out, err := cmd.Output()
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	if err != nil {
		return nil, fmt.Errorf("ask %s: %w", binary, errors.Join(err, said(complaints.String())))
	}
	var checks []core.Check
	for line := range bytes.Lines(out) {
		var c core.Check
		if err := json.Unmarshal(line, &c); err != nil {
			return nil, fmt.Errorf("ask %s: unexpected answer %q", binary, line)
		}
		checks = append(checks, c)
	}
	return checks, nil
}

func said(text string) error {
	if text = strings.TrimSpace(text); text != "" {
		return errors.New(text)
	}
	return nil
}
