package secrets_test

import (
	"strings"
	"sync"
	"testing"

	"github.com/seed-b96de936/troop/plugins/analysis/secrets"
)

// Two actions, or a stage and an action, make their scanners at once and scan at once: with -race nothing may be shared.
func TestScannersAtOnce(t *testing.T) {
	t.Parallel()
	var all sync.WaitGroup
	for range 2 {
		all.Go(func() {
			s, err := secrets.NewScanner()
			if err != nil {
				t.Error(err)
				return
			}
			var scans sync.WaitGroup
			for range 2 {
				scans.Go(func() {
					found, err := s.Scan(t.Context(), "a.js", strings.NewReader("const id = '"+awsID+"';\n"))
					if err != nil || len(found) != 1 {
						t.Errorf("got %v, %v", found, err)
					}
				})
			}
			scans.Wait()
		})
	}
	all.Wait()
}
