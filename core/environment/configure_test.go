package environment

import (
	"testing"

	"github.com/seed-b96de936/troop/core"
	"github.com/seed-b96de936/troop/core/remote"
)

// A pipe and the journal have logs and no progress.
func TestWaitingIsALogOnceItIsDue(t *testing.T) {
	w := remote.Waiting{Host: "web-1", State: "no route to 203.0.113.7"}
	if e := waitEvent(w); e.Kind != core.KindProgress || e.Summary != "web-1: no route to 203.0.113.7" || e.Host != "web-1" {
		t.Errorf("event = %+v", e)
	}
	w.Due = true
	if e := waitEvent(w); e.Kind != core.KindLog {
		t.Errorf("event = %+v", e)
	}
}
