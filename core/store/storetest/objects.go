package storetest

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/seed-b96de936/troop/core"
	"github.com/seed-b96de936/troop/core/store"
)

// Objects tests what keeps objects. Each call of open returns a new connection to one place that is empty at first, as
// another machine would have. A server that ignores conditions of what is written in parts, as some fakes do, is no member.
func Objects(t *testing.T, open func(t *testing.T) func() core.Objects) {
	t.Helper()
	for name, test := range map[string]func(t *testing.T, open func() core.Objects){
		"Values": testValues, "Conditions": testConditions, "Race": testRace, "List": testList, "Large": testLarge,
	} {
		t.Run(name, func(t *testing.T) { test(t, open(t)) })
	}
}

func put1(t *testing.T, o core.Objects, key, value string, when core.Condition) (core.Object, error) {
	t.Helper()
	return o.Put(t.Context(), key, strings.NewReader(value), when)
}

func mustPut(t *testing.T, o core.Objects, key, value string) core.Object {
	t.Helper()
	put, err := put1(t, o, key, value, core.Condition{})
	if err != nil {
		t.Fatalf("Put %s: %v", key, err)
	}
	return put
}

func wantValue(t *testing.T, o core.Objects, key, want, tag string) {
	t.Helper()
	got, object, err := store.ReadObject(t.Context(), o, key)
	if err != nil || string(got) != want || object.Key != key || object.Size != int64(len(want)) || object.Tag != tag {
		t.Errorf("%s: got %q, %+v, %v; want %q with tag %s", key, got, object, err, want, tag)
	}
	if object.Age < 0 || object.Age > time.Minute {
		t.Errorf("%s: was written %v ago", key, object.Age)
	}
}

func testValues(t *testing.T, open func() core.Objects) {
	o, other := open(), open()
	if _, _, err := o.Get(t.Context(), "lab/hosts.json"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Get of nothing: %v", err)
	}
	if err := o.Delete(t.Context(), "lab/hosts.json"); err != nil {
		t.Errorf("Delete of nothing: %v", err)
	}
	first := mustPut(t, o, "lab/hosts.json", "one")
	wantValue(t, other, "lab/hosts.json", "one", first.Tag)
	second := mustPut(t, other, "lab/hosts.json", "another")
	wantValue(t, o, "lab/hosts.json", "another", second.Tag)
	if first.Tag == second.Tag {
		t.Errorf("two versions have the tag %s", first.Tag)
	}
	empty := mustPut(t, o, "empty", "")
	wantValue(t, other, "empty", "", empty.Tag)
	body, _, err := other.Get(t.Context(), "lab/hosts.json") // a reader may leave at any time
	if err == nil {
		err = body.Close()
	}
	if err != nil {
		t.Error(err)
	}
	if err := o.Delete(t.Context(), "lab/hosts.json"); err != nil {
		t.Errorf("Delete: %v", err)
	}
	if _, _, err := other.Get(t.Context(), "lab/hosts.json"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Get after Delete: %v", err)
	}
}

func testConditions(t *testing.T, open func() core.Objects) {
	o, other := open(), open()
	if _, err := put1(t, o, "k", "x", core.Condition{Tag: `"0123456789abcdef0123456789abcdef"`}); err == nil {
		t.Error("Put over a tag that there is not succeeds")
	}
	first, err := put1(t, o, "k", "one", core.Condition{Absent: true})
	if err != nil {
		t.Fatalf("Put of a new value: %v", err)
	}
	if _, err := put1(t, other, "k", "two", core.Condition{Absent: true}); !errors.Is(err, core.ErrChanged) {
		t.Errorf("Put of a new value over another: %v", err)
	}
	wantValue(t, other, "k", "one", first.Tag)
	second, err := put1(t, other, "k", "two", core.Condition{Tag: first.Tag})
	if err != nil {
		t.Fatalf("Put over the version that was read: %v", err)
	}
	if _, err := put1(t, o, "k", "three", core.Condition{Tag: first.Tag}); !errors.Is(err, core.ErrChanged) {
		t.Errorf("Put over an old version: %v", err)
	}
	wantValue(t, o, "k", "two", second.Tag)
	if err := o.Delete(t.Context(), "k"); err != nil {
		t.Fatal(err)
	}
	if _, err := put1(t, o, "k", "four", core.Condition{Absent: true}); err != nil {
		t.Errorf("Put of a new value after Delete: %v", err)
	}
}

// testRace counts with conditional writes from many sides: no step may be lost or done twice.
func testRace(t *testing.T, open func() core.Objects) {
	const sides, steps = 8, 10
	mustPut(t, open(), "n", "0")
	var first atomic.Int32
	var group sync.WaitGroup
	for range sides {
		o := open()
		group.Go(func() {
			if _, err := put1(t, o, "first", "mine", core.Condition{Absent: true}); err == nil {
				first.Add(1)
			} else if !errors.Is(err, core.ErrChanged) {
				t.Errorf("first: %v", err)
			}
			for done := 0; done < steps; {
				b, object, err := store.ReadObject(t.Context(), o, "n")
				if err != nil {
					t.Error(err)
					return
				}
				var n int
				if _, err := fmt.Sscan(string(b), &n); err != nil {
					t.Error(err)
					return
				}
				switch _, err := put1(t, o, "n", fmt.Sprint(n+1), core.Condition{Tag: object.Tag}); {
				case err == nil:
					done++
				case !errors.Is(err, core.ErrChanged):
					t.Error(err)
					return
				}
			}
		})
	}
	group.Wait()
	b, _, err := store.ReadObject(t.Context(), open(), "n")
	if err != nil || string(b) != fmt.Sprint(sides*steps) || first.Load() != 1 {
		t.Errorf("%d sides counted %d steps each and came to %s, %v; %d were first", sides, steps, b, err, first.Load())
	}
}

func testList(t *testing.T, open func() core.Objects) {
	o := open()
	keys := []string{"a.b", "a/1", "a/2/x", "a/2/y", "a/3", "ab", "b/2"}
	for _, k := range keys {
		mustPut(t, o, k, k)
	}
	for _, tt := range []struct {
		prefix  string
		shallow bool
		want    []string
	}{
		{"", false, keys},
		{"", true, []string{"a.b", "a/", "ab", "b/"}},
		{"a/", false, []string{"a/1", "a/2/x", "a/2/y", "a/3"}},
		{"a/", true, []string{"a/1", "a/2/", "a/3"}},
		{"a", true, []string{"a.b", "a/", "ab"}},
		{"a/2", true, []string{"a/2/"}},
		{"a/2/", false, []string{"a/2/x", "a/2/y"}},
		{"c", false, nil},
		{"c/d/", true, nil},
		{"a.b/", false, nil},
	} {
		var got []string
		for object, err := range open().List(t.Context(), tt.prefix, tt.shallow) {
			if err != nil {
				t.Fatalf("List %q: %v", tt.prefix, err)
			}
			got = append(got, object.Key)
			if !strings.HasSuffix(object.Key, "/") && (object.Size != int64(len(object.Key)) || object.Tag == "") {
				t.Errorf("List %q: %+v", tt.prefix, object)
			}
		}
		if !slices.Equal(got, tt.want) {
			t.Errorf("List %q, shallow %v: got %q, want %q", tt.prefix, tt.shallow, got, tt.want)
		}
	}
	for _, err := range o.List(t.Context(), "", false) { // a reader may leave at any time
		if err != nil {
			t.Error(err)
		}
		break
	}
}

// testLarge writes a value that S3 takes in parts.
func testLarge(t *testing.T, open func() core.Objects) {
	o := open()
	data := bytes.Repeat([]byte("0123456789abcde\n"), 5<<20/1) // 80 MiB
	data[len(data)-2] = 'E'
	if _, err := o.Put(t.Context(), "large", bytes.NewReader(data), core.Condition{Absent: true}); err != nil {
		t.Fatalf("Put: %v", err)
	}
	if _, err := o.Put(t.Context(), "large", bytes.NewReader(data), core.Condition{Absent: true}); !errors.Is(err, core.ErrChanged) {
		t.Errorf("Put over it: %v", err)
	}
	body, object, err := open().Get(t.Context(), "large")
	if err != nil || object.Size != int64(len(data)) {
		t.Fatalf("Get: %+v, %v", object, err)
	}
	defer body.Close()
	got, err := io.ReadAll(body)
	if err != nil || !bytes.Equal(got, data) {
		t.Errorf("read %d bytes, %v, want %d", len(got), err, len(data))
	}
}
