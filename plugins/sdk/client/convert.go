package client

import (
	"slices"

	"encoding/json"
	"fmt"
	"time"

	"github.com/seed-b96de936/troop/plugins/sdk"
	"github.com/seed-b96de936/troop/plugins/sdk/internal/wire"
)

func configToWire(c Config) *wire.Config {
	return &wire.Config{
		Name: c.Name, File: c.File, Source: c.Source, Line: int32(c.Line), Column: int32(c.Column), Byte: int32(c.Byte),
		ScopeType: c.ScopeType, ScopeValue: c.ScopeValue,
	}
}

// infoToWire tells for what a job runs, and where the workspace is to those alone that declare to need it.
func infoToWire(i sdk.RunInfo, d Description) *wire.RunInfo {
	if !slices.Contains(d.Capabilities, sdk.Workspace) {
		i.Workspace = ""
	}
	return &wire.RunInfo{
		Run: i.Run, Pipeline: i.Pipeline, Stage: i.Stage, Commit: i.Commit, Branch: i.Branch, Environment: i.Environment,
		Workspace: i.Workspace, Host: i.Host, Role: i.Role, StateDir: i.StateDir,
	}
}

func diagnosticsFromWire(in []*wire.Diagnostic) []Diagnostic {
	var out []Diagnostic
	for _, d := range in {
		r := d.GetRange()
		out = append(out, Diagnostic{
			Warning: d.GetWarning(), Summary: d.GetSummary(), Detail: d.GetDetail(),
			Range: Range{
				File:  r.GetFile(),
				Start: Pos{int(r.GetStartLine()), int(r.GetStartColumn()), int(r.GetStartByte())},
				End:   Pos{int(r.GetEndLine()), int(r.GetEndColumn()), int(r.GetEndByte())},
			},
		})
	}
	return out
}

func descriptionFromWire(d *wire.Description) Description {
	out := Description{
		Name: d.GetName(), Version: d.GetVersion(), Summary: d.GetSummary(), Stage: d.GetStage(), Cacheable: d.GetCacheable(),
		Config: blockFromWire(d.GetConfig()),
	}
	if a := d.GetAgent(); a != nil {
		out.Agent = &Agent{User: a.GetUser(), LinuxCapabilities: a.GetLinuxCapabilities(), Groups: a.GetGroups(), WritablePaths: a.GetWritablePaths()}
	}
	for _, o := range d.GetOutputs() {
		out.Outputs = append(out.Outputs, sdk.Output{Name: o.GetName(), Doc: o.GetDoc()})
	}
	for _, a := range d.GetActions() {
		action := Action{Name: a.GetName(), Summary: a.GetSummary()}
		for _, x := range a.GetArgs() {
			action.Args = append(action.Args, sdk.Arg{Name: x.GetName(), Doc: x.GetDoc(), Default: x.GetDefault(), Flag: x.GetFlag(), Required: x.GetRequired()})
		}
		out.Actions = append(out.Actions, action)
	}
	for _, c := range d.GetCapabilities() {
		out.Capabilities = append(out.Capabilities, sdk.Capability(c))
	}
	return out
}

func blockFromWire(b *wire.Block) Block {
	var out Block
	for _, a := range b.GetAttributes() {
		out.Attributes = append(out.Attributes, Attribute{
			Name: a.GetName(), Type: a.GetType(), Default: a.GetDefault(), Doc: a.GetDoc(), Required: a.GetRequired(), Sensitive: a.GetSensitive(),
		})
	}
	for _, n := range b.GetBlocks() {
		out.Blocks = append(out.Blocks, NestedBlock{
			Type: n.GetType(), Labels: n.GetLabels(), Required: n.GetRequired(), Many: n.GetMany(), Doc: n.GetDoc(), Block: blockFromWire(n.GetBlock()),
		})
	}
	return out
}

// messageFromWire returns a zero Message for a kind that this version does not know.
func messageFromWire(w *wire.Message) (Message, error) {
	switch k := w.GetKind().(type) {
	case *wire.Message_Log:
		return Message{Log: &Log{Line: k.Log.GetLine(), Error: k.Log.GetError()}}, nil
	case *wire.Message_Progress:
		return Message{Progress: &Progress{Done: k.Progress.GetDone(), Total: k.Progress.GetTotal(), Text: k.Progress.GetText()}}, nil
	case *wire.Message_Finding:
		f := k.Finding
		return Message{Finding: &sdk.Finding{
			Path: f.GetPath(), Line: int(f.GetLine()), Column: int(f.GetColumn()), Severity: f.GetSeverity(), Rule: f.GetRule(), Message: f.GetMessage(),
		}}, nil
	case *wire.Message_Metric:
		m := &sdk.Metric{Name: k.Metric.GetName(), Value: k.Metric.GetValue(), Unit: k.Metric.GetUnit()}
		if k.Metric.GetHasLimit() {
			limit := k.Metric.GetLimit()
			m.Limit = &limit
		}
		return Message{Metric: m}, nil
	case *wire.Message_Output:
		o := &Output{Name: k.Output.GetName()}
		if err := json.Unmarshal(k.Output.GetJson(), &o.Value); err != nil {
			return Message{}, fmt.Errorf("decode output %q: %w", o.Name, err)
		}
		return Message{Output: o}, nil
	case *wire.Message_Table:
		t := &sdk.Table{Columns: k.Table.GetColumns()}
		for _, r := range k.Table.GetRows() {
			t.Rows = append(t.Rows, r.GetCells())
		}
		return Message{Table: t}, nil
	case *wire.Message_Event:
		e, err := eventFromWire(k.Event)
		return Message{Event: &e}, err
	}
	return Message{}, nil
}

func eventFromWire(w *wire.Event) (sdk.Event, error) {
	e := sdk.Event{
		ID: w.GetId(), Environment: w.GetEnvironment(), Host: w.GetHost(), Role: w.GetRole(), Run: w.GetRun(), Source: w.GetSource(),
		Kind: w.GetKind(), Severity: sdk.Severity(w.GetSeverity()), Summary: w.GetSummary(), Key: w.GetKey(),
	}
	if n := w.GetTimeUnixNano(); n != 0 {
		e.Time = time.Unix(0, n)
	}
	if b := w.GetDataJson(); len(b) > 0 {
		if err := json.Unmarshal(b, &e.Data); err != nil {
			return e, fmt.Errorf("decode data of event %q: %w", e.Kind, err)
		}
	}
	return e, nil
}

func eventToWire(e sdk.Event) (*wire.Event, error) {
	w := &wire.Event{
		Id: e.ID, Environment: e.Environment, Host: e.Host, Role: e.Role, Run: e.Run, Source: e.Source,
		Kind: e.Kind, Severity: string(e.Severity), Summary: e.Summary, Key: e.Key,
	}
	if !e.Time.IsZero() {
		w.TimeUnixNano = e.Time.UnixNano()
	}
	if e.Data != nil {
		b, err := json.Marshal(e.Data)
		if err != nil {
			return nil, fmt.Errorf("encode data of event %q: %w", e.Kind, err)
		}
		w.DataJson = b
	}
	return w, nil
}

func taskToWire(r sdk.TaskResult) (*wire.TaskResult, error) {
	w := &wire.TaskResult{Host: r.Host, Task: r.Task, Status: r.Status, Message: r.Message, Path: r.Path}
	if r.Facts != nil {
		b, err := json.Marshal(r.Facts)
		if err != nil {
			return nil, fmt.Errorf("encode facts of task %q: %w", r.Task, err)
		}
		w.FactsJson = b
	}
	return w, nil
}

func artifactToWire(a sdk.Artifact) *wire.Artifact {
	return &wire.Artifact{Digest: a.Digest, Path: a.Path, Size: a.Size}
}

func entryToWire(e sdk.Entry) *wire.StateEntry {
	return &wire.StateEntry{Key: e.Key, Value: e.Value, Version: e.Version}
}
