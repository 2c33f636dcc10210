package terraform

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/seed-b96de936/troop/core"
)

// Progress is a step of an apply.
type Progress struct {
	Address string
	Host    core.HostName // the host that the resource belongs to, if any
	Action  Action
	Status  string        // started, running, done or failed
	Elapsed time.Duration // since it started
}

// messages is a writer that parses Terraform's -json output. It ignores lines that are not JSON objects, which providers
// may print.
type messages struct {
	log    func(string)
	each   func(Progress)
	rest   []byte
	errors []problem
}

// problem is one error that Terraform reported.
type problem struct {
	Severity string `json:"severity"`
	Summary  string `json:"summary"`
	Detail   string `json:"detail"`
	Address  string `json:"address"`
	Range    *struct {
		Filename string `json:"filename"`
		Start    struct {
			Line   int `json:"line"`
			Column int `json:"column"`
		} `json:"start"`
	} `json:"range"`
}

func (p problem) String() string {
	var b strings.Builder
	if p.Range != nil && p.Range.Filename != "" {
		fmt.Fprintf(&b, "%s:%d,%d: ", p.Range.Filename, p.Range.Start.Line, p.Range.Start.Column)
	}
	if p.Address != "" {
		b.WriteString(p.Address + ": ")
	}
	b.WriteString(p.Summary)
	if p.Detail != "" {
		b.WriteString(": " + strings.Join(strings.Fields(p.Detail), " "))
	}
	return b.String()
}

func (m *messages) Write(b []byte) (int, error) {
	m.rest = append(m.rest, b...)
	for {
		line, rest, ok := bytes.Cut(m.rest, []byte("\n"))
		if !ok {
			return len(b), nil
		}
		m.line(line)
		m.rest = rest
	}
}

func (m *messages) line(b []byte) {
	var msg struct {
		Type       string   `json:"type"`
		Diagnostic *problem `json:"diagnostic"`
		Hook       *struct {
			Resource struct {
				Addr string `json:"addr"`
				Key  any    `json:"resource_key"`
			} `json:"resource"`
			Action  string  `json:"action"`
			Elapsed float64 `json:"elapsed_seconds"`
		} `json:"hook"`
	}
	if json.Unmarshal(b, &msg) != nil {
		return
	}
	if d := msg.Diagnostic; d != nil {
		if d.Severity == "error" {
			m.errors = append(m.errors, *d)
		} else if m.log != nil {
			m.log(d.String())
		}
		return
	}
	status := map[string]string{
		"apply_start": "started", "apply_progress": "running", "apply_complete": "done", "apply_errored": "failed",
	}[msg.Type]
	if status == "" || msg.Hook == nil || m.each == nil {
		return
	}
	action := Action(msg.Hook.Action)
	if action == "delete" {
		action = Destroy
	}
	name, _ := msg.Hook.Resource.Key.(string)
	m.each(Progress{
		Address: msg.Hook.Resource.Addr,
		Host:    core.HostName(name),
		Action:  action,
		Status:  status,
		Elapsed: time.Duration(msg.Hook.Elapsed * float64(time.Second)),
	})
}

// StaleError: the state has changed since the plan was made.
type StaleError struct{}

func (*StaleError) Error() string {
	return "the plan is stale: something was applied since it was made; plan again"
}

// explain replaces an exit status with Terraform's own errors, or with the reason for the interruption.
func (m *messages) explain(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	var texts []error
	for _, p := range m.errors {
		switch p.Summary {
		case "Error acquiring the state lock":
			return &LockedError{Lock: parseLock(p.Detail)}
		case "Saved plan is stale":
			return &StaleError{}
		}
		texts = append(texts, errors.New(p.String()))
	}
	if len(texts) == 0 {
		return err
	}
	return errors.Join(texts...)
}
