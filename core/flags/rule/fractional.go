package rule

import (
	"math"

	"github.com/twmb/murmur3"
)

// Bucket is where a key stands among all keys: its MurmurHash3 (x86, 32 bits, seed 0), the hash of flagd's operator
// fractional. Everything that divides clients into shares uses it, with Share, so that a client that is in a share of one
// kind is in the share of the same size of another.
func Bucket(key string) uint32 { return murmur3.StringSum32(key) }

// Share is the bucket's place in a whole that is divided into total parts: from 0 to total-1. A client belongs to a share
// of n parts in total when the result is less than n. Shares nest: who is in one of 5 % is in one of 25 %, too.
func Share(bucket, total uint32) uint32 {
	return uint32(uint64(bucket) * uint64(total) >> 32)
}

// fractional divides by the first argument when it is a text, else by the flag's key and the context's targetingKey. The
// others are a variant and its weight each. It is nil when there is nothing to divide by, or the arguments are wrong.
func fractional(s *scope, v []any) any {
	key, ok := v[0].(string)
	if ok {
		v = v[1:]
	} else {
		if v[0] == nil {
			v = v[1:]
		}
		target, _ := s.root["targetingKey"].(string)
		if key = s.flag + target; target == "" {
			return nil
		}
	}
	if key == "" { // no key: else all who have none would be in one share
		return nil
	}
	var total uint64
	for _, part := range v {
		weight, ok := weightOf(part)
		if !ok {
			return nil
		}
		total += uint64(weight)
	}
	if total == 0 || total > math.MaxInt32 {
		return nil
	}
	at, end := Share(Bucket(key), uint32(total)), uint32(0)
	for _, part := range v {
		weight, _ := weightOf(part)
		if end += weight; at < end {
			return part.([]any)[0]
		}
	}
	return nil
}

// weightOf is the weight of a pair; 1 without one.
func weightOf(part any) (uint32, bool) {
	pair, ok := part.([]any)
	if !ok || len(pair) == 0 || composite(pair[0]) {
		return 0, false
	}
	if len(pair) == 1 || pair[1] == nil {
		return 1, true
	}
	weight, ok := pair[1].(float64)
	return uint32(weight), ok && weight >= 0 && weight <= math.MaxInt32 && weight == math.Trunc(weight)
}
