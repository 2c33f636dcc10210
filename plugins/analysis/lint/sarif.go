package lint

import (
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// The parts of SARIF 2.1.0 in use: results, positions, and whether the tool succeeded.
type (
	sarifLog struct {
		Runs []sarifRun `json:"runs"`
	}
	sarifRun struct {
		Tool struct {
			Driver     sarifComponent   `json:"driver"`
			Extensions []sarifComponent `json:"extensions"`
		} `json:"tool"`
		Invocations []sarifInvocation `json:"invocations"`
		Artifacts   []struct{ Location sarifArtifact }
		Bases       map[string]sarifArtifact `json:"originalUriBaseIds"`
		Results     []sarifResult            `json:"results"`
	}
	sarifComponent struct {
		Name  string      `json:"name"`
		GUID  string      `json:"guid"`
		Rules []sarifRule `json:"rules"`
	}
	sarifRule struct {
		ID            string                  `json:"id"`
		GUID          string                  `json:"guid"`
		Configuration struct{ Level string }  `json:"defaultConfiguration"`
		Messages      map[string]sarifMessage `json:"messageStrings"`
	}
	// sarifReference refers to a rule by its id or by its index in a component; the default component is the driver.
	sarifReference struct {
		ID        string `json:"id"`
		GUID      string `json:"guid"`
		Index     *int   `json:"index"`
		Component *struct {
			Name  string `json:"name"`
			GUID  string `json:"guid"`
			Index *int   `json:"index"`
		} `json:"toolComponent"`
	}
	sarifInvocation struct {
		Successful    *bool               `json:"executionSuccessful"`
		Execution     []sarifNotification `json:"toolExecutionNotifications"`
		Configuration []sarifNotification `json:"toolConfigurationNotifications"`
		Overrides     []struct {
			Rule          sarifReference         `json:"descriptor"`
			Configuration struct{ Level string } `json:"configuration"`
		} `json:"ruleConfigurationOverrides"`
	}
	sarifNotification struct {
		Level     string          `json:"level"`
		Message   sarifMessage    `json:"message"`
		Locations []sarifLocation `json:"locations"`
	}
	sarifResult struct {
		RuleID       string                    `json:"ruleId"`
		RuleIndex    *int                      `json:"ruleIndex"`
		Rule         sarifReference            `json:"rule"`
		Level        string                    `json:"level"`
		Kind         string                    `json:"kind"`
		Baseline     string                    `json:"baselineState"`
		Suppressions []struct{ Status string } `json:"suppressions"`
		Message      sarifMessage              `json:"message"`
		Locations    []sarifLocation           `json:"locations"`
	}
	sarifMessage struct {
		Text      string   `json:"text"`
		Markdown  string   `json:"markdown"`
		ID        string   `json:"id"`
		Arguments []string `json:"arguments"`
	}
	sarifLocation struct {
		Physical struct {
			Artifact sarifArtifact `json:"artifactLocation"`
			Region   struct {
				Line   int `json:"startLine"`
				Column int `json:"startColumn"`
			} `json:"region"`
		} `json:"physicalLocation"`
	}
	sarifArtifact struct {
		URI   string `json:"uri"`
		Base  string `json:"uriBaseId"`
		Index *int   `json:"index"`
	}
)

func sarif(log sarifLog) ([]Finding, error) {
	if log.Runs == nil { // "runs": null means that there are no runs to report
		return []Finding{{Severity: "error", Message: "the report has no runs: the tool failed before it could write them"}}, nil
	}
	var list []Finding
	for _, run := range log.Runs {
		for _, i := range run.Invocations {
			list = append(list, run.notifications(i)...)
		}
		for _, r := range run.Results {
			if f, ok := run.finding(r); ok {
				list = append(list, f)
			}
		}
	}
	return list, nil
}

// notifications returns the tool's messages about itself. If the run failed, they are errors, at least one. Otherwise only
// errors among them are reported, as warnings.
func (run sarifRun) notifications(i sarifInvocation) []Finding {
	failed := i.Successful != nil && !*i.Successful
	all := slices.Concat(i.Configuration, i.Execution)
	grave := slices.DeleteFunc(slices.Clone(all), func(n sarifNotification) bool { return n.Level != "error" })
	if failed && len(grave) == 0 {
		grave = all
	}
	if failed && len(grave) == 0 {
		grave = []sarifNotification{{Message: sarifMessage{Text: "the tool reports that its run failed (executionSuccessful is false)"}}}
	}
	var list []Finding
	for _, n := range grave {
		f := run.place(n.Locations)
		f.Severity, f.Message = "warning", n.Message.render(nil)
		if failed {
			f.Severity = "error"
		}
		list = append(list, f)
	}
	return list
}

func (run sarifRun) finding(r sarifResult) (Finding, bool) {
	// Suppressed means accepted by somebody. A suppression without status counts as accepted.
	accepted := len(r.Suppressions) > 0 && !slices.ContainsFunc(r.Suppressions, func(s struct{ Status string }) bool {
		return s.Status != "" && s.Status != "accepted"
	})
	if accepted || r.Baseline == "absent" || r.Kind == "pass" || r.Kind == "notApplicable" || r.Kind == "informational" {
		return Finding{}, false
	}
	ref := r.Rule
	if ref.ID == "" {
		ref.ID = r.RuleID
	}
	if ref.Index == nil {
		ref.Index = r.RuleIndex
	}
	rule := run.rule(ref)
	f := run.place(r.Locations)
	f.Rule, f.Message = ref.ID, r.Message.render(rule.Messages)
	if f.Rule == "" {
		f.Rule = rule.ID
	}
	f.Severity = severity(run.level(r, rule))
	return f, true
}

// level is the result's own level, the rule's configured level, or the standard's default.
func (run sarifRun) level(r sarifResult, rule sarifRule) string {
	if r.Level != "" {
		return r.Level
	}
	if r.Kind != "" && r.Kind != "fail" { // open, review: no verdict
		return "note"
	}
	for _, i := range run.Invocations {
		for _, o := range i.Overrides {
			if o.Configuration.Level != "" && rule.ID != "" && run.rule(o.Rule).ID == rule.ID {
				return o.Configuration.Level
			}
		}
	}
	if rule.Configuration.Level != "" {
		return rule.Configuration.Level
	}
	return "warning"
}

// rule returns the rule of a reference, or an empty one.
func (run sarifRun) rule(ref sarifReference) sarifRule {
	components := append([]sarifComponent{run.Tool.Driver}, run.Tool.Extensions...)
	named := components[0]
	if c := ref.Component; c != nil {
		i := slices.IndexFunc(run.Tool.Extensions, func(e sarifComponent) bool {
			return c.GUID != "" && e.GUID == c.GUID || c.GUID == "" && c.Name != "" && e.Name == c.Name
		})
		if c.Index != nil {
			i = *c.Index
		}
		if i >= 0 && i < len(run.Tool.Extensions) {
			named = run.Tool.Extensions[i]
		}
	}
	if i := ref.Index; i != nil && *i >= 0 && *i < len(named.Rules) {
		return named.Rules[*i]
	}
	// A hierarchical id, such as CA1000/1, may refer to a case of the rule CA1000.
	for id := ref.ID; id != "" || ref.GUID != ""; {
		for _, c := range append([]sarifComponent{named}, components...) {
			for _, r := range c.Rules {
				if id != "" && r.ID == id || ref.GUID != "" && r.GUID == ref.GUID {
					return r
				}
			}
		}
		cut := strings.LastIndexByte(id, '/')
		if cut < 0 {
			break
		}
		id = id[:cut]
	}
	return sarifRule{}
}

// place returns the first location, with its URI converted to a path.
func (run sarifRun) place(list []sarifLocation) Finding {
	if len(list) == 0 {
		return Finding{}
	}
	p := list[0].Physical
	a := p.Artifact
	if a.URI == "" && a.Index != nil && *a.Index >= 0 && *a.Index < len(run.Artifacts) {
		a = run.Artifacts[*a.Index].Location
	}
	uri := a.URI
	for depth := 0; depth < 8 && a.Base != "" && !strings.Contains(uri, "://"); depth++ { // a base may have a base itself
		a = run.Bases[a.Base]
		uri = a.URI + uri
	}
	uri = strings.TrimPrefix(uri, "file://")
	if name, err := url.PathUnescape(uri); err == nil {
		uri = name
	}
	return Finding{Path: uri, Line: max(p.Region.Line, 0), Column: max(p.Region.Column, 0)}
}

var placeholderForm = regexp.MustCompile(`\{(\d+)\}`)

// render returns the text of a message, which may be defined in the rule, with {0} etc. for its arguments.
func (m sarifMessage) render(messages map[string]sarifMessage) string {
	text := m.Text
	if text == "" && m.ID != "" {
		text = messages[m.ID].Text
	}
	if text == "" {
		text = m.Markdown
	}
	if len(m.Arguments) == 0 {
		return text
	}
	return placeholderForm.ReplaceAllStringFunc(text, func(s string) string {
		if n, err := strconv.Atoi(s[1 : len(s)-1]); err == nil && n < len(m.Arguments) {
			return m.Arguments[n]
		}
		return s
	})
}
