package limit

import "time"

// Alarm watches one figure of the host. It is raised when the average over the window is above the limit and no reading
// is below half of it. It is cleared after the same time below 90 % of the limit, and not raised again before the
// cool-down has passed.
type Alarm struct {
	Limit    float64 // per cent; 0: off
	Window   time.Duration
	Cooldown time.Duration

	Up      bool // raised
	cleared time.Time
	values  []reading
}

type reading struct {
	at    time.Time
	value float64
}

// Change is how a reading changed an alarm.
type Change int

// The changes.
const (
	Unchanged Change = iota
	Raised
	Cleared
)

// Add adds a reading. It returns the average over the window.
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
	case !a.Up && average >= a.Limit && least >= a.Limit/2 && (a.cleared.IsZero() || now.Sub(a.cleared) >= a.Cooldown):
		a.Up = true
		return Raised, average
	case a.Up && most < a.Limit*0.9:
		a.Up, a.cleared = false, now
		return Cleared, average
	}
	return Unchanged, average
}

// summary ignores the oldest reading, which belongs to the time before the window.
func (a *Alarm) summary() (average, least, most float64) {
	list := a.values[min(1, len(a.values)-1):]
	least = list[0].value
	for _, r := range list {
		average += r.value
		least, most = min(least, r.value), max(most, r.value)
	}
	return average / float64(len(list)), least, most
}
