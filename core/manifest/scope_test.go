package manifest

import (
	"encoding/json"
	"testing"

	"github.com/zclconf/go-cty/cty"
	ctyjson "github.com/zclconf/go-cty/cty/json"
	"github.com/zclconf/go-cty/cty/msgpack"

	"github.com/seed-b96de936/troop/core"
)

// decode is what the SDK does with a scope.
func decode(t *testing.T, s core.Scope) cty.Value {
	t.Helper()
	typ, err := ctyjson.UnmarshalType(s.Type)
	if err != nil {
		t.Fatal(err)
	}
	v, err := msgpack.Unmarshal(s.Value, typ)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// scopeJSON shows unknown values as the text "(unknown)".
func scopeJSON(t *testing.T, s core.Stage, env string, outputs map[core.StageID]map[string]any) json.RawMessage {
	t.Helper()
	scope, err := s.Scope(env, outputs)
	if err != nil {
		t.Fatal(err)
	}
	v, err := cty.Transform(decode(t, scope), func(_ cty.Path, x cty.Value) (cty.Value, error) {
		if !x.IsKnown() {
			return cty.StringVal("(unknown)"), nil
		}
		return x, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	text, err := ctyjson.Marshal(v, v.Type())
	if err != nil {
		t.Fatal(err)
	}
	return text
}
