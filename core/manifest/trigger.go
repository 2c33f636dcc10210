package manifest

import (
	"net/url"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"

	"github.com/seed-b96de936/troop/core"
)

// triggerNames are what can start a run.
var triggerNames = []string{"push"}

func (l *loader) readTriggers(blocks []*hclsyntax.Block) {
	for _, b := range blocks {
		if !l.labels(b, "push") {
			continue
		}
		if !slices.Contains(triggerNames, b.Labels[0]) {
			l.errorf(b.LabelRanges[0], "Unknown trigger", "There is no trigger %q. A commit on a branch is: trigger \"push\" { … }.", shorten(b.Labels[0]))
		}
		l.content(b.Body, &triggerGrammar)
		t := core.Trigger{Name: b.Labels[0]}
		if a := b.Body.Attributes["branches"]; a != nil {
			t.Branches = l.patterns(a, "branch")
		}
		if a := b.Body.Attributes["tags"]; a != nil {
			t.Tags = l.patterns(a, "tag")
		}
		if b.Body.Attributes["branches"] == nil && b.Body.Attributes["tags"] == nil {
			l.missing(b, "branches", `branches = ["main"], or tags = ["v*"]`)
		}
		if a := b.Body.Attributes["environment"]; a != nil {
			if name, ok := l.str(a, site{}); ok && l.checkEnvironment(a.Expr.Range(), name) {
				t.Environment = name
			}
		}
		if a := b.Body.Attributes["until"]; a != nil {
			if ids := l.stageIDs(a.Expr); len(ids) == 1 {
				t.Until = ids[0]
			} else if len(ids) > 1 {
				l.errorf(a.Expr.Range(), "Incomplete reference", "\"until\" names one stage; this one is repeated with for_each: name one of its instances.")
			}
		}
		l.pipeline.Triggers = append(l.pipeline.Triggers, t)
	}
}

// patterns are names of branches or tags, with * for any part of a name without a slash.
func (l *loader) patterns(a *hclsyntax.Attribute, what string) []string {
	list, ok := l.strs(a, site{})
	if ok && len(list) == 0 {
		l.errorf(a.Expr.Range(), "Empty list", "%q names no %s, so that this never holds. Write [\"*\"] for every %s.", a.Name, what, what)
	}
	for i, p := range list {
		if _, err := path.Match(p, ""); err != nil || strings.TrimSpace(p) != p || p == "" {
			l.errorf(item(a.Expr, i), "Invalid pattern", "%q is no pattern of a %s. Write a name, or use * and ?: %s.", shorten(p), what, patternExamples[what])
		}
	}
	return list
}

var patternExamples = map[string]string{"branch": `"main", "release/*"`, "tag": `"v1.0", "v*"`}

var (
	notifyTypes = []string{"email", "sms", "webhook", "slack", "teams", "discord", "pagerduty", "opsgenie", "chat"}
	severities  = []string{string(core.Info), string(core.Warning), string(core.Alert), string(core.Resolved)}
	runKinds    = []string{core.KindRunStarted, core.KindRunPassed, core.KindRunPassedWithFailures, core.KindRunFailed, core.KindRunCancelled}
	stageKinds  = []string{core.KindStageStarted, core.KindStagePassed, core.KindStageFailed, core.KindStageSkipped}
	kindPattern = regexp.MustCompile(`^[a-z][a-z0-9_-]*(\.[a-z0-9_-]+)+$`)
)

// defaultOn is what a notifier hears that does not say it.
var defaultOn = []string{string(core.Alert), string(core.Resolved), core.KindRunFailed}

func (l *loader) readNotifiers(blocks []*hclsyntax.Block) {
	first := map[string]*hclsyntax.Block{}
	for _, b := range blocks {
		if !l.labels(b, "TYPE", "NAME") || !l.name(b, 1, "notifier") {
			continue
		}
		key := b.Labels[0] + "." + b.Labels[1]
		if first[key] != nil {
			l.duplicate(b, "notifier", first[key])
			continue
		}
		first[key] = b
		if !slices.Contains(notifyTypes, b.Labels[0]) {
			l.errorf(b.LabelRanges[0], "Unknown type of notifier", "A notifier is %s.%s", oneOf(notifyTypes), didYouMean(b.Labels[0], notifyTypes))
		}
		l.pipeline.Notifiers = append(l.pipeline.Notifiers, l.notifier(b))
	}
}

func (l *loader) notifier(b *hclsyntax.Block) core.Notifier {
	l.content(b.Body, &notifyGrammar)
	n := core.Notifier{Type: b.Labels[0], Name: b.Labels[1], On: slices.Clone(defaultOn), Range: rangeOf(b.DefRange())}
	if a := b.Body.Attributes["url"]; a == nil {
		l.missing(b, "url", "url = env.OPS_URL")
	} else if text, ok := l.str(a, site{}); ok {
		n.URL = text
		l.checkURL(a, text)
	}
	if a := b.Body.Attributes["on"]; a != nil {
		list, ok := l.strs(a, site{})
		if ok && len(list) == 0 {
			l.errorf(a.Expr.Range(), "Empty list", "This notifier would never say anything. Leave \"on\" out for: %s.", allOf(defaultOn))
		}
		for i, on := range list {
			l.checkOn(item(a.Expr, i), on)
		}
		n.On = list
	}
	if a := b.Body.Attributes["cooldown"]; a != nil {
		n.Cooldown = l.duration(a, site{})
	}
	if a := b.Body.Attributes["after"]; a != nil {
		if n.After = l.duration(a, site{}); n.After > 0 && !slices.ContainsFunc(n.On, alerts) {
			l.errorf(a.Expr.Range(), "Nothing to wait for", "Only alerts can be acknowledged, and this notifier hears of none: add \"alert\" to \"on\", or leave \"after\" out.")
		}
	}
	if a := b.Body.Attributes["limit"]; a != nil {
		var ok bool
		if n.Limit, ok = l.integer(a, site{}); ok && n.Limit == 0 {
			l.errorf(a.Expr.Range(), "Invalid number", "With a limit of 0 this notifier would never say anything.")
		}
	}
	if a := b.Body.Attributes["page"]; a != nil {
		if text, ok := l.str(a, site{}); ok {
			n.Page = text
			if u, err := url.Parse(text); err != nil || u.Scheme != "https" && u.Scheme != "http" {
				l.errorf(a.Expr.Range(), "Invalid address", "\"page\" is the address of a web page: page = \"https://troop.example.com\".")
			}
		}
	}
	return n
}

// alerts reports whether a notifier whose list names this may hear of alerts: a kind of event may be one.
func alerts(on string) bool {
	return !slices.Contains([]string{string(core.Info), string(core.Warning), string(core.Resolved)}, on) && !strings.HasPrefix(on, "run.")
}

// checkURL never quotes the address: it may hold a secret.
func (l *loader) checkURL(a *hclsyntax.Attribute, text string) {
	u, err := url.Parse(text)
	if err != nil || u.Scheme == "" {
		l.errorf(a.Expr.Range(), "Invalid address", "This is not an address with a scheme, such as smtp://… or https://….")
		return
	}
	if _, has := u.User.Password(); has && len(a.Expr.Variables()) == 0 {
		l.warnf(a.Expr.Range(), "Password in the manifest",
			"Everyone who can read the repository can read it. Keep the address in the environment: url = env.OPS_URL.")
	}
}

// checkOn takes a severity, or the kind of an event.
func (l *loader) checkOn(r hcl.Range, on string) {
	known := slices.Concat(severities, runKinds, stageKinds)
	family, _, dotted := strings.Cut(on, ".")
	open := dotted && kindPattern.MatchString(on) && family != "run" && family != "stage"
	if open || slices.Contains(known, on) {
		return
	}
	l.errorf(r, "Unknown event",
		"%q is neither a severity (%s) nor the kind of an event, such as run.failed.%s", shorten(on), strings.Join(severities, ", "), didYouMean(on, known))
}
