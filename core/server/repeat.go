package server

import (
	"bytes"
	"io"
	"net/http"
	"time"

	"go.etcd.io/bbolt"
)

// answered is the answer to a request with an Idempotency-Key, as
// https://datatracker.ietf.org/doc/draft-ietf-httpapi-idempotency-key-header has it.
type answered struct {
	Time   time.Time `json:"time"`
	Body   []byte    `json:"body"` // hash of the request's
	Status int       `json:"status"`
	Text   []byte    `json:"text"`
}

// mostKey is how long a key may be.
const mostKey = 255

// once answers a request of the API that has a key, and answers a repetition as it did the first time. A request that failed may
// be repeated.
func (s *Server) once(h handler) handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		key := r.Header.Get("Idempotency-Key")
		if key == "" {
			return h(w, r)
		}
		if len(key) > mostKey {
			return userError("an Idempotency-Key has %d characters at most", mostKey)
		}
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxForm))
		if err != nil {
			return err
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		name := []byte(callerOf(r.Context()).Name + "\n" + r.URL.Path + "\n" + key)
		s.onceMu.Lock() // two at the same time are one after the other
		defer s.onceMu.Unlock()
		var before answered
		var known bool
		err = s.db.View(func(tx *bbolt.Tx) (err error) {
			before, known, err = get[answered](tx, answeredBucket, name)
			return err
		})
		switch {
		case err != nil:
			return err
		case known && !bytes.Equal(before.Body, hashed(string(body))):
			return userError("this Idempotency-Key came with another body before")
		case known:
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(before.Status)
			_, _ = w.Write(before.Text) // a client that is gone has no reader to tell
			return nil
		}
		rec := &recorder{ResponseWriter: w, status: http.StatusOK}
		if err := h(rec, r); err != nil {
			return err
		}
		return s.db.Update(func(tx *bbolt.Tx) error {
			if err := drop(tx, answeredBucket, func(a answered) bool { return time.Since(a.Time) > memory }); err != nil {
				return err
			}
			return put(tx, answeredBucket, name, answered{time.Now(), hashed(string(body)), rec.status, rec.text.Bytes()})
		})
	}
}

// recorder remembers an answer.
type recorder struct {
	http.ResponseWriter
	status int
	text   bytes.Buffer
}

func (r *recorder) WriteHeader(status int) {
	r.status = status
	r.ResponseWriter.WriteHeader(status)
}

func (r *recorder) Write(b []byte) (int, error) {
	r.text.Write(b)
	return r.ResponseWriter.Write(b)
}
