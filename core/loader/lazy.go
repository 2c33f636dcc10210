package loader

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"sync"

	"github.com/seed-b96de936/troop/core"
)

// Lazy returns the same plugins for those who only look: one is started when it is asked what it has not been
// asked before. What a block is worth depends on the block and the plugin alone.
func (l *Loader) Lazy() core.Plugins { return lazily{l} }

type lazily struct{ l *Loader }

func (z lazily) Open(ctx context.Context, typ string) (core.Plugin, error) {
	c, err := z.l.copy(typ)
	if err != nil {
		return nil, err
	}
	p := &lazyPlugin{l: z.l, typ: typ, digest: c.digest, good: z.l.store.good(c.digest)}
	var known bool
	if p.desc, known = z.l.store.description(c.digest); known && p.desc.Name == typ {
		return p, nil
	}
	started, err := p.started(ctx)
	if err != nil {
		return nil, err
	}
	p.desc = started.Description()
	return p, nil
}

// lazyPlugin is a plugin that runs when it must.
type lazyPlugin struct {
	l      *Loader
	typ    string
	digest core.Digest
	desc   core.Description

	mu   sync.Mutex
	p    core.Plugin // nil: not started
	good []string    // blocks in which it found nothing, the latest last
	news bool        // good is not what is stored
}

// started starts the plugin at the first call.
func (p *lazyPlugin) started(ctx context.Context) (core.Plugin, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.p != nil {
		return p.p, nil
	}
	started, err := p.l.Open(ctx, p.typ)
	if err != nil {
		return nil, err
	}
	if started.Digest() != p.digest {
		_ = started.Close()
		return nil, fmt.Errorf("plugin %s was changed at this moment; try again", p.typ)
	}
	p.p = started
	return started, nil
}

func (p *lazyPlugin) Description() core.Description { return p.desc }
func (p *lazyPlugin) Digest() core.Digest           { return p.digest }

// Check asks the plugin, unless it found nothing in the same block before.
func (p *lazyPlugin) Check(ctx context.Context, c core.Config) (core.Diagnostics, error) {
	key := blockKey(c)
	if p.isGood(key) {
		return nil, nil
	}
	started, err := p.started(ctx)
	if err != nil {
		return nil, err
	}
	diags, err := started.Check(ctx, c)
	if err == nil && len(diags) == 0 {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.good, p.news = append(p.good, key), true
	}
	return diags, err
}

// isGood moves a block that was good to the end of the list, where it is kept longest.
func (p *lazyPlugin) isGood(key string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	i := slices.Index(p.good, key)
	if i < 0 {
		return false
	}
	p.good = append(slices.Delete(p.good, i, i+1), key)
	return true
}

// blockKey tells one block, wherever it stands, from every other one.
func blockKey(c core.Config) string {
	h := sha256.New()
	for _, part := range [][]byte{[]byte(c.Name), c.Block.Source, c.Scope.Type, c.Scope.Value} {
		_, _ = fmt.Fprintf(h, "%d:", len(part))
		h.Write(part)
	}
	return hex.EncodeToString(h.Sum(nil))
}

func (p *lazyPlugin) Run(ctx context.Context, j core.Job, emit func(core.Message)) error {
	started, err := p.started(ctx)
	if err != nil {
		return err
	}
	return started.Run(ctx, j, emit)
}

func (p *lazyPlugin) Watch(ctx context.Context, j core.Job, emit func(core.Message)) error {
	started, err := p.started(ctx)
	if err != nil {
		return err
	}
	return started.Watch(ctx, j, emit)
}

func (p *lazyPlugin) Call(ctx context.Context, j core.Job, action string, args map[string]string, emit func(core.Message)) error {
	started, err := p.started(ctx)
	if err != nil {
		return err
	}
	return started.Call(ctx, j, action, args, emit)
}

// Close keeps what the plugin found good, and ends it.
func (p *lazyPlugin) Close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.news {
		p.l.store.saveGood(p.digest, p.good)
		p.news = false
	}
	if p.p == nil {
		return nil
	}
	return p.p.Close()
}

// keepGood is how many good blocks are remembered of one plugin.
const keepGood = 200

// good returns the blocks in which a plugin found nothing.
func (s *store) good(d core.Digest) []string {
	var keys []string
	if b, err := os.ReadFile(s.path(d, "good.json")); err != nil || json.Unmarshal(b, &keys) != nil {
		return nil
	}
	return keys
}

func (s *store) saveGood(d core.Digest, keys []string) {
	s.save(s.path(d, "good.json"), keys[max(len(keys)-keepGood, 0):])
}
