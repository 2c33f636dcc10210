package main

import (
	"context"
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/seed-b96de936/troop/plugins/maintenance/storage"
)

// search says which receipts are wanted. An empty one wants all.
type search struct {
	ID    string    `json:"id,omitempty"`
	File  string    `json:"file,omitempty"` // part of the path
	Since time.Time `json:"since,omitzero"` // of the verification
	Until time.Time `json:"until,omitzero"`
}

// foundMost is how many receipts an agent returns for a search: the newest.
const foundMost = 500

func (s search) wants(r *storage.Receipt) bool {
	return (s.ID == "" || r.ID == s.ID) && strings.Contains(r.Path.String(), s.File) &&
		(s.Since.IsZero() || !r.Verified.Before(s.Since)) && (s.Until.IsZero() || r.Verified.Before(s.Until))
}

// may reports whether the receipt at a path of the storage host can be wanted. The path has the name of the file and the ID.
func (s search) may(name string) bool {
	return strings.Contains(name, s.ID) && (strings.Contains(s.File, "/") || strings.Contains(path.Base(name), s.File))
}

// find searches the journal, and the storage host when the journal has nothing.
func (a *agent) find(ctx context.Context, s search) ([]storage.Receipt, error) {
	var list []storage.Receipt
	for i := range a.journal.Receipts() {
		if r := &a.journal.Receipts()[i]; s.wants(r) {
			list = append(list, *r)
		}
	}
	if len(list) == 0 {
		if a.remote == nil {
			if a.connect(ctx); a.remote == nil {
				return nil, fmt.Errorf("%s cannot be reached from %s", a.where(), a.info.Host)
			}
		}
		all, _, err := storage.Receipts(a.remote, string(a.info.Host), s.may)
		if err != nil {
			return nil, err
		}
		list = slices.DeleteFunc(all, func(r storage.Receipt) bool { return !s.wants(&r) })
	}
	slices.SortFunc(list, func(x, y storage.Receipt) int { return x.Verified.Compare(y.Verified) })
	return list[max(0, len(list)-foundMost):], nil
}

// rebuilt says what a rebuild has done.
type rebuilt struct {
	Found int `json:"found"`
	New   int `json:"new"`
	Bad   int `json:"bad,omitempty"` // files that are no receipts of this host
}

// rebuild takes all receipts of this host from the storage host into the journal.
func (a *agent) rebuild() (rebuilt, error) {
	all, bad, err := storage.Receipts(a.remote, string(a.info.Host), func(string) bool { return true })
	if err != nil {
		return rebuilt{}, err
	}
	n, err := a.journal.Learn(all)
	if err != nil {
		return rebuilt{}, err
	}
	return rebuilt{Found: len(all), New: n, Bad: bad}, nil
}
