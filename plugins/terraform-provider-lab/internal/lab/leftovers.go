package lab

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Thing is something on this machine that belongs to a lab.
type Thing struct {
	Lab  ID     `json:"lab"`
	Host string `json:"host,omitempty"` // empty: the lab's, or unknown
	Kind string `json:"kind"`           // folder, cgroup, process, link, mount, loop
	Name string `json:"name"`
}

// List finds everything of every lab by name, independent of any Terraform state.
func List() ([]Thing, error) {
	labs, err := labs()
	if err != nil {
		return nil, err
	}
	var all []Thing
	for _, l := range labs {
		things, err := list(l)
		if err != nil {
			return nil, fmt.Errorf("list lab %s: %w", l, err)
		}
		all = append(all, things...)
	}
	return all, nil
}

func list(l ID) ([]Thing, error) {
	var all []Thing
	add := func(host, kind string, names ...string) {
		for _, name := range names {
			all = append(all, Thing{Lab: l, Host: host, Kind: kind, Name: name})
		}
	}
	if _, err := os.Stat(l.dir()); err == nil {
		add("", "folder", l.dir())
	}
	mounts, err := mountsBelow(l.dir())
	if err != nil {
		return nil, err
	}
	add("", "mount", mounts...)
	loops, err := loopDevices(l.dir())
	if err != nil {
		return nil, err
	}
	add("", "loop", loops...)
	links, err := filepath.Glob("/sys/class/net/[tu]" + string(l) + "-?????")
	if err != nil {
		return nil, err
	}
	if linkExists(l.bridge()) {
		add("", "link", l.bridge())
	}
	for _, link := range links {
		add("", "link", filepath.Base(link))
	}
	trees, err := hierarchies()
	if err != nil {
		return nil, err
	}
	for _, tree := range trees {
		if group := tree.group(string(l)); exists(group) {
			add("", "cgroup", group)
		}
	}
	names, err := Hosts(l)
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		h := host{l, name}
		if exists(h.dir()) {
			add(name, "folder", h.dir())
		}
		for _, tree := range trees {
			if group := tree.group(string(l), name); exists(group) {
				add(name, "cgroup", group)
			}
		}
		running, err := processes(h)
		if err != nil {
			return nil, err
		}
		for _, p := range running {
			add(name, "process", fmt.Sprintf("%d %s", p.PID, strings.Join(command(p.PID), " ")))
		}
	}
	return all, nil
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// Hosts returns the names of a lab's hosts, alive or with leftovers.
func Hosts(l ID) ([]string, error) {
	places := []string{l.dir()}
	trees, err := hierarchies()
	if err != nil {
		return nil, err
	}
	for _, tree := range trees {
		places = append(places, tree.group(string(l)))
	}
	return folders(places, func(name string) bool { return ValidateHost(name) == nil })
}

func labs() ([]ID, error) {
	places := []string{root}
	trees, err := hierarchies()
	if err != nil {
		return nil, err
	}
	for _, tree := range trees {
		places = append(places, tree.group())
	}
	isID := func(name string) bool { return ID(name).Validate() == nil }
	names, err := folders(places, isID)
	if err != nil {
		return nil, err
	}
	bridges, err := filepath.Glob("/sys/class/net/" + bridgePrefix + "*")
	if err != nil {
		return nil, err
	}
	for _, b := range bridges {
		if name := strings.TrimPrefix(filepath.Base(b), bridgePrefix); isID(name) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	var found []ID
	for _, name := range slices.Compact(names) {
		found = append(found, ID(name))
	}
	return found, nil
}

// folders returns the sorted names of matching folders in all places. A missing place has none.
func folders(places []string, wanted func(string) bool) ([]string, error) {
	var names []string
	for _, place := range places {
		entries, err := os.ReadDir(place)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		for _, e := range entries {
			if e.IsDir() && wanted(e.Name()) {
				names = append(names, e.Name())
			}
		}
	}
	slices.Sort(names)
	return slices.Compact(names), nil
}

// Sweep removes a lab's hosts that are not in keep, and the lab itself if no host remains.
func Sweep(ctx context.Context, l ID, keep ...string) (removed []string, err error) {
	names, err := Hosts(l)
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		if slices.Contains(keep, name) {
			continue
		}
		if err := Delete(ctx, l, name); err != nil {
			return removed, fmt.Errorf("remove %s: %w", name, err)
		}
		removed = append(removed, name)
	}
	if len(keep) > 0 {
		return removed, nil
	}
	return removed, removeLab(ctx, l)
}

// SweepAll removes every lab on this machine.
func SweepAll(ctx context.Context) (removed []string, err error) {
	found, err := labs()
	if err != nil {
		return nil, err
	}
	for _, l := range found {
		names, err := Sweep(ctx, l)
		for _, name := range names {
			removed = append(removed, string(l)+"/"+name)
		}
		if err != nil {
			return removed, err
		}
	}
	return removed, nil
}
