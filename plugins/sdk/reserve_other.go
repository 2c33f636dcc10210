//go:build !linux

package sdk

import (
	"errors"
	"os"
)

// allocate fails: agents run on Linux only.
func allocate(*os.File, int64) error { return errors.ErrUnsupported }

func full(string) bool { return false }
