package manifest

import (
	"strings"

	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/robfig/cron/v3"

	"github.com/seed-b96de936/troop/core"
)

func (l *loader) readSchedules(blocks []*hclsyntax.Block) {
	first := map[string]*hclsyntax.Block{}
	for _, b := range blocks {
		if !l.labels(b, "NAME") || !l.name(b, 0, "schedule") {
			continue
		}
		name := b.Labels[0]
		if first[name] != nil {
			l.duplicate(b, "schedule", first[name])
			continue
		}
		first[name] = b
		l.pipeline.Schedules = append(l.pipeline.Schedules, l.schedule(b))
	}
}

func (l *loader) schedule(b *hclsyntax.Block) core.Schedule {
	l.content(b.Body, &scheduleGrammar)
	s := core.Schedule{Name: b.Labels[0]}
	if a := b.Body.Attributes["cron"]; a == nil {
		l.missing(b, "cron", `cron = "0 3 * * *"`)
	} else if text, ok := l.str(a, site{}); ok {
		s.Cron = text
		if _, err := cron.ParseStandard(text); err != nil {
			l.errorf(a.Expr.Range(), "Invalid time", "%q is not a time of cron: %v. At three each night is \"0 3 * * *\".", shorten(text), err)
		}
	}
	for _, kind := range []core.ScheduleKind{core.ScheduleRun, core.ScheduleDrift, core.ScheduleDrill} {
		a := b.Body.Attributes[string(kind)]
		if a == nil {
			continue
		}
		if s.Does != "" {
			l.errorf(a.NameRange, "Two things to do", "A schedule does one thing, and this one has %q, too. Write another schedule for it.", s.Does)
			continue
		}
		s.Does = kind
		text, ok := l.str(a, site{})
		switch {
		case !ok:
		case kind == core.ScheduleRun && (text == "" || strings.TrimSpace(text) != text):
			l.errorf(a.Expr.Range(), "Invalid branch", "\"run\" is the name of a branch: run = \"main\".")
		case kind == core.ScheduleRun:
			s.Branch = text
		case l.checkEnvironment(a.Expr.Range(), text):
			s.Environment = text
		}
	}
	if s.Does == "" {
		l.errorf(b.DefRange(), "Nothing to do", "A schedule says what to do: run = \"main\", or drift = \"production\", or drill = \"production\".")
	}
	if a := b.Body.Attributes["environment"]; a != nil {
		if name, ok := l.str(a, site{}); ok && l.checkEnvironment(a.Expr.Range(), name) {
			s.Environment = name
		}
		if s.Does != core.ScheduleRun && s.Does != "" {
			l.errorf(a.NameRange, "Environment of a run", "\"environment\" says where a run goes; write %s = \"NAME\" alone.", s.Does)
		}
	}
	return s
}
