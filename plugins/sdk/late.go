package sdk

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/zclconf/go-cty/cty"
	ctyjson "github.com/zclconf/go-cty/cty/json"
	"github.com/zclconf/go-cty/cty/msgpack"

	"github.com/seed-b96de936/troop/plugins/sdk/contract"
)

// FillScope replaces what stands in a scope for the hashes of files of a workspace. The core's half calls it before
// every call of a plugin. A file that is not there is a *Failure.
func FillScope(s contract.Scope, workspace string) (contract.Scope, error) {
	if workspace == "" || !contract.HasLate(s.Value, contract.LateFileHash) {
		return s, nil
	}
	scope, err := decodeScope(s)
	if err != nil {
		return s, err
	}
	if err := fillFileHashes(scope, workspace); err != nil {
		return s, &contract.Failure{Reason: err.Error()}
	}
	v := cty.ObjectVal(scope)
	if s.Type, err = ctyjson.MarshalType(v.Type()); err != nil {
		return s, fmt.Errorf("encode type of scope: %w", err)
	}
	if s.Value, err = msgpack.Marshal(v, v.Type()); err != nil {
		return s, fmt.Errorf("encode scope: %w", err)
	}
	return s, nil
}

// fillFileHashes puts the hashes of files of the workspace where the core has left a text that stands for them.
func fillFileHashes(scope map[string]cty.Value, workspace string) error {
	for name, v := range scope {
		filled, err := cty.Transform(v, func(_ cty.Path, v cty.Value) (cty.Value, error) {
			if v.Type() != cty.String || !v.IsKnown() || v.IsNull() {
				return v, nil
			}
			text, err := contract.FillLate(v.AsString(), contract.LateFileHash, func(names []string) (string, error) {
				return fileHash(workspace, names)
			})
			return cty.StringVal(text), err
		})
		if err != nil {
			return err
		}
		scope[name] = filled
	}
	return nil
}

// fileHash is the SHA-256 of the names and contents of files, in hexadecimal.
func fileHash(workspace string, names []string) (string, error) {
	root, err := os.OpenRoot(workspace)
	if err != nil {
		return "", fmt.Errorf("filehash: %w", err)
	}
	defer func() { _ = root.Close() }()
	sum := sha256.New()
	for _, name := range names {
		info, err := root.Stat(name)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return "", fmt.Errorf("filehash: the commit has no file %s", name)
		case err != nil:
			return "", fmt.Errorf("filehash: %w", err)
		case !info.Mode().IsRegular():
			return "", fmt.Errorf("filehash: %s is no regular file", name)
		}
		f, err := root.Open(name)
		if err != nil {
			return "", fmt.Errorf("filehash: %w", err)
		}
		_, _ = fmt.Fprintf(sum, "%d %s %d ", len(name), name, info.Size())
		_, err = io.Copy(sum, f)
		_ = f.Close()
		if err != nil {
			return "", fmt.Errorf("filehash: %w", err)
		}
	}
	return hex.EncodeToString(sum.Sum(nil)), nil
}
