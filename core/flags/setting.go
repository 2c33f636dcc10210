package flags

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"

	"github.com/seed-b96de936/troop/core"
)

// Setting is a flag's new value as an operator words it. A nil field leaves the flag as it is.
type Setting struct {
	Value   string
	Type    string // boolean, string, number or object; empty: the flag's own, or a guess
	Percent *float64
	When    string  // a rule in JsonLogic
	Else    *string // the value of the others

	Owner, Ends, Release *string // metadata; an empty text removes it
}

// Apply changes a flag. What does not fit is a *core.UsageError.
func (s Setting) Apply(x *Flag) error {
	given, err := s.give(*x)
	if err != nil {
		return &core.UsageError{Err: err}
	}
	given.Metadata = maps.Clone(x.Metadata)
	for key, text := range map[string]*string{Owner: s.Owner, Ends: s.Ends, Release: s.Release} {
		switch {
		case text == nil:
		case *text == "":
			delete(given.Metadata, key)
		default:
			if given.Metadata == nil {
				given.Metadata = map[string]any{}
			}
			given.Metadata[key] = *text
		}
	}
	*x = given
	return nil
}

func (s Setting) give(x Flag) (Flag, error) {
	v, err := s.parse(x)
	if err != nil {
		return x, err
	}
	if s.When != "" && !json.Valid([]byte(s.When)) {
		return x, fmt.Errorf("--when %q: want a rule in JsonLogic, which is JSON", s.When)
	}
	if s.Percent == nil && s.When == "" {
		if s.Else != nil {
			return x, errors.New("--else needs --percent or --when")
		}
		return x.Give(v, nil)
	}
	to := &Split{When: json.RawMessage(s.When), Percent: 100}
	if s.Percent != nil {
		to.Percent = *s.Percent
	}
	if s.Else != nil {
		if to.Else, err = Parse(*s.Else, TypeOf(v)); err != nil {
			return x, fmt.Errorf("--else: %w", err)
		}
	}
	return x.Give(v, to)
}

// parse reads the value as the type that is asked for, or that the flag has. A number in another spelling than the flag's
// own may be meant as a string, as in 1.10: it is refused.
func (s Setting) parse(x Flag) (any, error) {
	if s.Type != "" || x.Type() == "" {
		return Parse(s.Value, s.Type)
	}
	v, err := Parse(s.Value, x.Type())
	if guess, _ := Parse(s.Value, ""); err == nil && x.Type() == Number && TypeOf(guess) != Number {
		err = fmt.Errorf("%s reads as the number %s", s.Value, encoded(v))
	}
	if err != nil {
		return nil, fmt.Errorf("flag %s has the type %s: %w; --type TYPE says which one you mean", x.Name, x.Type(), err)
	}
	return v, nil
}
