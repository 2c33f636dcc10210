package main

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// window is a part of some days of the week, in a time zone.
type window struct {
	first, last time.Weekday
	from, to    time.Duration // since midnight, by the clock on the wall
	zone        *time.Location
}

var weekdays = map[string]time.Weekday{
	"Sun": time.Sunday, "Mon": time.Monday, "Tue": time.Tuesday, "Wed": time.Wednesday, "Thu": time.Thursday, "Fri": time.Friday, "Sat": time.Saturday,
}

// parseWindow reads DAYS FROM-TO [ZONE], such as "Mon-Fri 09:00-16:00 Europe/Berlin" or "Sat 00:00-24:00".
func parseWindow(s string) (window, error) {
	bad := fmt.Errorf("want DAYS FROM-TO [ZONE], such as \"Mon-Fri 09:00-16:00 Europe/Berlin\", got %q", s)
	f := strings.Fields(s)
	if len(f) == 2 {
		f = append(f, "UTC")
	}
	if len(f) != 3 {
		return window{}, bad
	}
	first, last, several := strings.Cut(f[0], "-")
	if !several {
		last = first
	}
	from, to, _ := strings.Cut(f[1], "-")
	w := window{}
	var ok [4]bool
	w.first, ok[0] = weekdays[first]
	w.last, ok[1] = weekdays[last]
	w.from, ok[2] = clock(from)
	w.to, ok[3] = clock(to)
	if slices.Contains(ok[:], false) || w.from >= w.to {
		return window{}, bad
	}
	zone, err := time.LoadLocation(f[2])
	if err != nil {
		return window{}, fmt.Errorf("window %q: %w", s, err)
	}
	w.zone = zone
	return w, nil
}

// clock reads HH:MM, up to 24:00.
func clock(s string) (time.Duration, bool) {
	if s == "24:00" {
		return 24 * time.Hour, true
	}
	t, err := time.Parse("15:04", s)
	if err != nil || len(s) != len("15:04") {
		return 0, false
	}
	return time.Duration(t.Hour())*time.Hour + time.Duration(t.Minute())*time.Minute, true
}

func (w window) holds(t time.Time) bool {
	t = t.In(w.zone)
	hour, minute, second := t.Clock()
	past := time.Duration(hour)*time.Hour + time.Duration(minute)*time.Minute + time.Duration(second)*time.Second
	const week = 7
	day := (t.Weekday() - w.first + week) % week
	return day <= (w.last-w.first+week)%week && w.from <= past && past < w.to
}

// mayPromote reports whether a release may go on to production at t.
func (c *canary) mayPromote(t time.Time) bool {
	return len(c.Windows) == 0 || slices.ContainsFunc(c.Windows, func(s string) bool {
		w, err := parseWindow(s) // check has seen it
		return err == nil && w.holds(t)
	})
}
