package sdk_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/seed-b96de936/troop/plugins/sdk"
)

func ExampleAlerts() {
	dir, err := os.MkdirTemp("", "state") // an agent has job.Info.StateDir
	if err != nil {
		panic(err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	publish := func(e sdk.Event) error { // an agent has job.Publish
		fmt.Println(e.Severity, e.Kind, e.Summary)
		return nil
	}
	alerts, err := sdk.OpenAlerts(dir, publish)
	if err != nil {
		panic(err)
	}
	for _, free := range []int{20, 4, 3, 4, 30} { // per cent
		if free < 5 {
			alerts.Raise(sdk.Event{Kind: "disk.full", Key: "disk:/", Summary: fmt.Sprintf("only %d %% are free", free)})
		} else {
			alerts.Resolve(sdk.Event{Key: "disk:/", Summary: fmt.Sprintf("%d %% are free", free)})
		}
	}
	// Output:
	// alert disk.full only 4 % are free
	// resolved disk.full 30 % are free
}

// receiver is who the alerts are published to.
type receiver struct {
	fail error
	got  []string
	ids  []string
}

func (r *receiver) publish(e sdk.Event) error {
	if r.fail != nil {
		return r.fail
	}
	r.got = append(r.got, fmt.Sprintf("%s %s", e.Key, e.Severity))
	r.ids = append(r.ids, e.ID)
	return nil
}

func openAlerts(t *testing.T, dir string, r *receiver) *sdk.Alerts {
	t.Helper()
	a, err := sdk.OpenAlerts(dir, r.publish)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func raise(a *sdk.Alerts, key string) bool {
	return a.Raise(sdk.Event{Kind: "test.alert", Key: key, Summary: key + " is wrong"})
}

func resolve(a *sdk.Alerts, key string) bool {
	return a.Resolve(sdk.Event{Key: key, Summary: key + " is right"})
}

func TestAlertsRestart(t *testing.T) {
	dir, r := t.TempDir(), &receiver{}
	a := openAlerts(t, dir, r)
	if !raise(a, "a") || raise(a, "a") || !raise(a, "b") || !raise(a, "c") || !resolve(a, "c") || resolve(a, "c") || resolve(a, "never") {
		t.Error("an alert is new once, and ends once")
	}
	b := openAlerts(t, dir, r) // the first one was killed
	if !b.IsOpen("a") || !b.IsOpen("b") || b.IsOpen("c") || len(b.Open()) != 2 || b.Open()[0].Summary != "a is wrong" {
		t.Errorf("open after a restart: %v", b.Open())
	}
	raise(b, "a")
	resolve(b, "b")
	want := []string{"a alert", "b alert", "c alert", "c resolved", "b resolved"}
	if !slices.Equal(r.got, want) {
		t.Errorf("published %v, want %v", r.got, want)
	}
	if err := b.Retry(); err != nil {
		t.Error(err)
	}
}

// TestAlertsUnpublished has a receiver that is away: nothing is lost, and every recovery comes after its alert.
func TestAlertsUnpublished(t *testing.T) {
	for name, restart := range map[string]bool{"the same agent": false, "an agent after it": true} {
		t.Run(name, func(t *testing.T) {
			dir, r := t.TempDir(), &receiver{}
			a := openAlerts(t, dir, r)
			raise(a, "open")
			r.fail = errors.New("no space left on device")
			resolve(a, "open")
			raise(a, "stays")
			raise(a, "ends")
			resolve(a, "ends")
			raise(a, "returns")
			resolve(a, "returns")
			raise(a, "returns")
			if err := a.Retry(); !errors.Is(err, r.fail) {
				t.Errorf("retry: %v, want why nothing is published", err)
			}
			if restart {
				a = openAlerts(t, dir, r)
			}
			r.fail = nil
			if err := a.Retry(); err != nil {
				t.Error(err)
			}
			want := []string{"open alert", "open resolved", "stays alert", "ends alert", "ends resolved", "returns alert"}
			if !slices.Equal(r.got, want) {
				t.Errorf("published %v, want %v", r.got, want)
			}
			if !a.IsOpen("stays") || !a.IsOpen("returns") || len(a.Open()) != 2 {
				t.Errorf("open: %v", a.Open())
			}
		})
	}
}

// TestAlertsKilled kills the agent after an event was published and before the file says so: it is published
// again under the same ID.
func TestAlertsKilled(t *testing.T) {
	dir, r := t.TempDir(), &receiver{}
	file := filepath.Join(dir, "alerts.jsonl")
	var before []byte
	a, err := sdk.OpenAlerts(dir, func(e sdk.Event) error {
		var err error
		before, err = os.ReadFile(file)
		return errors.Join(err, r.publish(e))
	})
	if err != nil {
		t.Fatal(err)
	}
	raise(a, "a")
	if err := os.WriteFile(file, before, 0o600); err != nil {
		t.Fatal(err)
	}
	b := openAlerts(t, dir, r)
	resolve(b, "a")
	if want := []string{"a alert", "a alert", "a resolved"}; !slices.Equal(r.got, want) || r.ids[0] != r.ids[1] || r.ids[1] == r.ids[2] {
		t.Errorf("published %v with IDs %v", r.got, r.ids)
	}
}

// TestAlertsDamaged flips every byte of the file. What is read is what was written, and the rest is said to be
// lost; the file is kept.
func TestAlertsDamaged(t *testing.T) {
	dir, r := t.TempDir(), &receiver{}
	a := openAlerts(t, dir, r)
	raise(a, "a")
	raise(a, "b")
	file := filepath.Join(dir, "alerts.jsonl")
	good, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for i := range good {
		bad := slices.Clone(good)
		bad[i] ^= 0x20
		if err := os.WriteFile(file, bad, 0o600); err != nil {
			t.Fatal(err)
		}
		b, err := sdk.OpenAlerts(dir, r.publish)
		if err == nil || !strings.Contains(err.Error(), "will not be resolved") {
			t.Fatalf("byte %d: error %v", i, err)
		}
		for _, e := range b.Open() {
			if e.Key != "a" && e.Key != "b" || e.Summary != e.Key+" is wrong" {
				t.Fatalf("byte %d: read %+v", i, e)
			}
		}
		if len(b.Open()) > 1 {
			t.Fatalf("byte %d: %d alerts, want one lost", i, len(b.Open()))
		}
		if kept, err := os.ReadFile(file + ".damaged"); err != nil || !slices.Equal(kept, bad) {
			t.Fatalf("byte %d: the damaged file is not kept: %v", i, err)
		}
	}
}

// TestAlertsDiskFull fills the disk of the state folder: alerts are published and held in memory, and the file is
// written when there is room.
func TestAlertsDiskFull(t *testing.T) {
	if os.Getuid() != 0 {
		t.Fatal("this test mounts a small disk: run it as root")
	}
	dir, r := t.TempDir(), &receiver{}
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=64k"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) })
	a := openAlerts(t, dir, r)
	raise(a, "before")
	fill := filepath.Join(dir, "fill")
	if err := os.WriteFile(fill, make([]byte, 1<<20), 0o600); !errors.Is(err, unix.ENOSPC) {
		t.Fatalf("fill the disk: %v", err)
	}
	raise(a, "full")
	resolve(a, "before")
	raise(a, "gone")
	resolve(a, "gone")
	want := []string{"before alert", "full alert", "before resolved", "gone alert", "gone resolved"}
	if !slices.Equal(r.got, want) {
		t.Errorf("published %v, want %v", r.got, want)
	}
	if err := a.Retry(); !errors.Is(err, unix.ENOSPC) {
		t.Errorf("retry on a full disk: %v", err)
	}
	if err := os.Remove(fill); err != nil {
		t.Fatal(err)
	}
	if err := a.Retry(); err != nil {
		t.Error(err)
	}
	b := openAlerts(t, dir, r)
	if len(b.Open()) != 1 || !b.IsOpen("full") {
		t.Errorf("open after a restart: %v", b.Open())
	}
	resolve(b, "full")
	if want = append(want, "full resolved"); !slices.Equal(r.got, want) {
		t.Errorf("published %v, want %v", r.got, want)
	}
}

// TestAlertsOnAFullDisk fills the disk that holds the open alerts and the spool: an alert that says so is published and
// kept all the same, in the space that was reserved. When there is space again, it is reserved again.
func TestAlertsOnAFullDisk(t *testing.T) {
	if os.Getuid() != 0 {
		t.Fatal("this test mounts a file system: run it as root")
	}
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=4m"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) })
	spooled := 0
	a, err := sdk.OpenAlerts(filepath.Join(dir, "plugin"), func(e sdk.Event) error {
		spooled++
		return os.WriteFile(filepath.Join(dir, "spool-"+e.ID), []byte(strings.Repeat(e.Summary, 50)), 0o600)
	})
	if err != nil {
		t.Fatal(err)
	}
	fill := filepath.Join(dir, "fill")
	if err := os.WriteFile(fill, make([]byte, 8<<20), 0o600); !errors.Is(err, unix.ENOSPC) {
		t.Fatalf("the disk is not full: %v", err)
	}
	a.Raise(sdk.Event{Kind: "disk.full", Key: "disk:/", Summary: "no space is left"})
	if err := a.Retry(); err != nil {
		t.Errorf("the alert is held: %v", err)
	}
	if b, err := os.ReadFile(filepath.Join(dir, "plugin", "alerts.jsonl")); err != nil || !strings.Contains(string(b), "disk.full") {
		t.Errorf("the alert is not kept: %q, %v", b, err)
	}
	if err := os.Remove(fill); err != nil {
		t.Fatal(err)
	}
	if err := a.Retry(); err != nil {
		t.Fatal(err)
	}
	if st, err := os.Stat(filepath.Join(dir, "plugin", "alerts.reserve")); err != nil || st.Size() == 0 {
		t.Errorf("no space is reserved again: %v", err)
	}
}
