package lab

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// ParseSize parses a size such as 512MiB or 2GiB and returns bytes.
func ParseSize(s string) (int64, error) {
	for _, unit := range []struct {
		suffix string
		bytes  int64
	}{{"MiB", 1 << 20}, {"GiB", 1 << 30}} {
		digits, ok := strings.CutSuffix(s, unit.suffix)
		if !ok {
			continue
		}
		n, err := strconv.ParseInt(digits, 10, 64)
		if err == nil && n > 0 && n <= math.MaxInt64/unit.bytes {
			return n * unit.bytes, nil
		}
	}
	return 0, fmt.Errorf("size %q: want a whole number of MiB or GiB, such as 512MiB", s)
}
