package bus

import (
	"context"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"

	"github.com/google/renameio/v2"
)

// Signer signs what the operator's side tells the hosts.
type Signer struct {
	Key ed25519.PrivateKey
	// Fence returns the number of the present holder of the environment. It only grows: a host that has heard a holder
	// does not obey an earlier one.
	Fence func() (int64, error)
}

// order is an entry of the operator's side as it lies in Redis, and as a host keeps a copy of it.
type order struct {
	Value     []byte `json:"value"`
	Fence     int64  `json:"fence"`
	Version   int64  `json:"version"`
	Signature []byte `json:"signature"`
}

// message is what is signed: the entry, its place and its numbers, so that a genuine entry cannot stand for another one.
func (o order) message(environment, typ, key string) []byte {
	// A list of strings, numbers and bytes has exactly one encoding, but for bytes that are nil: Redis has them as empty ones.
	value := append([]byte{}, o.Value...)
	data, err := json.Marshal([]any{"troop order", environment, typ, key, o.Fence, o.Version, value})
	if err != nil {
		panic(err)
	}
	return data
}

func (b *Bus) sign(o *order, typ, key string) (err error) {
	if b.o.Sign == nil {
		return errors.New("this connection has no key to sign with")
	}
	if o.Fence, err = b.o.Sign.Fence(); err != nil {
		return fmt.Errorf("read the environment's fence: %w", err)
	}
	o.Signature = ed25519.Sign(b.o.Sign.Key, o.message(b.o.Environment, typ, key))
	return nil
}

// ForgedError is an entry that the operator's side did not write.
type ForgedError struct{ Type, Key string }

func (e *ForgedError) Error() string {
	return fmt.Sprintf("state %s of %s is refused: its signature is not the environment's; whoever wrote it had the rights of root on the router", e.Key, e.Type)
}

// StaleError is an entry that the operator's side wrote, and that was followed by another.
type StaleError struct {
	Type, Key      string
	Fence, Version int64 // of the entry
	Known, Last    int64 // the same of the one that was taken before
}

func (e *StaleError) Error() string {
	return fmt.Sprintf("state %s of %s is refused: it has fence %d, version %d, after fence %d, version %d", e.Key, e.Type, e.Fence, e.Version, e.Known, e.Last)
}

func (b *Bus) genuine(o order, typ, key string) error {
	if len(b.o.Trust) != ed25519.PublicKeySize || !ed25519.Verify(b.o.Trust, o.message(b.o.Environment, typ, key), o.Signature) {
		return &ForgedError{typ, key}
	}
	return nil
}

// Seal signs a value for all hosts of the environment, to be kept in Redis by packages with keys of their own. Kind says
// what it is; which one of them, the value says itself.
func (b *Bus) Seal(kind string, value []byte) ([]byte, error) {
	o := order{Value: value}
	if err := b.sign(&o, "", kind); err != nil { // orders have a type
		return nil, err
	}
	return json.Marshal(o)
}

// Unseal returns a value that the operator's side sealed, and the fence of who did.
func (b *Bus) Unseal(kind string, sealed []byte) (value []byte, fence int64, err error) {
	var o order
	if json.Unmarshal(sealed, &o) != nil || b.genuine(o, "", kind) != nil {
		return nil, 0, errors.New("its signature is not the environment's")
	}
	return o.Value, o.Fence, nil
}

// ledger remembers the orders that a host took, so that it obeys none that is older, and can give back what Redis lost.
type ledger struct {
	file string

	mu     sync.Mutex
	loaded bool
	taken  map[string]order // by TYPE:KEY
}

// take remembers an order. The same one again is fine.
func (l *ledger) take(typ, key string, o order) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.load(); err != nil {
		return err
	}
	last, known := l.taken[typ+":"+key]
	switch {
	case known && (o.Fence < last.Fence || o.Fence == last.Fence && o.Version < last.Version):
		return &StaleError{typ, key, o.Fence, o.Version, last.Fence, last.Version}
	case known && o.Fence == last.Fence && o.Version == last.Version:
		return nil
	}
	l.taken[typ+":"+key] = o
	if l.file == "" {
		return nil
	}
	data, err := json.Marshal(l.taken)
	if err == nil {
		err = renameio.WriteFile(l.file, data, 0o600)
	}
	if err != nil {
		return fmt.Errorf("remember order %s of %s: %w", key, typ, err)
	}
	return nil
}

// load reads the file at the first use. A damaged one is no reason to obey older orders, so it is an error.
func (l *ledger) load() error {
	if l.loaded {
		return nil
	}
	l.taken = map[string]order{}
	if l.file != "" {
		data, err := os.ReadFile(l.file)
		if err == nil {
			err = json.Unmarshal(data, &l.taken)
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("read the orders taken before: %w", err)
		}
	}
	l.loaded = true
	return nil
}

// lacking are the orders with a prefix whose keys are not among those that stand.
func (l *ledger) lacking(typ, prefix string, stand []string) map[string]order {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.load() != nil {
		return nil // taking the next order says so
	}
	all := maps.Clone(l.taken)
	maps.DeleteFunc(all, func(id string, _ order) bool {
		key, ok := strings.CutPrefix(id, typ+":")
		return !ok || !strings.HasPrefix(key, prefix) || slices.Contains(stand, key)
	})
	return all
}

// copyKey is the key of a host's entry that holds a copy of an order.
const copyKey = "order/"

// giveBack keeps copies of what Redis lost, in the name of this host. The operator's side finds them when it looks for an
// entry that is not there; only it can put them back, and its own signature tells it what is genuine.
func (s *State) giveBack(ctx context.Context, prefix string, stand []string) error {
	if s.b.o.Self == "" || s.shared {
		return nil
	}
	for id, o := range s.b.ledger.lacking(s.typ, prefix, stand) {
		data, err := json.Marshal(o)
		if err != nil {
			return err
		}
		key := strings.TrimPrefix(id, s.typ+":")
		if _, err := s.report(ctx, place{host: s.b.o.Self, rest: copyKey + key}, data); err != nil {
			return err
		}
	}
	return nil
}

// recover looks for the newest copy that a host has of an order, and puts it back.
func (s *State) recover(ctx context.Context, key string) (newest order, err error) {
	for _, h := range s.b.o.Hosts {
		value, err := s.b.rdb.HGet(ctx, s.redisKey(place{host: h.Name, rest: copyKey + key}), "value").Bytes()
		if err != nil {
			if isNil(err) {
				continue
			}
			return order{}, err
		}
		var o order
		if json.Unmarshal(value, &o) != nil || s.b.genuine(o, s.typ, key) != nil {
			continue // a host can write anything there
		}
		if o.Fence > newest.Fence || o.Fence == newest.Fence && o.Version > newest.Version {
			newest = o
		}
	}
	if newest.Version == 0 || s.b.o.Sign == nil {
		return newest, nil
	}
	_, err = s.put(ctx, key, newest, 0)
	return newest, err
}
