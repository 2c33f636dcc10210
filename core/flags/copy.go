package flags

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/google/renameio/v2"
)

// The reasons and error codes of an evaluation, as OpenFeature names them.
const (
	ReasonStatic   = "STATIC"
	ReasonTarget   = "TARGETING_MATCH"
	ReasonDefault  = "DEFAULT"
	ReasonDisabled = "DISABLED"
	ReasonError    = "ERROR"

	CodeNotFound = "FLAG_NOT_FOUND"
	CodeParse    = "PARSE_ERROR"
	CodeGeneral  = "GENERAL"
)

// Result is what an evaluation comes to. Without a value, the reader's own default holds.
type Result struct {
	Value    any
	Variant  string
	Reason   string
	Metadata map[string]any
	Code     string // of an error; empty: none
	Detail   string // of the error
}

func (c *compiled) evaluate(context map[string]any, now time.Time) Result {
	failed := func(code, detail string) Result { return Result{Reason: ReasonError, Code: code, Detail: detail} }
	switch {
	case c.err != nil:
		return failed(CodeParse, c.err.Error())
	case c.State == Disabled || c.off:
		return Result{Reason: ReasonDisabled, Metadata: c.Metadata}
	}
	r := Result{Variant: c.Default, Reason: ReasonStatic, Metadata: c.Metadata}
	if c.rule != nil {
		v, err := c.rule.Eval(context, c.Name, now)
		if err != nil {
			return failed(CodeGeneral, fmt.Sprintf("flag %s: %v", c.Name, err))
		}
		r.Reason = ReasonDefault
		if v != nil {
			r.Variant, r.Reason = variant(v), ReasonTarget
			if _, ok := c.Variants[r.Variant]; !ok {
				return failed(CodeParse, fmt.Sprintf("flag %s: the rule chose %q, which is not one of its variants", c.Name, r.Variant))
			}
		}
	}
	if r.Variant == "" {
		r.Reason = ReasonDefault
	}
	r.Value = c.Variants[r.Variant]
	return r
}

// variant is the name that the result of a rule stands for: true and 1 are names, too.
func variant(v any) string {
	if s, ok := v.(string); ok {
		return s
	}
	text, err := json.Marshal(v)
	if err != nil { // a number that JSON does not have
		return fmt.Sprint(v)
	}
	return string(text)
}

// Snapshot is all flags at one moment. It does not change.
type Snapshot struct {
	Tag     string    // differs when the flags differ
	Changed time.Time // when the last of them was changed

	flags   map[string]compiled
	stops   Stops
	names   []string      // sorted
	expired chan struct{} // closed when there is a newer one
}

// Expired is closed when there is a newer snapshot.
func (s *Snapshot) Expired() <-chan struct{} { return s.expired }

// Names are those of all flags that are not disabled, sorted.
func (s *Snapshot) Names() []string { return s.names }

// Evaluate answers what a flag is for a context. It never fails: what went wrong is in the result.
func (s *Snapshot) Evaluate(name string, context map[string]any) Result {
	c, ok := s.flags[name]
	if !ok || c.Unset {
		return Result{Reason: ReasonError, Code: CodeNotFound, Detail: fmt.Sprintf("flag %q is not set", name)}
	}
	return c.evaluate(context, time.Now())
}

func snapshot(all map[string]compiled, stops Stops) *Snapshot {
	s := &Snapshot{flags: all, stops: stops, expired: make(chan struct{})}
	h := sha256.New()
	for _, name := range slices.Sorted(maps.Keys(all)) {
		c := all[name]
		c.off = stops.Off(c.Flag)
		all[name] = c
		if !c.Unset && c.State != Disabled && !c.off {
			s.names = append(s.names, name)
		}
		if c.Updated.After(s.Changed) {
			s.Changed = c.Updated
		}
		if c.off && stops[c.Text(Release)].After(s.Changed) {
			s.Changed = stops[c.Text(Release)]
		}
		fmt.Fprintf(h, "%s %d %d %v\n", name, c.Version, c.Updated.UnixNano(), c.off)
	}
	s.Tag = hex.EncodeToString(h.Sum(nil)[:8])
	return s
}

// Copy is the flags of an environment on one host: in memory, and in a file that outlives this process. It is safe for
// concurrent use.
type Copy struct {
	// Refused hears of flags that are not genuine or that are older than what this host knows. Optional.
	Refused func(error)

	file string
	log  *slog.Logger
	save chan struct{} // asks for the file to be written

	mu  sync.RWMutex
	now *Snapshot
}

// OpenCopy starts with the flags in the file, if there is one. A file that cannot be read is reported and replaced later:
// the flags in Redis are the truth.
func OpenCopy(file string, log *slog.Logger) *Copy {
	c := &Copy{file: file, log: log, save: make(chan struct{}, 1), now: snapshot(nil, nil)}
	var kept kept
	data, err := os.ReadFile(file)
	if err == nil {
		err = json.Unmarshal(data, &kept)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		log.Error("the copy of the flags cannot be read; there are none until Redis answers", "error", err)
	}
	c.stopped(kept.Stopped)
	c.stand(kept.Flags)
	return c
}

// kept is what is in the file.
type kept struct {
	Flags   []Flag `json:"flags"`
	Stopped Stops  `json:"stopped,omitempty"`
}

// Snapshot returns the flags as they are known now.
func (c *Copy) Snapshot() *Snapshot {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.now
}

// Run follows the flags until ctx ends.
func (c *Copy) Run(ctx context.Context, from *Flags) error {
	saving := make(chan struct{})
	following, end := context.WithCancel(context.WithoutCancel(ctx))
	go func() {
		defer close(saving)
		c.saveLoop(following) // to the last change that following brings
	}()
	away := false
	stand := func(all []Flag) {
		c.stand(all)
		away = false
		c.log.Info("following the flags", "flags", len(all))
	}
	err := from.Follow(ctx, Follower{stand, c.change, c.stopped, func(err error) {
		if _, forged := errors.AsType[*ForgedError](err); forged {
			c.refuse(err)
			return
		}
		if _, broken := errors.AsType[brokenError](err); broken || !away { // one line for each time that Redis is away
			c.log.Warn("flags", "error", err)
			away = !broken
		}
	}})
	end()
	<-saving
	return err
}

// stand takes over all flags that are in Redis. One that Redis does not have any more, and that nobody unset, stays as it
// is. Nothing is told when all are the same.
func (c *Copy) stand(list []Flag) {
	all := maps.Clone(c.Snapshot().flags)
	if all == nil {
		all = map[string]compiled{}
	}
	for _, f := range list {
		if known, ok := all[f.Name]; ok && f.Older(known.Flag) {
			c.refuse(fmt.Errorf("flag %s is refused: it is of %s, after one of %s", f.Name, f.Updated.Format(time.RFC3339Nano), known.Updated.Format(time.RFC3339Nano)))
			continue
		}
		all[f.Name] = compile(f)
	}
	c.replace(snapshot(all, c.Snapshot().stops))
}

// stopped replaces the stopped releases.
func (c *Copy) stopped(stops Stops) {
	all := maps.Clone(c.Snapshot().flags)
	c.replace(snapshot(all, stops))
}

// change replaces one flag, unless the change is older than what is known.
func (c *Copy) change(f Flag) {
	now := c.Snapshot()
	if known, ok := now.flags[f.Name]; ok && f.Older(known.Flag) {
		return // told late
	}
	all := maps.Clone(now.flags)
	if all == nil {
		all = map[string]compiled{}
	}
	all[f.Name] = compile(f)
	c.replace(snapshot(all, now.stops))
}

func (c *Copy) refuse(err error) {
	c.log.Error("a flag is refused", "error", err)
	if c.Refused != nil {
		c.Refused(err)
	}
}

func (c *Copy) replace(next *Snapshot) {
	c.mu.Lock()
	last := c.now
	same := last.Tag == next.Tag
	if same && maps.Equal(last.stops, next.stops) {
		c.mu.Unlock()
		return
	}
	if same { // a release without flags was stopped: nothing that a reader sees
		next.expired = last.expired
	}
	c.now = next
	c.mu.Unlock()
	if !same {
		close(last.expired)
	}
	select {
	case c.save <- struct{}{}:
	default:
	}
}

// saveLoop writes the file after changes: readers never wait for the disk. What ctx interrupts is written at last.
func (c *Copy) saveLoop(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			select {
			case <-c.save:
				c.write()
			default:
			}
			return
		case <-c.save:
			c.write()
		}
	}
}

func (c *Copy) write() {
	s := c.Snapshot()
	list := make([]Flag, 0, len(s.flags))
	for _, name := range slices.Sorted(maps.Keys(s.flags)) {
		list = append(list, s.flags[name].Flag)
	}
	data, err := json.Marshal(kept{list, s.stops})
	if err == nil {
		err = renameio.WriteFile(c.file, data, 0o600)
	}
	if err != nil {
		c.log.Error("the copy of the flags cannot be written", "error", err)
	}
}
