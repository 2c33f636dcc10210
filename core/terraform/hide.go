package terraform

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/seed-b96de936/troop/core/mask"
)

// minHidden is the minimum length, in bytes, of a sensitive text to hide it also where it is not marked as sensitive. A
// shorter one may be a common word such as "true".
const minHidden = 8

// hide returns Terraform's plan without sensitive values and secrets. The mask hides the same texts in everything
// derived from the plan and in the messages of rules.
func hide(raw []byte, secrets []string) (map[string]any, *mask.Mask, error) {
	var plan map[string]any
	for d := json.NewDecoder(bytes.NewReader(raw)); ; { // terraform-exec asks for the version first
		var v map[string]any
		if err := d.Decode(&v); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return nil, nil, fmt.Errorf("decode plan: %w", err)
		}
		plan = v
	}
	h := &hider{mask: mask.New(secrets...)}
	for _, list := range []string{"resource_changes", "resource_drift"} {
		for _, r := range array(plan[list]) {
			h.change(object(object(r)["change"]))
		}
	}
	for _, d := range array(plan["deferred_changes"]) {
		h.change(object(object(object(d)["resource_change"])["change"]))
	}
	for _, c := range object(plan["output_changes"]) {
		h.change(object(c))
	}
	h.values(object(plan["planned_values"]))
	h.values(object(object(plan["prior_state"])["values"]))
	declared := object(object(object(plan["configuration"])["root_module"])["variables"])
	for name, v := range object(plan["variables"]) {
		h.field(object(v), "value", object(declared[name])["sensitive"])
	}
	// The rest is not marked, such as a literal in the module that the configuration quotes.
	hidden, _ := h.mask.Value(plan).(map[string]any)
	return hidden, h.mask, nil
}

// hider removes sensitive values from Terraform's plan and adds them to the mask.
type hider struct{ mask *mask.Mask }

func (h *hider) change(c map[string]any) {
	h.field(c, "before", c["before_sensitive"])
	h.field(c, "after", c["after_sensitive"])
}

// values hides the values of a module in a plan's state, and of its child modules.
func (h *hider) values(state map[string]any) {
	for _, output := range object(state["outputs"]) {
		h.field(object(output), "value", object(output)["sensitive"])
	}
	h.module(object(state["root_module"]))
}

func (h *hider) module(m map[string]any) {
	for _, r := range array(m["resources"]) {
		h.field(object(r), "values", object(r)["sensitive_values"])
	}
	for _, child := range array(m["child_modules"]) {
		h.module(object(child))
	}
}

func (h *hider) field(m map[string]any, name string, marks any) {
	if v, ok := m[name]; ok {
		m[name] = h.value(v, marks)
	}
}

// value hides the parts of a value that the parallel tree of marks names.
func (h *hider) value(v, marks any) any {
	switch marks := marks.(type) {
	case bool:
		if marks && v != nil {
			h.remember(v)
			return sensitive
		}
	case []any:
		if list, ok := v.([]any); ok {
			for i := range min(len(list), len(marks)) {
				list[i] = h.value(list[i], marks[i])
			}
		}
	case map[string]any:
		if m, ok := v.(map[string]any); ok {
			for name := range m {
				m[name] = h.value(m[name], marks[name])
			}
		}
	}
	return v
}

// remember adds every string in a sensitive value to the mask.
func (h *hider) remember(v any) {
	switch v := v.(type) {
	case string:
		if len(v) >= minHidden {
			h.mask.Add(v)
		}
	case []any:
		for _, x := range v {
			h.remember(x)
		}
	case map[string]any:
		for _, x := range v {
			h.remember(x)
		}
	}
}

func array(v any) []any {
	list, _ := v.([]any)
	return list
}
