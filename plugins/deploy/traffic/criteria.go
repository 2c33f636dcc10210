package traffic

import (
	"fmt"
	"strconv"
)

// Unanswered is the criterion for requests without an answer.
const Unanswered = "unanswered"

// Criteria say which requests failed.
type Criteria struct {
	statuses   map[int]bool // a status, or the first digit of a class of them
	unanswered bool
}

// ParseCriteria reads statuses such as 404, classes of them such as 5xx, and unanswered.
func ParseCriteria(words []string) (Criteria, error) {
	c := Criteria{statuses: map[int]bool{}}
	for _, w := range words {
		if w == Unanswered {
			c.unanswered = true
			continue
		}
		digits := w
		if len(w) == 3 && w[1:] == "xx" {
			digits = w[:1]
		}
		n, err := strconv.Atoi(digits)
		if err != nil || len(w) != 3 || w[0] < '2' || w[0] > '5' {
			return Criteria{}, fmt.Errorf("want a status such as 404, a class such as 5xx, or unanswered, got %q", w)
		}
		c.statuses[n] = true
	}
	return c, nil
}

func (c Criteria) failed(status int) bool { return c.statuses[status] || c.statuses[status/100] }
