package terraform

import (
	"errors"
	"reflect"
	"testing"
	"testing/fstest"
	"time"

	"github.com/seed-b96de936/troop/core"
)

func TestMessages(t *testing.T) {
	const printed = `{"@level":"info","type":"version","terraform":"1.11.4"}
a provider that prints
{"type":"apply_start","hook":{"resource":{"addr":"lab_host.this[\"web-1\"]","resource_key":"web-1"},"action":"create"}}
{"type":"apply_progress","hook":{"resource":{"addr":"lab_host.this[\"web-1\"]","resource_key":"web-1"},"action":"create","elapsed_seconds":10}}
{"type":"apply_complete","hook":{"resource":{"addr":"aws_eip.r[0]","resource_key":0},"action":"delete","elapsed_seconds":0.5}}
{"type":"diagnostic","diagnostic":{"severity":"warning","summary":"Old","detail":"Very\n  old."}}
{"type":"diagnostic","diagnostic":{"severity":"error","summary":"Bad","detail":"Want\na number.","address":"x.y","range":{"filename":"main.tf","start":{"line":3,"column":5}}}}
{"type":"outputs","outputs":{"hosts":{"value":{}}}}
`
	var steps []Progress
	var warnings []string
	m := &messages{log: func(s string) { warnings = append(warnings, s) }, each: func(p Progress) { steps = append(steps, p) }}
	for _, b := range []byte(printed) { // byte by byte: a pipe may split lines anywhere
		if _, err := m.Write([]byte{b}); err != nil {
			t.Fatal(err)
		}
	}
	want := []Progress{
		{Address: `lab_host.this["web-1"]`, Host: "web-1", Action: Create, Status: "started"},
		{Address: `lab_host.this["web-1"]`, Host: "web-1", Action: Create, Status: "running", Elapsed: 10 * time.Second},
		{Address: "aws_eip.r[0]", Action: Destroy, Status: "done", Elapsed: 500 * time.Millisecond},
	}
	if !reflect.DeepEqual(steps, want) {
		t.Errorf("got  %+v\nwant %+v", steps, want)
	}
	if !reflect.DeepEqual(warnings, []string{"Old: Very old."}) {
		t.Errorf("warnings %q", warnings)
	}
	if err := m.explain(t.Context(), errors.New("exit status 1")); err.Error() != "main.tf:3,5: x.y: Bad: Want a number." {
		t.Errorf("explained as %q", err)
	}
}

func TestExplain(t *testing.T) {
	status := errors.New("exit status 1")
	if err := new(messages).explain(t.Context(), status); !errors.Is(err, status) {
		t.Errorf("without a message: %v", err)
	}
	locked := &messages{errors: []problem{{Summary: "Error acquiring the state lock", Detail: `Error message: PreconditionFailed
Lock Info:
  ID:        60ec3bdf
  Path:      bucket/state
  Operation: OperationTypeApply
  Who:       root@vm
  Version:   1.11.4
  Created:   2026-01-01 00:00:00.5 +0000 UTC
  Info:

Terraform acquires a state lock to protect the state.`}}}
	var lock *LockedError
	want := Lock{ID: "60ec3bdf", Who: "root@vm", Operation: "OperationTypeApply", Since: time.Date(2026, 1, 1, 0, 0, 0, 5e8, time.UTC)}
	if err := locked.explain(t.Context(), status); !errors.As(err, &lock) || lock.ID != want.ID || lock.Who != want.Who ||
		lock.Operation != want.Operation || !lock.Since.Equal(want.Since) {
		t.Errorf("locked: %+v", err)
	}
	stale := &messages{errors: []problem{{Summary: "Saved plan is stale"}}}
	if err := stale.explain(t.Context(), status); !errors.As(err, new(*StaleError)) {
		t.Errorf("stale: %v", err)
	}
}

// OpenTofu does not say which bucket is missing.
func TestNoBucketOfOpenTofu(t *testing.T) {
	w := workspaceFor(t)
	w.Module = fstest.MapFS{}
	said := errors.New("exit status 1\n\nError: Failed to get existing workspaces: S3 bucket does\nnot exist")
	for want, backend := range map[string]*core.Backend{"ours": {Type: "s3", Arguments: map[string]any{"bucket": "ours"}}, "BUCKET": nil} {
		w.Backend = backend
		at, err := w.presentLocation()
		if err != nil {
			t.Fatal(err)
		}
		if missing, ok := errors.AsType[*BucketError](w.backendError(at, said)); !ok || missing.Name != want {
			t.Errorf("got %v, want %s", missing, want)
		}
	}
}
