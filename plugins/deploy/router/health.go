package router

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/seed-b96de936/troop/plugins/deploy/haproxy"
	"github.com/seed-b96de936/troop/plugins/deploy/state"
)

// tellHealth tells HAProxy what its checks ask of each slot that is to serve: the slots of a host may hold releases
// with different paths. A slot that is being retired keeps what it has. The file comes first, as with weights.
func (r *Router) tellHealth(ctx context.Context, d *state.Desired) error {
	file := r.paths.health()
	have, err := r.api.Map(ctx, file)
	if err != nil {
		return err
	}
	want := maps.Clone(have)
	for seat, p := range d.Seats {
		h := d.Releases[p.Release].Health
		if p.Slot == "" || !h.HTTP() {
			continue
		}
		server := seat.Server(p.Slot)
		want[server], want[server+"/host"] = h.Path, h.Host
	}
	var changed, added []haproxy.Entry
	var text strings.Builder
	for _, key := range slices.Sorted(maps.Keys(want)) {
		e := haproxy.Entry{Key: key, Value: want[key]}
		fmt.Fprintf(&text, "%s %s\n", e.Key, e.Value)
		if old, ok := have[key]; !ok {
			added = append(added, e)
		} else if old != e.Value {
			changed = append(changed, e)
		}
	}
	if len(changed) == 0 && len(added) == 0 {
		return nil
	}
	if err := ReplaceFile(file, text.String()); err != nil {
		return fmt.Errorf("write what health checks ask: %w", err)
	}
	if len(changed) > 0 {
		if err := r.api.SetMap(ctx, file, changed...); err != nil {
			return err
		}
	}
	if len(added) > 0 {
		return r.api.AddMap(ctx, file, added...)
	}
	return nil
}

// Settings are those of HAProxy's configuration; nil as long as no service has asked for any.
func (r *Router) Settings() (*state.Settings, error) {
	b, err := os.ReadFile(r.paths.settings())
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	s := new(state.Settings)
	if err == nil {
		err = json.Unmarshal(b, s)
	}
	if err != nil {
		return nil, fmt.Errorf("read the router's settings: %w", err)
	}
	return s, nil
}
