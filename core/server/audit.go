package server

import (
	"time"

	"go.etcd.io/bbolt"
)

// Act is something that somebody did through the server.
type Act struct {
	Number   uint64    `json:"number"`
	Time     time.Time `json:"time"`
	By       string    `json:"by"` // an account, or who sent a webhook
	From     string    `json:"from,omitempty"`
	Pipeline string    `json:"pipeline,omitempty"`
	Place    string    `json:"environment,omitempty"`
	What     string    `json:"what"` // as on a command line
	Reason   string    `json:"reason,omitempty"`

	Ended  time.Time `json:"ended,omitzero"` // zero: it goes on, or the server died meanwhile
	Failed bool      `json:"failed,omitempty"`
	Output []string  `json:"output,omitempty"` // the last lines

	Dropped int `json:"dropped,omitempty"` // lines before those
}

// record adds an act to the audit trail and returns its number.
func (s *Server) record(a Act) (n uint64, err error) {
	err = s.db.Update(func(tx *bbolt.Tx) error {
		a.Number = tx.Bucket(auditBucket).Sequence() + 1
		n, err = add(tx, auditBucket, a)
		return err
	})
	return n, err
}

// amend writes an act again, with what became of it.
func (s *Server) amend(a Act) error {
	return s.db.Update(func(tx *bbolt.Tx) error { return put(tx, auditBucket, sequence(a.Number), a) })
}

// act returns an act by its number.
func (s *Server) act(n uint64) (a Act, ok bool, err error) {
	err = s.db.View(func(tx *bbolt.Tx) error {
		a, ok, err = get[Act](tx, auditBucket, sequence(n))
		return err
	})
	return a, ok, err
}

// acts returns the newest acts that a caller may see, of a pipeline or of all, before the one of a number; 0: from the newest.
func (s *Server) acts(c caller, pipeline string, before uint64, limit int) (list []Act, err error) {
	err = s.db.View(func(tx *bbolt.Tx) error {
		return each(tx, auditBucket, true, func(_ []byte, a Act) bool {
			if (before == 0 || a.Number < before) && (pipeline == "" || a.Pipeline == pipeline) && c.in(a.Pipeline, a.Place).atLeast(Viewer) {
				list = append(list, a)
			}
			return len(list) < limit
		})
	})
	return list, err
}
