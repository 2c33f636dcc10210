package wire

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/seed-b96de936/troop/plugins/sdk/contract"
)

// All conversions between the contract's types and the protocol's messages: Encode functions write a message, Decode
// functions read one.

// maxText is the maximum length of a text in bytes; longer texts are truncated.
const maxText = 64 << 10

// Text converts s to valid UTF-8 of bounded length, which the protocol requires.
func Text(s string) string {
	if n := len(s); n > maxText {
		s = fmt.Sprintf("%s… (%d bytes more)", s[:maxText], n-maxText)
	}
	if !utf8.ValidString(s) {
		s = strings.ToValidUTF8(s, "\uFFFD")
	}
	return s
}

// list converts the elements of a slice; nil stays nil.
func list[A, B any](in []A, convert func(A) B) []B {
	if in == nil {
		return nil
	}
	out := make([]B, 0, len(in))
	for _, x := range in {
		out = append(out, convert(x))
	}
	return out
}

// texts converts between slices of strings of two types.
func texts[B, A ~string](in []A) []B { return list(in, func(s A) B { return B(s) }) }

func encodeTime(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixNano()
}

func decodeTime(nano int64) time.Time {
	if nano == 0 {
		return time.Time{}
	}
	return time.Unix(0, nano)
}

// encodeMap encodes a map as JSON; nil becomes no bytes.
func encodeMap(what string, m map[string]any) ([]byte, error) {
	if m == nil {
		return nil, nil
	}
	b, err := json.Marshal(m)
	if err != nil {
		return nil, fmt.Errorf("encode %s: %w", what, err)
	}
	return b, nil
}

// decodeJSON decodes JSON into v; no bytes leave v unchanged.
func decodeJSON(what string, b []byte, v any) error {
	if len(b) == 0 {
		return nil
	}
	if err := json.Unmarshal(b, v); err != nil {
		return fmt.Errorf("decode %s: %w", what, err)
	}
	return nil
}

// EncodeConfig does not set Values, which only plugins without HCL need.
func EncodeConfig(c contract.Config) *Config {
	start := c.Block.Start
	return &Config{
		Name: c.Name, File: c.Block.File, Source: c.Block.Source,
		Line: int32(start.Line), Column: int32(start.Column), Byte: int32(start.Byte),
		ScopeType: c.Scope.Type, ScopeValue: c.Scope.Value,
	}
}

// DecodeConfig is the reverse of EncodeConfig.
func DecodeConfig(w *Config) contract.Config {
	return contract.Config{
		Name: w.GetName(),
		Block: contract.Block{
			Source: w.GetSource(), File: w.GetFile(),
			Start: contract.Pos{Line: int(w.GetLine()), Column: int(w.GetColumn()), Byte: int(w.GetByte())},
		},
		Scope: contract.Scope{Type: w.GetScopeType(), Value: w.GetScopeValue()},
	}
}

// EncodeRunInfo is the reverse of DecodeRunInfo.
func EncodeRunInfo(i contract.RunInfo) *RunInfo {
	return &RunInfo{
		Run: string(i.Run), Pipeline: i.Pipeline, Stage: string(i.Stage), Commit: i.Commit, Branch: i.Branch,
		Environment: i.Environment, Workspace: i.Workspace, Host: string(i.Host), Role: i.Role, StateDir: i.StateDir,
		Stages: texts[string](i.Stages),
	}
}

// DecodeRunInfo is the reverse of EncodeRunInfo.
func DecodeRunInfo(w *RunInfo) contract.RunInfo {
	return contract.RunInfo{
		Run: contract.RunID(w.GetRun()), Pipeline: w.GetPipeline(), Stage: contract.StageID(w.GetStage()),
		Commit: w.GetCommit(), Branch: w.GetBranch(), Environment: w.GetEnvironment(), Workspace: w.GetWorkspace(),
		Host: contract.HostName(w.GetHost()), Role: w.GetRole(), StateDir: w.GetStateDir(),
		Stages: texts[contract.StageID](w.GetStages()),
	}
}

// EncodeRange is the reverse of DecodeRange.
func EncodeRange(r contract.Range) *Range {
	if r == (contract.Range{}) {
		return nil
	}
	return &Range{
		File:      r.File,
		StartLine: int32(r.Start.Line), StartColumn: int32(r.Start.Column), StartByte: int32(r.Start.Byte),
		EndLine: int32(r.End.Line), EndColumn: int32(r.End.Column), EndByte: int32(r.End.Byte),
	}
}

// DecodeRange is the reverse of EncodeRange.
func DecodeRange(w *Range) contract.Range {
	return contract.Range{
		File:  w.GetFile(),
		Start: contract.Pos{Line: int(w.GetStartLine()), Column: int(w.GetStartColumn()), Byte: int(w.GetStartByte())},
		End:   contract.Pos{Line: int(w.GetEndLine()), Column: int(w.GetEndColumn()), Byte: int(w.GetEndByte())},
	}
}

// EncodeDiagnostics is the reverse of DecodeDiagnostics.
func EncodeDiagnostics(d contract.Diagnostics) []*Diagnostic {
	return list(d, func(d contract.Diagnostic) *Diagnostic {
		return &Diagnostic{Warning: d.Warning, Summary: Text(d.Summary), Detail: Text(d.Detail), Range: EncodeRange(d.Range)}
	})
}

// DecodeDiagnostics ignores the paths, which only plugins without HCL set.
func DecodeDiagnostics(w []*Diagnostic) contract.Diagnostics {
	return list(w, func(w *Diagnostic) contract.Diagnostic {
		return contract.Diagnostic{
			Warning: w.GetWarning(), Summary: w.GetSummary(), Detail: w.GetDetail(), Range: DecodeRange(w.GetRange()),
		}
	})
}

// EncodeVerdict converts a stage's verdict: nil, a *contract.Failure or a *contract.SkipError.
func EncodeVerdict(err error) *Result {
	switch v := err.(type) { //nolint:errorlint // only a verdict itself, not an error that wraps one
	case *contract.Failure:
		return &Result{Status: Result_FAILED, Reason: Text(v.Reason), Diagnostics: EncodeDiagnostics(v.Diagnostics)}
	case *contract.SkipError:
		return &Result{Status: Result_SKIPPED, Reason: Text(v.Reason)}
	}
	return &Result{}
}

// DecodeVerdict is the reverse of EncodeVerdict.
func DecodeVerdict(w *Result) error {
	switch w.GetStatus() {
	case Result_FAILED:
		return &contract.Failure{Reason: w.GetReason(), Diagnostics: DecodeDiagnostics(w.GetDiagnostics())}
	case Result_SKIPPED:
		return &contract.SkipError{Reason: w.GetReason()}
	}
	return nil
}

// EncodeDescription is the reverse of DecodeDescription.
func EncodeDescription(d contract.Description) *Description {
	w := &Description{
		Name: d.Name, Version: d.Version, Summary: d.Summary, Stage: d.Stage, Cacheable: d.Cacheable,
		Config:       encodeBlock(d.Config),
		Outputs:      list(d.Outputs, func(o contract.OutputDoc) *Output { return &Output{Name: o.Name, Doc: o.Doc} }),
		Actions:      list(d.Actions, encodeAction),
		Capabilities: texts[string](d.AllCapabilities()), RunCapabilities: encodeCapabilities(d.Capabilities),
	}
	if a := d.Agent; a != nil {
		w.Agent = &Agent{
			User: a.User, LinuxCapabilities: a.LinuxCapabilities, Groups: a.Groups, WritablePaths: a.WritablePaths,
			Capabilities: encodeCapabilities(a.Capabilities),
		}
	}
	return w
}

func encodeCapabilities(c []contract.Capability) *CapabilityList {
	return &CapabilityList{Names: texts[string](c)}
}

// DecodeDescription is the reverse of EncodeDescription. A face without its own capabilities, as in plugins of an older SDK,
// has the plugin's.
func DecodeDescription(w *Description) contract.Description {
	capabilities := func(own *CapabilityList) []contract.Capability {
		if own == nil {
			return texts[contract.Capability](w.GetCapabilities())
		}
		return texts[contract.Capability](own.GetNames())
	}
	d := contract.Description{
		Name: w.GetName(), Version: w.GetVersion(), Summary: w.GetSummary(), Stage: w.GetStage(), Cacheable: w.GetCacheable(),
		Config: decodeBlock(w.GetConfig()),
		Outputs: list(w.GetOutputs(), func(o *Output) contract.OutputDoc {
			return contract.OutputDoc{Name: o.GetName(), Doc: o.GetDoc()}
		}),
		Actions: list(w.GetActions(), func(a *Action) contract.Action {
			return contract.Action{
				Name: a.GetName(), Summary: a.GetSummary(), Args: list(a.GetArgs(), decodeArg), Capabilities: capabilities(a.GetCapabilities()),
				ReadOnly: a.GetReadOnly(), Whole: a.GetWhole(),
			}
		}),
		Capabilities: capabilities(w.GetRunCapabilities()),
	}
	if a := w.GetAgent(); a != nil {
		d.Agent = &contract.Agent{
			User: a.GetUser(), LinuxCapabilities: a.GetLinuxCapabilities(), Groups: a.GetGroups(), WritablePaths: a.GetWritablePaths(),
			Capabilities: capabilities(a.GetCapabilities()),
		}
	}
	return d
}

func encodeAction(a contract.Action) *Action {
	args := list(a.Args, func(x contract.Arg) *ActionArg {
		return &ActionArg{Name: x.Name, Doc: x.Doc, Flag: x.Flag, Required: x.Required, Default: x.Default}
	})
	return &Action{Name: a.Name, Summary: a.Summary, Args: args, Capabilities: encodeCapabilities(a.Capabilities), ReadOnly: a.ReadOnly, Whole: a.Whole}
}

func decodeArg(w *ActionArg) contract.Arg {
	return contract.Arg{Name: w.GetName(), Doc: w.GetDoc(), Flag: w.GetFlag(), Required: w.GetRequired(), Default: w.GetDefault()}
}

func encodeBlock(b contract.BlockSchema) *Block {
	return &Block{
		Attributes: list(b.Attributes, func(a contract.Attribute) *Attribute {
			return &Attribute{
				Name: a.Name, Type: a.Type, Required: a.Required, Default: a.Default, Doc: a.Doc, Sensitive: a.Sensitive,
			}
		}),
		Blocks: list(b.Blocks, func(n contract.NestedBlock) *NestedBlock {
			return &NestedBlock{
				Type: n.Type, Labels: n.Labels, Required: n.Required, Many: n.Many, Doc: n.Doc, Block: encodeBlock(n.Block),
			}
		}),
	}
}

func decodeBlock(w *Block) contract.BlockSchema {
	return contract.BlockSchema{
		Attributes: list(w.GetAttributes(), func(a *Attribute) contract.Attribute {
			return contract.Attribute{
				Name: a.GetName(), Type: a.GetType(), Required: a.GetRequired(), Default: a.GetDefault(), Doc: a.GetDoc(),
				Sensitive: a.GetSensitive(),
			}
		}),
		Blocks: list(w.GetBlocks(), func(n *NestedBlock) contract.NestedBlock {
			return contract.NestedBlock{
				Type: n.GetType(), Labels: n.GetLabels(), Required: n.GetRequired(), Many: n.GetMany(), Doc: n.GetDoc(),
				Block: decodeBlock(n.GetBlock()),
			}
		}),
	}
}

// EncodeMessage fails if JSON cannot encode a value.
func EncodeMessage(m contract.Message) (*Message, error) {
	switch {
	case m.Log != nil:
		return &Message{Kind: &Message_Log{Log: &Log{Line: Text(m.Log.Line), Error: m.Log.Error}}}, nil
	case m.Progress != nil:
		p := &Progress{Done: m.Progress.Done, Total: m.Progress.Total, Text: Text(m.Progress.Text)}
		return &Message{Kind: &Message_Progress{Progress: p}}, nil
	case m.Finding != nil:
		f := m.Finding
		return &Message{Kind: &Message_Finding{Finding: &Finding{
			Path: Text(f.Path), Line: int32(f.Line), Column: int32(f.Column),
			Severity: Text(f.Severity), Rule: Text(f.Rule), Message: Text(f.Message),
		}}}, nil
	case m.Metric != nil:
		w := &Metric{Name: Text(m.Metric.Name), Value: m.Metric.Value, Unit: Text(m.Metric.Unit), Detail: Text(m.Metric.Detail)}
		if m.Metric.Limit != nil {
			w.Limit, w.HasLimit = *m.Metric.Limit, true
		}
		return &Message{Kind: &Message_Metric{Metric: w}}, nil
	case m.Output != nil:
		b, err := json.Marshal(m.Output.Value)
		if err != nil {
			return nil, fmt.Errorf("encode output %q: %w", m.Output.Name, err)
		}
		return &Message{Kind: &Message_Output{Output: &OutputValue{Name: Text(m.Output.Name), Json: b}}}, nil
	case m.Table != nil:
		w := &Table{Columns: list(m.Table.Columns, Text), Rows: list(m.Table.Rows, func(r []string) *Row { return &Row{Cells: list(r, Text)} })}
		return &Message{Kind: &Message_Table{Table: w}}, nil
	case m.Event != nil:
		e, err := EncodeEvent(*m.Event)
		return &Message{Kind: &Message_Event{Event: e}}, err
	}
	return &Message{}, nil
}

// DecodeMessage returns a zero Message for an unknown kind.
func DecodeMessage(w *Message) (contract.Message, error) {
	switch k := w.GetKind().(type) {
	case *Message_Log:
		return contract.Message{Log: &contract.Log{Line: k.Log.GetLine(), Error: k.Log.GetError()}}, nil
	case *Message_Progress:
		p := k.Progress
		return contract.Message{Progress: &contract.Progress{Done: p.GetDone(), Total: p.GetTotal(), Text: p.GetText()}}, nil
	case *Message_Finding:
		f := k.Finding
		return contract.Message{Finding: &contract.Finding{
			Path: f.GetPath(), Line: int(f.GetLine()), Column: int(f.GetColumn()), Severity: f.GetSeverity(), Rule: f.GetRule(), Message: f.GetMessage(),
		}}, nil
	case *Message_Metric:
		m := &contract.Metric{Name: k.Metric.GetName(), Value: k.Metric.GetValue(), Unit: k.Metric.GetUnit(), Detail: k.Metric.GetDetail()}
		if k.Metric.GetHasLimit() {
			m.Limit = new(k.Metric.GetLimit())
		}
		return contract.Message{Metric: m}, nil
	case *Message_Output:
		o := &contract.Output{Name: k.Output.GetName()}
		if err := json.Unmarshal(k.Output.GetJson(), &o.Value); err != nil {
			return contract.Message{}, fmt.Errorf("decode output %q: %w", o.Name, err)
		}
		return contract.Message{Output: o}, nil
	case *Message_Table:
		t := &contract.Table{Columns: k.Table.GetColumns(), Rows: list(k.Table.GetRows(), (*Row).GetCells)}
		return contract.Message{Table: t}, nil
	case *Message_Event:
		e, err := DecodeEvent(k.Event)
		return contract.Message{Event: &e}, err
	}
	return contract.Message{}, nil
}

// EncodeEvent fails if JSON cannot encode the event's data.
func EncodeEvent(e contract.Event) (*Event, error) {
	data, err := encodeMap(fmt.Sprintf("data of event %q", e.Kind), e.Data)
	return &Event{
		Id: e.ID, TimeUnixNano: encodeTime(e.Time), Environment: e.Environment, Host: string(e.Host), Role: e.Role,
		Run: string(e.Run), Source: e.Source, Kind: e.Kind, Severity: string(e.Severity), Summary: Text(e.Summary),
		Key: Text(e.Key), DataJson: data,
	}, err
}

// DecodeEvent is the reverse of EncodeEvent.
func DecodeEvent(w *Event) (contract.Event, error) {
	e := contract.Event{
		ID: w.GetId(), Time: decodeTime(w.GetTimeUnixNano()), Environment: w.GetEnvironment(),
		Host: contract.HostName(w.GetHost()), Role: w.GetRole(), Run: contract.RunID(w.GetRun()), Source: w.GetSource(),
		Kind: w.GetKind(), Severity: contract.Severity(w.GetSeverity()), Summary: w.GetSummary(), Key: w.GetKey(),
	}
	return e, decodeJSON(fmt.Sprintf("data of event %q", e.Kind), w.GetDataJson(), &e.Data)
}

func encodeFilter(f contract.EventFilter) *SubscribeRequest {
	return &SubscribeRequest{Kinds: f.Kinds, Severities: texts[string](f.Severities), SinceUnixNano: encodeTime(f.Since)}
}

func decodeFilter(w *SubscribeRequest) contract.EventFilter {
	return contract.EventFilter{
		Kinds: w.GetKinds(), Severities: texts[contract.Severity](w.GetSeverities()), Since: decodeTime(w.GetSinceUnixNano()),
	}
}

func encodeHost(h contract.Host) *Host {
	return &Host{
		Name: string(h.Name), Role: h.Role, Address: h.Address, PrivateAddress: h.PrivateAddress, User: h.User, Port: int32(h.Port),
		Roles: h.Roles,
	}
}

func decodeHost(w *Host) contract.Host {
	return contract.Host{
		Name: contract.HostName(w.GetName()), Role: w.GetRole(), Address: w.GetAddress(), PrivateAddress: w.GetPrivateAddress(),
		User: w.GetUser(), Port: int(w.GetPort()), Roles: w.GetRoles(),
	}
}

func encodePlaybook(p contract.PlaybookRun) (*PlaybookRequest, error) {
	vars, err := encodeMap("variables of playbook "+p.Name, p.Vars)
	return &PlaybookRequest{Name: p.Name, Hosts: texts[string](p.Hosts), VarsJson: vars}, err
}

func decodePlaybook(w *PlaybookRequest) (contract.PlaybookRun, error) {
	p := contract.PlaybookRun{Name: w.GetName(), Hosts: texts[contract.HostName](w.GetHosts())}
	return p, decodeJSON("variables of playbook "+p.Name, w.GetVarsJson(), &p.Vars)
}

func encodeTask(t contract.TaskResult) (*TaskResult, error) {
	facts, err := encodeMap(fmt.Sprintf("facts of task %q", t.Task), t.Facts)
	return &TaskResult{
		Host: string(t.Host), Task: Text(t.Task), Status: t.Status, Message: Text(t.Message), Path: t.Path, FactsJson: facts,
		ElapsedNano: int64(t.Elapsed),
	}, err
}

func decodeTask(w *TaskResult) (contract.TaskResult, error) {
	t := contract.TaskResult{
		Host: contract.HostName(w.GetHost()), Task: w.GetTask(), Status: w.GetStatus(), Message: w.GetMessage(), Path: w.GetPath(),
		Elapsed: time.Duration(w.GetElapsedNano()),
	}
	return t, decodeJSON(fmt.Sprintf("facts of task %q", t.Task), w.GetFactsJson(), &t.Facts)
}

func encodeArtifact(a contract.Artifact) *Artifact {
	return &Artifact{Digest: string(a.Digest), Path: a.Path, Size: a.Size}
}

func decodeArtifact(w *Artifact) contract.Artifact {
	return contract.Artifact{Digest: contract.Digest(w.GetDigest()), Path: w.GetPath(), Size: w.GetSize()}
}

func encodeEntry(e contract.Entry) *StateEntry {
	return &StateEntry{Key: e.Key, Value: e.Value, Version: e.Version}
}

func decodeEntry(w *StateEntry) contract.Entry {
	return contract.Entry{Key: w.GetKey(), Value: w.GetValue(), Version: w.GetVersion()}
}

func encodeFlag(name string, v any) (*Flag, error) {
	b, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("encode flag %s: %w", name, err)
	}
	return &Flag{Name: name, Json: b}, nil
}

func decodeFlag(w *Flag) (v any, err error) {
	err = decodeJSON("flag "+w.GetName(), w.GetJson(), &v)
	return v, err
}
