package core

import (
	"context"
	"errors"
	"io"
	"iter"
	"time"
)

// Objects keeps the truth of a project: values by key. A key is a path with slashes, such as "lab/hosts.json".
//
// Concurrency: any number of processes on any number of machines may use the same objects. A value is written as a whole:
// a reader sees the old one or the new one. Of several conditional writes with the same condition one succeeds. What was
// written is seen by every later read.
//
// Durability: a value survives a crash of the process once Put has returned.
//
// Errors: a missing value is fs.ErrNotExist, a condition that does not hold ErrChanged, both to be tested with errors.Is.
// After any other error of Put or Delete the outcome is unknown: read the value, or repeat a write that is harmless twice.
type Objects interface {
	// Get returns a value. The caller closes it.
	Get(ctx context.Context, key string) (io.ReadCloser, Object, error)
	// Put writes a value if the condition holds. It reads data from its start, perhaps more than once.
	Put(ctx context.Context, key string, data io.ReadSeeker, when Condition) (Object, error)
	// List yields the values whose keys begin with prefix, in the order of their keys. With shallow, what follows the
	// next slash after the prefix is left out: those keys are yielded once, up to and with the slash, without size and
	// tag. It ends after an error.
	List(ctx context.Context, prefix string, shallow bool) iter.Seq2[Object, error]
	// Delete removes a value. A missing one is no error.
	Delete(ctx context.Context, key string) error
}

// Object describes a value.
type Object struct {
	Key  string
	Size int64
	Tag  string        // of this version of the value; another version has another
	Age  time.Duration // since it was written, by the clock of the store, which may count in whole seconds
}

// Condition of a write. The zero value always holds.
type Condition struct {
	Absent bool   // there is no value yet
	Tag    string // the value is still the version with this tag; empty: any
}

// ErrChanged says that the condition of a write does not hold: somebody else has written the value.
var ErrChanged = errors.New("it was written by somebody else meanwhile")
