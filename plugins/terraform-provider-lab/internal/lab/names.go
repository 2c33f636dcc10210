package lab

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"path/filepath"
	"regexp"
)

const (
	root  = "/var/lib/troop/lab" // ROOT/LAB/HOST holds a host's disk and console
	cache = "/var/cache/troop"
)

// ID names a lab on this machine. It is short because interface names, which contain it, have at most 15 bytes.
type ID string

var (
	idPattern   = regexp.MustCompile(`^[a-z0-9]{1,8}$`)
	hostPattern = regexp.MustCompile(`^[a-z]([a-z0-9-]{0,30}[a-z0-9])?$`)
)

// Validate returns an error if the ID is not valid.
func (l ID) Validate() error {
	if !idPattern.MatchString(string(l)) {
		return fmt.Errorf("lab %q: want one to eight of a-z and 0-9", string(l))
	}
	return nil
}

// ValidateHost returns an error if name is not a valid host name.
func ValidateHost(name string) error {
	if !hostPattern.MatchString(name) {
		return fmt.Errorf("host %q: want a letter, then letters, digits and dashes, at most 32 in all, lower case", name)
	}
	return nil
}

func (l ID) dir() string    { return filepath.Join(root, string(l)) }
func (l ID) bridge() string { return bridgePrefix + string(l) }

const bridgePrefix = "troop-"

// host derives the names and paths of one host.
type host struct {
	lab  ID
	name string
}

func (h host) dir() string     { return filepath.Join(h.lab.dir(), h.name) }
func (h host) disk() string    { return filepath.Join(h.dir(), "disk.img") }
func (h host) console() string { return filepath.Join(h.dir(), "console.log") }
func (h host) machine() string { return fmt.Sprintf("troop-%s-%s", h.lab, h.name) }

// link is the bridge's end of the host's veth pair; peer is the other end until it becomes host0 in the host.
func (h host) link() string { return "t" + string(h.lab) + "-" + h.short() }
func (h host) peer() string { return "u" + string(h.lab) + "-" + h.short() }

func (h host) short() string {
	sum := sha256.Sum256([]byte(h.name))
	return hex.EncodeToString(sum[:])[:5]
}
