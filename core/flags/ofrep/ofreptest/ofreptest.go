// Package ofreptest serves flags for the length of a test, without an environment. Only tests import it.
package ofreptest

import (
	"encoding/json"
	"log/slog"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"

	"github.com/seed-b96de936/troop/core/flags"
	"github.com/seed-b96de936/troop/core/flags/ofrep"
)

// Serve answers for the flags in a file of flagd's, which may be empty, and returns the endpoint.
func Serve(t testing.TB, file string) (endpoint string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "flags.json")
	if file != "" {
		list, err := flags.Import([]byte(file))
		if err != nil {
			t.Fatal(err)
		}
		data, err := json.Marshal(map[string]any{"flags": list})
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s := httptest.NewServer(ofrep.New(flags.OpenCopy(path, slog.New(slog.DiscardHandler))))
	t.Cleanup(s.Close)
	return s.URL
}
