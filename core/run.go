package core

import (
	"slices"
	"strings"
	"time"
)

// Status of a run or a stage.
type Status string

// The statuses. A stage that was not reached stays pending; an interrupted run or stage is cancelled; a run in which only
// stages with on_failure = "continue" failed has passed with failures; a run whose record fails verification is damaged.
const (
	Pending Status = "pending"
	Running Status = "running"
	Passed  Status = "passed"

	PassedWithFailures Status = "passed with failures"

	Failed    Status = "failed"
	Skipped   Status = "skipped"
	Cancelled Status = "cancelled"
	Damaged   Status = "damaged"
)

// Passed reports whether a run came to its end, with or without failures that do not stop it.
func (s Status) Passed() bool { return s == Passed || s == PassedWithFailures }

// Run is one execution of a pipeline for one commit.
type Run struct {
	ID          RunID         `json:"id"`
	Pipeline    string        `json:"pipeline"`
	Manifest    string        `json:"manifest"`
	Commit      string        `json:"commit"`
	Subject     string        `json:"subject"` // first line of the commit message
	Branch      string        `json:"branch"`
	Tag         string        `json:"tag,omitempty"`   // that started it
	Dirty       bool          `json:"dirty,omitempty"` // the commit is of a work tree with uncommitted changes
	Environment string        `json:"environment"`
	Status      Status        `json:"status"`
	Reason      string        `json:"reason,omitempty"` // why it did not pass
	Started     time.Time     `json:"started"`
	Ended       time.Time     `json:"ended,omitzero"`
	PID         int           `json:"pid"`          // process that executes the run
	By          string        `json:"by,omitempty"` // who started it, and on which machine: alice@laptop
	Stages      []StageResult `json:"stages"`
}

// Failed names the stages that failed.
func (r Run) Failed() []string {
	var failed []string
	for _, s := range r.Stages {
		if s.Status == Failed {
			failed = append(failed, string(s.ID))
		}
	}
	return failed
}

// StageResult is the result of one stage in one run.
type StageResult struct {
	ID       StageID        `json:"id"`
	Status   Status         `json:"status"`
	Reason   string         `json:"reason,omitempty"`
	Started  time.Time      `json:"started,omitzero"`
	Ended    time.Time      `json:"ended,omitzero"`
	Attempts int            `json:"attempts,omitempty"`
	Outputs  map[string]any `json:"outputs,omitempty"`
	Plugin   Digest         `json:"plugin,omitempty"`
	Inputs   Digest         `json:"inputs,omitempty"` // of a cacheable stage: digest of everything its result depends on
	Reused   RunID          `json:"reused,omitempty"` // the earlier run whose result was reused
}

// Complete sets an event's ID, time and severity where they are missing.
func Complete(e Event) Event {
	if e.Time.IsZero() {
		e.Time = time.Now()
	}
	if e.ID == "" {
		e.ID = NewID(e.Time)
	}
	if e.Severity == "" {
		e.Severity = Info
	}
	return e
}

// Number reads a number of an event's data, which is a float64 once it has been through a journal; false: it is none.
func Number(v any) (float64, bool) {
	switch v := v.(type) {
	case float64:
		return v, true
	case int:
		return float64(v), true
	case int64:
		return float64(v), true
	}
	return 0, false
}

// Kinds of events emitted by the engine. Plugins and agents add their own in the same dotted form.
const (
	KindRunStarted = "run.started"
	KindRunPassed  = "run.passed"

	KindRunPassedWithFailures = "run.passed_with_failures" // Data: failed, the stages

	KindRunFailed    = "run.failed"
	KindRunCancelled = "run.cancelled"
	KindStageStarted = "stage.started"
	KindStagePassed  = "stage.passed"
	KindStageFailed  = "stage.failed"
	KindStageSkipped = "stage.skipped"

	KindStageCancelled = "stage.cancelled"
	KindStageRetrying  = "stage.retrying" // an attempt failed and another follows: Data: attempt, of, wait (seconds)
	KindStageSilent    = "stage.silent"   // it has said nothing for long: Data: seconds, processes

	KindEnvironmentPreparing = "environment.preparing"
	KindEnvironmentReady     = "environment.ready"
	KindEnvironmentFailed    = "environment.failed"

	KindLog      = "log"      // Summary is the line; Data: error=true if it came from standard error
	KindProgress = "progress" // Data: done, total
	KindFinding  = "finding"  // Data: path, line, column, severity, rule
	KindMetric   = "metric"   // Data: name, value, unit, limit, detail
	KindTable    = "table"    // Data: columns, rows
	KindPlan     = "plan"     // what will change on hosts; Data: review, lines
	KindTask     = "task"     // an Ansible task or a Terraform resource; Data: host, status, path
)

// RunEnded is the kind of the event with which a run of a status ends.
func RunEnded(s Status) string {
	switch s {
	case Passed:
		return KindRunPassed
	case PassedWithFailures:
		return KindRunPassedWithFailures
	case Cancelled:
		return KindRunCancelled
	}
	return KindRunFailed
}

// PartEnded returns the status with which an event of a kind ends a stage, or the preparation of an environment; false: it
// ends neither.
func PartEnded(kind string) (Status, bool) {
	switch kind {
	case KindStagePassed, KindEnvironmentReady:
		return Passed, true
	case KindStageFailed, KindEnvironmentFailed:
		return Failed, true
	case KindStageSkipped:
		return Skipped, true
	case KindStageCancelled:
		return Cancelled, true
	}
	return "", false
}

// TaskEvent is the event for the result of one task on one host.
func TaskEvent(t TaskResult) Event {
	e := Event{
		Host: t.Host, Kind: KindTask, Summary: t.Task,
		Data: map[string]any{"status": t.Status, "path": t.Path, "seconds": t.Elapsed.Seconds()},
	}
	if t.Message != "" {
		e.Data["message"] = t.Message
	}
	if t.Status == "failed" || t.Status == "unreachable" {
		e.Severity = Warning
	}
	return e
}

// Source returns the source of events that a name means: a stage, the only stage of a type, or what else speaks in a run.
// No name means all.
func (r Run) Source(name string) (string, error) {
	var names, typed []string
	for _, s := range r.Stages {
		names = append(names, string(s.ID))
		if strings.HasPrefix(string(s.ID), name+".") {
			typed = append(typed, string(s.ID))
		}
	}
	switch {
	case name == "" || slices.Contains(names, name) || slices.Contains([]string{"run", "manifest"}, name) || strings.HasPrefix(name, "environment."):
		return name, nil
	case len(typed) == 1:
		return typed[0], nil
	}
	return "", &NotFoundError{What: "stage", Name: name, Remedy: "the run has " + strings.Join(names, ", ")}
}
