// Package secret reads the secrets that a manifest names from where they are kept: a file, a command, AWS Systems
// Manager's Parameter Store or AWS Secrets Manager. It runs in the troop program, which calls it before a run or when
// a stage's action needs the value. Nothing here remembers, writes or logs a value, and no error holds one.
package secret

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/seed-b96de936/troop/core"
	"github.com/seed-b96de936/troop/core/mask"
)

const (
	maxSize = 64 << 10 // bytes of a value: what AWS Secrets Manager keeps at most
	timeout = time.Minute
)

// Read returns the value of a secret. A value of one line has no line break at its end, whichever way it was written
// down; one of several lines is kept as it is, since a private key without its last line break is none.
func Read(ctx context.Context, s core.SecretSource) (string, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, timeout, fmt.Errorf("no answer within %v", timeout))
	defer cancel()
	value, err := read(ctx, s)
	if err != nil {
		return "", err
	}
	if s.Key != "" {
		if value, err = member(value, s.Key); err != nil {
			return "", err
		}
	}
	if line := strings.TrimRight(value, "\r\n"); !strings.Contains(line, "\n") {
		value = line
	}
	switch {
	case value == "":
		return "", errors.New("the value is empty")
	case len(value) > maxSize:
		return "", fmt.Errorf("the value is larger than %d KiB", maxSize>>10)
	case !utf8.ValidString(value):
		return "", errors.New("the value is not UTF-8 text")
	case len(strings.TrimSpace(value)) < mask.MinSecret:
		return "", fmt.Errorf("the value is shorter than %d characters, so that it cannot be hidden in outputs; choose a longer one", mask.MinSecret)
	}
	return value, nil
}

func read(ctx context.Context, s core.SecretSource) (string, error) {
	switch {
	case s.File != "":
		return file(s.File)
	case len(s.Command) > 0:
		return command(ctx, s.Command, s.Dir)
	case s.Parameter != "":
		return parameter(ctx, s.Region, s.Parameter)
	case s.SecretID != "":
		return secretsManager(ctx, s.Region, s.SecretID)
	}
	return "", errors.New("it is kept nowhere")
}

func file(path string) (string, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("there is no file %s; put the value there, readable by you alone", path)
	}
	if err != nil {
		return "", err
	}
	defer func() { _ = f.Close() }()
	text, err := io.ReadAll(io.LimitReader(f, maxSize+2)) // with a line break that is not of the value
	return string(text), err
}

// command runs without a shell, with the environment of this process: it is how the command finds its own keys.
func command(ctx context.Context, words []string, dir string) (string, error) {
	var out, said bytes.Buffer
	cmd := exec.CommandContext(ctx, words[0], words[1:]...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, &out, &said
	cmd.WaitDelay = time.Second // for what it leaves behind with its output open
	err := cmd.Run()
	switch {
	case ctx.Err() != nil:
		return "", fmt.Errorf("run %s: %w", words[0], context.Cause(ctx))
	case errors.Is(err, exec.ErrNotFound):
		return "", fmt.Errorf("the command %s is not installed", words[0])
	case err != nil:
		if last := lastLine(said.String()); last != "" {
			return "", fmt.Errorf("run %s: %w: %s", words[0], err, last)
		}
		return "", fmt.Errorf("run %s: %w", words[0], err)
	}
	return out.String(), nil
}

func lastLine(text string) string {
	text = strings.TrimSpace(text)
	return strings.TrimSpace(text[strings.LastIndexByte(text, '\n')+1:])
}

// member of a JSON object. The decoder's own errors quote the text, which is secret.
func member(text, key string) (string, error) {
	var object map[string]json.RawMessage
	if json.Unmarshal([]byte(text), &object) != nil {
		return "", fmt.Errorf("the value is not a JSON object, so that it has no member %q; leave key out to take all of it", key)
	}
	raw, ok := object[key]
	if !ok {
		return "", fmt.Errorf("the value, a JSON object, has no member %q", key)
	}
	var value string
	if json.Unmarshal(raw, &value) == nil {
		return value, nil
	}
	if bytes.HasPrefix(raw, []byte("{")) || bytes.HasPrefix(raw, []byte("[")) || string(raw) == "null" {
		return "", fmt.Errorf("the member %q is neither a text nor a number", key)
	}
	return string(raw), nil
}
