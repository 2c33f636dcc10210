package limit

import "time"

// series is the CPU use of a process or a user over a window.
type series struct {
	last    time.Duration // CPU at the last sample
	points  []point       // of the window, and the youngest before it; empty: idle
	percent float64       // of one core, since the last sample
	seen    time.Time
	hurry   int // how often the window is halved
}

type point struct {
	at  time.Time
	cpu time.Duration
}

// add adds the CPU time used until now, and judges the window. before is the time of the last sample; the last interval must
// reach the share still of the limit. The caller has set percent, and sets last afterwards.
func (s *series) add(now, before time.Time, cpu time.Duration, limit, still float64, window time.Duration) (Hog, bool) {
	if limit <= 0 {
		return Hog{}, false
	}
	if len(s.points) == 0 {
		if s.percent < limit/2 {
			return Hog{}, false
		}
		s.points = append(s.points, point{at: before, cpu: s.last}) // the interval that ends now is the first
	}
	s.points = append(s.points, point{at: now, cpu: cpu})
	from := lastBefore(s.points, now.Add(-window))
	s.points = append(s.points[:0], s.points[from:]...)
	first, last := s.points[0], s.points[len(s.points)-1]
	if last.at.Sub(first.at) >= window && rate(first, last) < limit/2 {
		s.points = s.points[:0]
		return Hog{}, false
	}
	window = max(window>>s.hurry, 2*now.Sub(before))
	first = s.points[lastBefore(s.points, now.Add(-window))]
	if last.at.Sub(first.at) < window {
		return Hog{}, false
	}
	middle := s.points[lastBefore(s.points, now.Add(-window/2))]
	v := rate(first, last)
	if v < limit || rate(first, middle) < limit/2 || rate(middle, last) < limit/2 || s.percent < limit*still {
		return Hog{}, false
	}
	return Hog{Resource: "cpu", Value: v, Limit: limit, Window: last.at.Sub(first.at)}, true
}

// lastBefore is the index of the youngest point that is not younger than at; 0 when all are.
func lastBefore(points []point, at time.Time) int {
	i := 0
	for i+1 < len(points) && !points[i+1].at.After(at) {
		i++
	}
	return i
}

// rate is the usage between two points, in per cent of one core.
func rate(a, b point) float64 {
	if d := b.at.Sub(a.at); d > 0 {
		return 100 * float64(b.cpu-a.cpu) / float64(d)
	}
	return 0
}
