package environment

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/google/renameio/v2"

	"github.com/seed-b96de936/troop/core"
	"github.com/seed-b96de936/troop/core/ansible"
	"github.com/seed-b96de936/troop/core/remote"
)

// givenWait is the timeout for a host that exists already: nothing is about to start it.
const givenWait = 15 * time.Second

// awayWait is the timeout for a host that was configured before. It is enough for one that is just restarting.
const awayWait = 30 * time.Second

// reach waits for the hosts. A fault that lasts does not keep the others from being configured: a host that cannot be
// reached is left out, and named, if
//
//   - it was configured before, since then nothing depends on what it lacks, and
//   - it is not the router, and
//   - it is a canary, or another host of its role is there.
//
// It is left out of everything that the run does, until a later run reaches it. A host whose key has changed is none that
// cannot be reached.
func (e *Environment) reach(ctx context.Context, s *site, emit func(core.Event)) error {
	var mu sync.Mutex
	progress := func(w remote.Waiting) {
		mu.Lock()
		defer mu.Unlock()
		emit(waitEvent(w))
	}
	var err error
	if s.configured, err = e.configured(s.hosts); err != nil {
		return err
	}
	s.away = nil
	var firm, given, loose []core.Host
	for _, h := range s.hosts {
		switch {
		case s.dispensable(h):
			loose = append(loose, h)
		case h.Given != nil:
			given = append(given, h)
		default:
			firm = append(firm, h)
		}
	}
	var missing, absent error
	var wg sync.WaitGroup
	wg.Go(func() { missing = s.ssh.Wait(ctx, loose, e.wait(awayWait), progress) })
	wg.Go(func() { absent = s.ssh.Wait(ctx, given, e.wait(givenWait), progress) })
	err = s.ssh.Wait(ctx, firm, e.wait(hostsWait), progress)
	wg.Wait()
	gone, only := remote.Away(missing)
	if err != nil || absent != nil || !only {
		return errors.Join(err, absent, missing)
	}
	if needed := s.needed(gone); len(needed) > 0 { // the only ones of their role
		err := s.ssh.Wait(ctx, needed, e.wait(hostsWait)-e.wait(awayWait), progress)
		still, only := remote.Away(err)
		if !only {
			return err
		}
		for _, h := range needed {
			delete(gone, h.Name)
		}
		maps.Copy(gone, still)
		if len(s.needed(gone)) > 0 {
			return err
		}
	}
	s.leaveOut(gone, emit)
	return nil
}

// wait returns a timeout, or the shorter one of a test.
func (e *Environment) wait(d time.Duration) time.Duration {
	if e.o.patience == 0 {
		return d
	}
	return time.Duration(float64(d) * float64(e.o.patience) / float64(hostsWait))
}

// dispensable reports whether a host may be left out, if others of its role are there.
func (s *site) dispensable(h core.Host) bool {
	return !h.Has("router") && s.configured[h.Name] == identity(h)
}

// needed returns those of the hosts that are gone without which the environment cannot be configured.
func (s *site) needed(gone map[core.HostName]error) (needed []core.Host) {
	for _, h := range s.hosts {
		if gone[h.Name] == nil {
			continue
		}
		another := slices.ContainsFunc(s.hosts, func(o core.Host) bool {
			return o.Role == h.Role && gone[o.Name] == nil && s.away[o.Name] == nil
		})
		if !s.dispensable(h) || h.Role != "canary" && !another {
			needed = append(needed, h)
		}
	}
	return needed
}

// leaveOut leaves hosts out of what follows, and says so.
func (s *site) leaveOut(gone map[core.HostName]error, emit func(core.Event)) {
	for _, h := range slices.Sorted(maps.Keys(gone)) {
		if s.away == nil {
			s.away = map[core.HostName]error{}
		}
		s.away[h] = gone[h]
		emit(core.Event{Kind: core.KindLog, Severity: core.Warning, Host: h, Summary: fmt.Sprintf(
			"%s cannot be reached and is left out until a later run reaches it: %v", h, gone[h])})
	}
}

// present returns the hosts of a run without those that are left out. ok is false if none remains. Without hosts that are
// left out, no name still means all of them.
func (s *site) present(names []core.HostName) (hosts []core.HostName, ok bool) {
	if len(s.away) == 0 {
		return names, true
	}
	if len(names) == 0 {
		for _, h := range s.hosts {
			names = append(names, h.Name)
		}
	}
	hosts = slices.DeleteFunc(slices.Clone(names), func(h core.HostName) bool { return s.away[h] != nil })
	return hosts, len(hosts) > 0
}

// unreachable returns the hosts that a playbook could not reach, if nothing else went wrong.
func unreachable(err error) map[core.HostName]error {
	failed, ok := errors.AsType[*ansible.Error](err)
	if !ok {
		return nil
	}
	gone := map[core.HostName]error{}
	for _, t := range failed.Failed {
		if t.Status != "unreachable" {
			return nil
		}
		gone[t.Host] = errors.New(t.Message)
	}
	return gone
}

// configuredFile lists the hosts that were configured, with their identity: a host that was replaced is a new one.
func (e *Environment) configuredFile() string { return filepath.Join(e.dir, "configured.json") }

// identity differs when a host was replaced.
func identity(h core.Host) string { return h.PrivateAddress + " " + h.HostKey }

// configured returns those of the hosts that were configured before.
func (e *Environment) configured(hosts []core.Host) (map[core.HostName]string, error) {
	all := map[core.HostName]string{}
	data, err := os.ReadFile(e.configuredFile())
	if errors.Is(err, fs.ErrNotExist) {
		return all, nil
	}
	if err == nil {
		err = json.Unmarshal(data, &all)
	}
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", e.configuredFile(), err)
	}
	maps.DeleteFunc(all, func(name core.HostName, id string) bool {
		return !slices.ContainsFunc(hosts, func(h core.Host) bool { return h.Name == name && identity(h) == id })
	})
	return all, nil
}

// noteConfigured records that the hosts that are there are configured.
func (e *Environment) noteConfigured(s *site) error {
	now := maps.Clone(s.configured)
	for _, h := range s.hosts {
		if s.away[h.Name] == nil {
			now[h.Name] = identity(h)
		}
	}
	if maps.Equal(now, s.configured) {
		return nil
	}
	if err := e.writeConfigured(now); err != nil {
		return err
	}
	s.configured = now
	return nil
}

func (e *Environment) writeConfigured(hosts map[core.HostName]string) error {
	data, err := json.Marshal(hosts)
	if err != nil {
		return err
	}
	if err := renameio.WriteFile(e.configuredFile(), append(data, '\n'), 0o600); err != nil {
		return fmt.Errorf("record configured hosts: %w", err)
	}
	return nil
}
