package archive

import (
	"errors"
	"io"
)

// Frames compresses what r holds.
func Frames(w io.Writer, r io.Reader) error {
	z, err := newFrames(w)
	if err != nil {
		return err
	}
	_, err = io.Copy(z, r)
	return errors.Join(err, z.Close())
}
