package server

import (
	"cmp"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"
)

// The buckets of the database. Values are JSON.
var (
	accountsBucket  = []byte("accounts")  // by name
	sessionsBucket  = []byte("sessions")  // by the hash of the cookie's value
	tokensBucket    = []byte("tokens")    // by the hash of the token
	invitesBucket   = []byte("invites")   // by the hash of the link's secret
	queueBucket     = []byte("queue")     // by sequence number
	auditBucket     = []byte("audit")     // by sequence number
	seenBucket      = []byte("seen")      // deliveries of webhooks, by sender and ID
	reportsBucket   = []byte("reports")   // statuses that a forge is still to hear of, by commit
	pullsBucket     = []byte("pulls")     // the newest pull request of a commit, by pipeline and commit
	schedulesBucket = []byte("schedules") // when each was carried out last, by pipeline and name
	answeredBucket  = []byte("answered")  // answers of the API, by account, path and Idempotency-Key
)

// db is what the server itself remembers: one file, whose transactions survive a crash of the process and of the machine.
type db struct{ *bbolt.DB }

// openDB opens the database in a folder, which only one server may use at a time.
func openDB(dir string) (db, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return db{}, err
	}
	file := filepath.Join(dir, "server.db")
	b, err := bbolt.Open(file, 0o600, &bbolt.Options{Timeout: time.Second})
	if errors.Is(err, berrors.ErrTimeout) {
		return db{}, fmt.Errorf("another troop serve uses %s; stop it, or choose another folder with --data", file)
	}
	if err != nil {
		return db{}, fmt.Errorf("open %s: %w", file, err)
	}
	err = b.Update(func(tx *bbolt.Tx) error {
		for _, name := range [][]byte{accountsBucket, sessionsBucket, tokensBucket, invitesBucket, queueBucket, auditBucket, seenBucket, reportsBucket, pullsBucket, schedulesBucket, answeredBucket} {
			if _, err := tx.CreateBucketIfNotExists(name); err != nil {
				return err
			}
		}
		return nil
	})
	return db{b}, err
}

// put writes a value; nil removes it.
func put(tx *bbolt.Tx, bucket, key []byte, v any) error {
	if v == nil {
		return tx.Bucket(bucket).Delete(key)
	}
	data, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return tx.Bucket(bucket).Put(key, data)
}

// get reads a value, and reports whether there is one.
func get[T any](tx *bbolt.Tx, bucket, key []byte) (v T, ok bool, err error) {
	data := tx.Bucket(bucket).Get(key)
	if data == nil {
		return v, false, nil
	}
	return v, true, json.Unmarshal(data, &v)
}

// each hands the values of a bucket to f in the order of their keys, or, from the end, in the opposite one, until f says
// no more.
func each[T any](tx *bbolt.Tx, bucket []byte, fromEnd bool, f func(key []byte, v T) (more bool)) error {
	c := tx.Bucket(bucket).Cursor()
	step, next := c.First, c.Next
	if fromEnd {
		step, next = c.Last, c.Prev
	}
	for key, data := step(); key != nil; key, data = next() {
		var v T
		if err := json.Unmarshal(data, &v); err != nil {
			return err
		}
		if !f(key, v) {
			return nil
		}
	}
	return nil
}

// drop removes the values that gone takes.
func drop[T any](tx *bbolt.Tx, bucket []byte, gone func(T) bool) error {
	var keys [][]byte
	err := each(tx, bucket, false, func(key []byte, v T) bool {
		if gone(v) {
			keys = append(keys, slices.Clone(key))
		}
		return true
	})
	for _, key := range keys {
		err = cmp.Or(err, put(tx, bucket, key, nil))
	}
	return err
}

// add writes a value under the next sequence number, which it returns.
func add(tx *bbolt.Tx, bucket []byte, v any) (uint64, error) {
	n, err := tx.Bucket(bucket).NextSequence()
	if err != nil {
		return 0, err
	}
	return n, put(tx, bucket, sequence(n), v)
}

// sequence is the key of a number, in an order that is that of the numbers.
func sequence(n uint64) []byte { return binary.BigEndian.AppendUint64(nil, n) }
