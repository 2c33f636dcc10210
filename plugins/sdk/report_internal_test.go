package sdk

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// published collects what a report publishes, with the second in which it did.
type published struct {
	start  time.Time
	mu     sync.Mutex // guards the rest
	fail   bool
	values []string
	tries  int
	warned int
}

func (p *published) set(_ context.Context, b []byte) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.tries++
	if p.fail {
		return errors.New("no route to host")
	}
	var x picture
	if err := json.Unmarshal(b, &x); err != nil {
		return err
	}
	p.values = append(p.values, fmt.Sprintf("%.0f:%s", time.Since(p.start).Seconds(), x.Value))
	return nil
}

func (p *published) warn(error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.warned++
}

// TestReportPace sets a report once a second, half a second apart from its own clock. Time is the test's own.
func TestReportPace(t *testing.T) {
	for name, test := range map[string]struct {
		value   func(second int) int
		seconds int
		want    []string
	}{
		"changes every second": {func(s int) int { return s }, 12, []string{"0:0", "5:4", "10:9"}},
		"changes once":         {func(s int) int { return min(s/7, 1) }, 20, []string{"0:0", "8:1"}},
		"stays as it is":       {func(int) int { return 1 }, 120, []string{"0:1", "50:1", "100:1"}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := &published{start: time.Now()}
				r := startReport(t.Context(), 5*time.Second, p.set, p.warn)
				for s := range test.seconds {
					r.Set(test.value(s))
					synctest.Wait()
					if s == 0 {
						time.Sleep(time.Second / 2)
					}
					time.Sleep(time.Second)
				}
				r.Close()
				r.Close() // twice is harmless
				if !slices.Equal(p.values, test.want) {
					t.Errorf("published %v, want %v", p.values, test.want)
				}
			})
		})
	}
}

// TestReportOutage has a state that cannot be reached: Set goes on, one line is logged, and the newest value is
// published when the state is back, without being set again.
func TestReportOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &published{start: time.Now(), fail: true}
		r := startReport(t.Context(), 5*time.Second, p.set, p.warn)
		t.Cleanup(r.Close)
		for s := range 30 {
			r.Set(s)
			synctest.Wait()
			time.Sleep(time.Second)
		}
		p.mu.Lock()
		if len(p.values) != 0 || p.tries < 4 || p.tries > 7 || p.warned != 1 {
			t.Errorf("published %v in %d tries, warned %d times", p.values, p.tries, p.warned)
		}
		p.fail = false
		p.mu.Unlock()
		time.Sleep(6 * time.Second)
		synctest.Wait()
		p.mu.Lock()
		defer p.mu.Unlock()
		if len(p.values) != 1 || p.values[0][len(p.values[0])-3:] != ":29" {
			t.Errorf("published %v, want the last value once", p.values)
		}
	})
}
