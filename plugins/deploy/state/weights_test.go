package state

import "testing"

func TestParseWeights(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]Weights{"2:1": {2, 1}, "1:0": {1, 0}, "66:33": {66, 33}} {
		if got, err := ParseWeights(text); err != nil || got != want {
			t.Errorf("%q: got %v, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "2", "2:", "a:b", "0:1", "1:-1", "1:2:3", "1:99999"} {
		if got, err := ParseWeights(text); err == nil {
			t.Errorf("%q was taken as %v", text, got)
		}
	}
}
