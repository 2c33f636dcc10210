package storage

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"path"
	"strings"
)

// Shelf is the part of a storage host that Receipts needs.
type Shelf interface {
	// Names are those of all files.
	Names() ([]string, error)
	Get(name string, dst io.Writer) error
}

// receiptMost is the size of a receipt that is read at most, in bytes.
const receiptMost = 1 << 20

// Receipts reads a host's receipts on the storage host whose names are wanted. Files that are no receipts, or those of
// another file or host, are counted only.
func Receipts(s Shelf, host string, want func(name string) bool) (list []Receipt, bad int, err error) {
	names, err := s.Names()
	if err != nil {
		return nil, 0, err
	}
	at := map[string]int{} // of an ID in the list: a receipt that was cut off is there once more
	for _, name := range names {
		if !strings.HasSuffix(name, ReceiptSuffix) || !want(name) {
			continue
		}
		var b limited
		if err := s.Get(name, &b); err != nil {
			if errors.Is(err, fs.ErrNotExist) {
				continue
			}
			return nil, bad, err
		}
		var r Receipt
		if json.Unmarshal(b.Bytes(), &r) != nil || r.ID == "" || r.Host != host || !strings.HasPrefix(name, string(r.Remote)+".") || path.Base(string(r.Remote)) != string(r.Remote) {
			bad++
			continue
		}
		if i, ok := at[r.ID]; !ok {
			at[r.ID] = len(list)
			list = append(list, r)
		} else if r.Verified.After(list[i].Verified) {
			list[i] = r
		}
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
