package main

import "time"

// alarm watches one figure of the host. It goes up when the figure stayed above the limit for the whole window,
// and down when it stayed below nine tenths of it for as long: between the two nothing changes. After it went
// down, it does not go up again before the cool-down has passed.
type alarm struct {
	limit    float64 // per cent; 0: off
	window   time.Duration
	cooldown time.Duration

	up       bool
	wentDown time.Time
	values   []reading
}

type reading struct {
	at    time.Time
	value float64
}

// change is what an alarm did with a reading.
type change int

// The changes.
const (
	unchanged change = iota
	raised
	cleared
)

// Add takes the figure of one sample and returns its average over the window.
func (a *alarm) Add(now time.Time, value float64) (change, float64) {
	if a.limit <= 0 || value < 0 {
		return unchanged, 0
	}
	a.values = append(a.values, reading{now, value})
	from := 0
	for from+1 < len(a.values) && now.Sub(a.values[from+1].at) >= a.window {
		from++
	}
	a.values = append(a.values[:0], a.values[from:]...)
	if now.Sub(a.values[0].at) < a.window {
		return unchanged, 0
	}
	average, least, most := a.summary()
	switch {
	case !a.up && average >= a.limit && least >= a.limit/2 && (a.wentDown.IsZero() || now.Sub(a.wentDown) >= a.cooldown):
		a.up = true
		return raised, average
	case a.up && most < a.limit*0.9:
		a.up, a.wentDown = false, now
		return cleared, average
	}
	return unchanged, average
}

// summary leaves the oldest reading out: it stands for the time before the window.
func (a *alarm) summary() (average, least, most float64) {
	list := a.values[min(1, len(a.values)-1):]
	least = list[0].value
	for _, r := range list {
		average += r.value
		least, most = min(least, r.value), max(most, r.value)
	}
	return average / float64(len(list)), least, most
}
