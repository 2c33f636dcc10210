package main

import (
	"testing"
	"time"
)

func TestWindow(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		window, at string
		want       bool
	}{
		{"Mon-Fri 09:00-16:00", "2030-01-07T09:00:00Z", true}, // a Monday
		{"Mon-Fri 09:00-16:00", "2030-01-11T15:59:59Z", true},
		{"Mon-Fri 09:00-16:00", "2030-01-11T16:00:00Z", false},
		{"Mon-Fri 09:00-16:00", "2030-01-12T12:00:00Z", false},
		{"Sat-Mon 00:00-24:00", "2030-01-06T23:59:59Z", true}, // over the end of the week
		{"Sat-Mon 00:00-24:00", "2030-01-08T00:00:00Z", false},
		{"Tue 10:00-11:00", "2030-01-08T10:30:00Z", true},
		{"Tue 10:00-11:00 Asia/Tokyo", "2030-01-08T01:30:00Z", true},
		{"Mon 23:00-24:00 America/New_York", "2030-01-08T04:30:00Z", true}, // there, it is still Monday
	} {
		at, err := time.Parse(time.RFC3339, tt.at)
		if err != nil {
			t.Fatal(err)
		}
		c := canary{Windows: []string{"Sun 03:00-03:01", tt.window}}
		if got := c.mayPromote(at); got != tt.want {
			t.Errorf("%s at %s: got %v", tt.window, tt.at, got)
		}
	}
	if !new(canary).mayPromote(time.Now()) {
		t.Error("without a window nothing may be promoted")
	}
	for _, bad := range []string{"", "Mon", "Mon 9-10", "Mon 10:00-09:00", "Mon 09:00-25:00", "Monday 09:00-10:00", "Mon-Fri 09:00", "Mon 09:00-10:00 UTC more"} {
		if _, err := parseWindow(bad); err == nil {
			t.Errorf("%q was taken", bad)
		}
	}
}
