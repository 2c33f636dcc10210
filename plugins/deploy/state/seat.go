package state

import "strings"

// Seat is the place of a pool on a host, where one release serves. A host that is in both pools has two.
type Seat struct{ Host, Pool string }

// Slots are the two slots of a seat: one serves, and the next release starts in the other. Those of the pools differ, so that each
// slot of a host has a unit, a port and a server of the router of its own. The role release knows the ports.
func (s Seat) Slots() [2]string {
	if s.Pool == PoolCanary {
		return [2]string{"c", "d"}
	}
	return [2]string{"a", "b"}
}

// Idle is the slot that does not serve.
func (s Seat) Idle(p Placement) string {
	slots := s.Slots()
	if p.Slot == slots[0] {
		return slots[1]
	}
	return slots[0]
}

// Server is HAProxy's name of a slot.
func (s Seat) Server(slot string) string { return s.Host + "-" + slot }

// MarshalText makes seats keys of JSON: POOL/HOST.
func (s Seat) MarshalText() ([]byte, error) { return []byte(s.Pool + "/" + s.Host), nil }

// UnmarshalText reads POOL/HOST.
func (s *Seat) UnmarshalText(text []byte) error {
	s.Pool, s.Host, _ = strings.Cut(string(text), "/")
	return nil
}
