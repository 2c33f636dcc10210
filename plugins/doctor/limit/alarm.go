package limit

import "time"

// Alarm watches one figure of the host. It goes up when the figure stayed above the limit for the whole window,
// and down when it stayed below nine tenths of it for as long: between the two nothing changes. After it went
// down, it does not go up again before the cool-down has passed.
type Alarm struct {
	Limit    float64 // per cent; 0: off
	Window   time.Duration
	Cooldown time.Duration

	Up       bool // raised
	wentDown time.Time
	values   []reading
}

type reading struct {
	at    time.Time
	value float64
}

// Change is what an alarm did with a reading.
type Change int

// The changes.
const (
	Unchanged Change = iota
	Raised
	Cleared
)

// Add takes the figure of one sample and returns its average over the window.
func (a *Alarm) Add(now time.Time, value float64) (Change, float64) {
	if a.Limit <= 0 || value < 0 {
		return Unchanged, 0
	}
	a.values = append(a.values, reading{now, value})
	from := 0
	for from+1 < len(a.values) && now.Sub(a.values[from+1].at) >= a.Window {
		from++
	}
	a.values = append(a.values[:0], a.values[from:]...)
	if now.Sub(a.values[0].at) < a.Window {
		return Unchanged, 0
	}
	average, least, most := a.summary()
	switch {
	case !a.Up && average >= a.Limit && least >= a.Limit/2 && (a.wentDown.IsZero() || now.Sub(a.wentDown) >= a.Cooldown):
		a.Up = true
		return Raised, average
	case a.Up && most < a.Limit*0.9:
		a.Up, a.wentDown = false, now
		return Cleared, average
	}
	return Unchanged, average
}

// summary leaves the oldest reading out: it stands for the time before the window.
func (a *Alarm) summary() (average, least, most float64) {
	list := a.values[min(1, len(a.values)-1):]
	least = list[0].value
	for _, r := range list {
		average += r.value
		least, most = min(least, r.value), max(most, r.value)
	}
	return average / float64(len(list)), least, most
}
