package sdk

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// Duration is a length of time, written "10s", "1m30s" or "250ms" in a manifest.
type Duration time.Duration

// Std returns d as a time.Duration.
func (d Duration) Std() time.Duration { return time.Duration(d) }

func (d Duration) String() string { return time.Duration(d).String() }

// MarshalText writes d in the form that UnmarshalText reads.
func (d Duration) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText parses a non-negative duration.
func (d *Duration) UnmarshalText(text []byte) error {
	v, err := time.ParseDuration(string(text))
	if err != nil {
		return fmt.Errorf(`want a duration such as "30s" or "1m30s", got %q`, text)
	}
	if v < 0 {
		return fmt.Errorf("want a duration that is not negative, got %q", text)
	}
	*d = Duration(v)
	return nil
}

// Size is a number of bytes, written "5MiB", "1.5GB" or "512" in a manifest.
type Size int64

// Units of Size, from small to large: KiB etc. are powers of 1024, kB etc. powers of 1000.
var sizeUnits = []struct {
	name  string
	bytes float64
}{
	{"B", 1},
	{"kB", 1e3},
	{"KB", 1e3},
	{"KiB", 1 << 10},
	{"MB", 1e6},
	{"MiB", 1 << 20},
	{"GB", 1e9},
	{"GiB", 1 << 30},
	{"TB", 1e12},
	{"TiB", 1 << 40},
}

// String writes s in the largest binary unit that holds it without a fraction.
func (s Size) String() string {
	for i := len(sizeUnits) - 1; i > 0; i-- {
		u := sizeUnits[i]
		if n := int64(u.bytes); strings.HasSuffix(u.name, "iB") && s != 0 && int64(s)%n == 0 {
			return strconv.FormatInt(int64(s)/n, 10) + u.name
		}
	}
	return strconv.FormatInt(int64(s), 10) + "B"
}

// MarshalText writes s in the form that UnmarshalText reads.
func (s Size) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText parses a non-negative size.
func (s *Size) UnmarshalText(text []byte) error {
	in := strings.TrimSpace(string(text))
	digits := strings.TrimRight(in, "KMGTkiB ")
	unit := strings.TrimSpace(in[len(digits):])
	factor := 1.0
	if unit != "" {
		factor = 0
		for _, u := range sizeUnits {
			if u.name == unit {
				factor = u.bytes
			}
		}
	}
	n, err := strconv.ParseFloat(digits, 64)
	if err != nil || factor == 0 || n < 0 || math.IsNaN(n) || n*factor >= math.MaxInt64 {
		return fmt.Errorf(`want a size such as "512KiB", "5MiB" or "1GB", got %q`, text)
	}
	*s = Size(n * factor)
	return nil
}
