package project

import (
	"cmp"
	"context"
	"path/filepath"
	"time"

	"github.com/seed-b96de936/troop/core"
	"github.com/seed-b96de936/troop/core/manifest"
	"github.com/seed-b96de936/troop/core/store"
)

// How long a command goes on trying when a shared store does not do its work: a run that has begun waits longer than one
// that could still be refused.
const (
	storePatience = 2 * time.Minute
	checkPatience = 10 * time.Second
)

// OpenLocal opens the store beside a manifest in a folder, which need not be readable. Every environment is kept there, too.
func OpenLocal(dir string, o Options) *store.Files {
	f := store.Open(cmp.Or(o.State, filepath.Join(dir, ".troop")))
	f.Workspaces = o.Workspaces
	return f
}

// openStore opens the store that a pipeline names, and tests that a shared one can be used.
func openStore(ctx context.Context, p *core.Pipeline, o Options) (*store.Files, error) {
	if p.Store == nil || o.Local {
		return OpenLocal(p.Dir, o), nil
	}
	f, err := openShared(ctx, *p.Store, o)
	if err != nil {
		return nil, err
	}
	write := o.Need == manifest.Everything
	check, cancel := context.WithTimeout(ctx, checkPatience)
	defer cancel()
	if err := f.Check(check, write); err != nil {
		return nil, err
	}
	if write {
		if err := f.SendRest(ctx); err != nil {
			o.Note(err.Error())
		}
	}
	return f, nil
}

// openShared opens a shared store with its copy on this machine.
func openShared(ctx context.Context, c core.StoreConfig, o Options) (*store.Files, error) {
	o3 := store.S3Options{
		Bucket: c.Bucket, Prefix: c.Prefix, Region: c.Region, Endpoint: c.Endpoint, Profile: c.Profile, PathStyle: c.PathStyle,
	}
	s3, err := store.OpenS3(ctx, o3)
	if err != nil {
		return nil, err
	}
	dir, err := copyFolder(c)
	if err != nil {
		return nil, err
	}
	var objects core.Objects = store.Patient{Objects: s3, Wait: storePatience, Say: o.Note}
	if c.Redis != "" {
		if objects, err = store.Announce(objects, c.Redis, o3.String(), o.Note); err != nil {
			return nil, err
		}
	}
	f := store.OpenShared(cmp.Or(o.State, dir), objects, o.Note, o.Stop)
	f.Workspaces = o.Workspaces
	return f, nil
}

// copyFolder is the folder of a shared store's copy on this machine.
func copyFolder(c core.StoreConfig) (string, error) {
	cache, err := core.CacheFolder()
	return filepath.Join(cache, "projects", core.DigestOf([]byte(c.ID())).Hex()[:16]), err
}
