package state

import (
	"fmt"
	"strconv"
	"strings"
)

// Weights are the shares of the two pools, as whole numbers.
type Weights struct {
	Production int `json:"production"`
	Canary     int `json:"canary"`
}

// maxWeight keeps the product of counter and weight far from an overflow in HAProxy.
const maxWeight = 1000

func (w Weights) String() string { return fmt.Sprintf("%d:%d", w.Production, w.Canary) }

// Check refuses weights that the router cannot have.
func (w Weights) Check() error {
	if w.Production < 1 || w.Production > maxWeight || w.Canary < 0 || w.Canary > maxWeight {
		return fmt.Errorf("want whole numbers, production from 1 and canary from 0 to %d, got %s", maxWeight, w)
	}
	return nil
}

// ParseWeights reads PRODUCTION:CANARY.
func ParseWeights(s string) (Weights, error) {
	p, c, ok := strings.Cut(s, ":")
	production, err1 := strconv.Atoi(p)
	canary, err2 := strconv.Atoi(c)
	if !ok || err1 != nil || err2 != nil {
		return Weights{}, fmt.Errorf("want PRODUCTION:CANARY such as 2:1, got %q", s)
	}
	w := Weights{Production: production, Canary: canary}
	return w, w.Check()
}
