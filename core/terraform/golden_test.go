package terraform

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	tfjson "github.com/hashicorp/terraform-json"

	"github.com/seed-b96de936/troop/core"
)

// TestGolden compares the review of each plan in testdata/*.json with the text file beside it. Every sensitive value in
// these plans contains the word sentinel.
func TestGolden(t *testing.T) {
	files, err := filepath.Glob("testdata/*.json")
	if err != nil || len(files) < 2 {
		t.Fatalf("%d plans, want two at least: %v", len(files), err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".json"), func(t *testing.T) {
			raw, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			var shown tfjson.Plan
			if err := json.Unmarshal(raw, &shown); err != nil {
				t.Fatal(err)
			}
			p, err := read(&shown, raw, nil, time.Date(2026, 9, 29, 3, 4, 5, 0, time.UTC))
			if err != nil {
				t.Fatal(err)
			}
			p.Origin, p.Made = origin, time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
			w := workspaceFor(t)
			w.Rules = quoting{}
			r := reviewed(t, w, p, core.Review{Approve: true, Forbid: []string{"destroy"}, MaxDestroy: 0})

			text := strings.Join(r.Lines(), "\n") + "\n"
			golden := strings.TrimSuffix(file, ".json") + ".txt"
			if os.Getenv("UPDATE") != "" {
				if err := os.WriteFile(golden, []byte(text), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if text != string(want) {
				t.Errorf("got:\n%s\nwant:\n%s", text, want)
			}

			if n := len(slices.DeleteFunc(r.Lines(), func(line string) bool { return strings.HasPrefix(line, "warning: ") })); n > 50 {
				t.Errorf("the plan has %d lines, more than a screen of 50", n)
			}

			page, err := r.HTML()
			if err != nil {
				t.Fatal(err)
			}
			if dir := os.Getenv("TROOP_SCREENSHOTS"); dir != "" {
				if err := os.WriteFile(filepath.Join(dir, strings.TrimSuffix(filepath.Base(file), ".json")+".html"), page, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			forPrograms, err := json.Marshal(r)
			if err != nil {
				t.Fatal(err)
			}
			input, err := json.Marshal(p.shown)
			if err != nil {
				t.Fatal(err)
			}
			for what, s := range map[string]string{"the text": text, "the page": string(page), "the JSON": string(forPrograms), "what rules see": string(input)} {
				if i := strings.Index(s, "sentinel"); i >= 0 {
					t.Errorf("%s shows a sensitive value: %s", what, s[max(0, i-100):min(len(s), i+50)])
				}
			}
			for _, c := range p.Changes {
				if !strings.Contains(string(page), strings.ReplaceAll(c.Address, `"`, "&#34;")) {
					t.Errorf("the page does not name %s", c.Address)
				}
			}
			for _, outside := range []string{"http:", "https:", "src=", "@import", "url(", "<script"} {
				if strings.Contains(string(page), outside) {
					t.Errorf("the page is not self-contained: it has %s", outside)
				}
			}
		})
	}
}

// quoting is a rule whose message is its whole input.
type quoting struct{}

func (quoting) Judge(_ context.Context, plan map[string]any) ([]core.Finding, error) {
	var all []core.Finding
	for _, r := range array(plan["resource_changes"]) {
		c := object(object(r)["change"])
		b, err := json.Marshal([]any{c["before"], c["after"]})
		if err != nil {
			return nil, err
		}
		all = append(all, core.Finding{Path: "policy/all.rego", Line: 1, Severity: "warning", Message: string(b)})
	}
	return all, nil
}
