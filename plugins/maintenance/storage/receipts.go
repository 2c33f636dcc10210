package storage

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strings"

	"github.com/seed-b96de936/troop/plugins/maintenance/file"
)

// Shelf is the part of a storage host that Receipts needs.
type Shelf interface {
	// Walk calls each with the name of every file below a folder. A folder that is missing has none: fs.ErrNotExist.
	Walk(dir string, each func(name string)) error
	Get(name string, dst io.Writer) error
}

// receiptMost is the size of a receipt that is read at most, in bytes.
const receiptMost = 1 << 20

// Receipts reads a host's receipts on the storage host whose names are wanted. Files that are no receipts, or those of
// another file or host, are counted only.
func Receipts(s Shelf, host string, want func(name string) bool) (list []Receipt, bad int, err error) {
	var names []string
	err = s.Walk(host, func(name string) {
		if strings.HasSuffix(name, ".json") && want(name) {
			names = append(names, name)
		}
	})
	if errors.Is(err, fs.ErrNotExist) {
		return nil, 0, nil
	}
	if err != nil {
		return nil, 0, fmt.Errorf("list receipts on storage host: %w", err)
	}
	for _, name := range names {
		var b limited
		if err := s.Get(name, &b); err != nil {
			if errors.Is(err, fs.ErrNotExist) {
				continue
			}
			return nil, bad, err
		}
		var r Receipt
		if json.Unmarshal(b.Bytes(), &r) != nil || r.ID == "" || r.Host != host || r.Remote+".json" != file.Name(name) || path.Clean(name) != name {
			bad++
			continue
		}
		list = append(list, r)
	}
	return list, bad, nil
}

// limited keeps the first bytes that are written to it.
type limited struct{ bytes.Buffer }

func (l *limited) Write(p []byte) (int, error) {
	if rest := receiptMost - l.Len(); len(p) > rest {
		_, _ = l.Buffer.Write(p[:rest]) // a buffer does not fail
		return len(p), nil
	}
	return l.Buffer.Write(p)
}
