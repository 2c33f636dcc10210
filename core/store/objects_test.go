package store_test

import (
	"os"
	"testing"
	"time"

	"github.com/seed-b96de936/troop/core"
	"github.com/seed-b96de936/troop/core/store"
	"github.com/seed-b96de936/troop/core/store/storetest"
	"github.com/seed-b96de936/troop/plugins/sdk/bucket/buckettest"
)

// TestMain keeps the AWS configuration of the machine out of the tests.
func TestMain(m *testing.M) {
	for k, v := range buckettest.Environ() {
		_ = os.Setenv(k, v)
	}
	m.Run()
}

func TestFolder(t *testing.T) {
	storetest.Objects(t, func(t *testing.T) func() core.Objects {
		dir := t.TempDir()
		return func() core.Objects { return store.NewFolder(dir) }
	})
}

func openS3(t *testing.T, o store.S3Options) *store.S3 {
	t.Helper()
	s, err := store.OpenS3(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestS3(t *testing.T) {
	storetest.Objects(t, func(t *testing.T) func() core.Objects {
		o := buckettest.Gateway(t).Options
		return func() core.Objects { return openS3(t, o) }
	})
}

func TestShared(t *testing.T) {
	storetest.Run(t, func(t *testing.T) func() storetest.Store {
		truth := t.TempDir()
		return func() storetest.Store {
			f := store.OpenShared(t.TempDir(), store.NewFolder(truth), nil, nil)
			t.Cleanup(func() { _ = f.Close() })
			return f
		}
	})
}

func TestSharedS3(t *testing.T) {
	storetest.Run(t, func(t *testing.T) func() storetest.Store {
		o := buckettest.Gateway(t).Options
		return func() storetest.Store {
			f := store.OpenShared(t.TempDir(), store.Patient{Objects: openS3(t, o), Wait: time.Minute}, nil, nil)
			t.Cleanup(func() { _ = f.Close() })
			return f
		}
	})
}
