package loader

import (
	"github.com/seed-b96de936/troop/core"
	"github.com/seed-b96de936/troop/plugins/sdk"
	"github.com/seed-b96de936/troop/plugins/sdk/client"
)

func configToClient(c core.Config) client.Config {
	return client.Config{
		Name: c.Name, File: c.Block.File, Source: c.Block.Source,
		Line: c.Block.Start.Line, Column: c.Block.Start.Column, Byte: c.Block.Start.Byte,
		ScopeType: c.Scope.Type, ScopeValue: c.Scope.Value,
	}
}

func jobToClient(j core.Job) client.Job {
	out := client.Job{
		Config: configToClient(j.Config),
		Info: sdk.RunInfo{
			Run: string(j.Info.Run), Pipeline: j.Info.Pipeline, Stage: string(j.Info.Stage), Commit: j.Info.Commit,
			Branch: j.Info.Branch, Environment: j.Info.Environment, Workspace: j.Info.Workspace,
			Host: string(j.Info.Host), Role: j.Info.Role, StateDir: j.Info.StateDir,
		},
	}
	if j.Capabilities != nil {
		out.Capabilities = capabilities{j.Capabilities}
	}
	return out
}

func diagnosticsToCore(in []client.Diagnostic) core.Diagnostics {
	var out core.Diagnostics
	for _, d := range in {
		out = append(out, core.Diagnostic{
			Warning: d.Warning, Summary: d.Summary, Detail: d.Detail,
			Range: core.Range{File: d.Range.File, Start: core.Pos(d.Range.Start), End: core.Pos(d.Range.End)},
		})
	}
	return out
}

func messageToCore(m client.Message) core.Message {
	var out core.Message
	switch {
	case m.Log != nil:
		out.Log = (*core.Log)(m.Log)
	case m.Progress != nil:
		out.Progress = (*core.Progress)(m.Progress)
	case m.Finding != nil:
		out.Finding = (*core.Finding)(m.Finding)
	case m.Metric != nil:
		out.Metric = (*core.Metric)(m.Metric)
	case m.Output != nil:
		out.Output = (*core.Output)(m.Output)
	case m.Table != nil:
		out.Table = (*core.Table)(m.Table)
	case m.Event != nil:
		e := eventToCore(*m.Event)
		out.Event = &e
	}
	return out
}

func eventToCore(e sdk.Event) core.Event {
	return core.Event{
		ID: e.ID, Time: e.Time, Environment: e.Environment, Host: core.HostName(e.Host), Role: e.Role, Run: core.RunID(e.Run),
		Source: e.Source, Kind: e.Kind, Severity: core.Severity(e.Severity), Summary: e.Summary, Key: e.Key, Data: e.Data,
	}
}

func eventToSDK(e core.Event) sdk.Event {
	return sdk.Event{
		ID: e.ID, Time: e.Time, Environment: e.Environment, Host: string(e.Host), Role: e.Role, Run: string(e.Run),
		Source: e.Source, Kind: e.Kind, Severity: sdk.Severity(e.Severity), Summary: e.Summary, Key: e.Key, Data: e.Data,
	}
}

func descriptionToCore(d client.Description) core.Description {
	out := core.Description{
		Name: d.Name, Version: d.Version, Summary: d.Summary, Stage: d.Stage, Cacheable: d.Cacheable,
		Agent: (*core.Agent)(d.Agent), Config: blockToCore(d.Config),
	}
	for _, o := range d.Outputs {
		out.Outputs = append(out.Outputs, core.OutputDoc(o))
	}
	for _, a := range d.Actions {
		action := core.Action{Name: a.Name, Summary: a.Summary}
		for _, x := range a.Args {
			action.Args = append(action.Args, core.ActionArg(x))
		}
		out.Actions = append(out.Actions, action)
	}
	for _, c := range d.Capabilities {
		out.Capabilities = append(out.Capabilities, string(c))
	}
	return out
}

func blockToCore(b client.Block) core.BlockSchema {
	var out core.BlockSchema
	for _, a := range b.Attributes {
		out.Attributes = append(out.Attributes, core.Attribute(a))
	}
	for _, n := range b.Blocks {
		out.Blocks = append(out.Blocks, core.NestedBlock{
			Type: n.Type, Labels: n.Labels, Required: n.Required, Many: n.Many, Doc: n.Doc, Block: blockToCore(n.Block),
		})
	}
	return out
}
