package client

import (
	"bufio"
	"bytes"
	"io"
	"reflect"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/seed-b96de936/troop/plugins/sdk/contract"
	"github.com/seed-b96de936/troop/plugins/sdk/internal/wire"
)

// FuzzMessage looks for bytes of a plugin that break the core. What can be received to the core can be written down
// and read again without loss.
func FuzzMessage(f *testing.F) {
	for _, m := range []*wire.Message{
		{Kind: &wire.Message_Log{Log: &wire.Log{Line: "ü", Error: true}}},
		{Kind: &wire.Message_Progress{Progress: &wire.Progress{Done: 1, Total: 2, Text: "half"}}},
		{Kind: &wire.Message_Finding{Finding: &wire.Finding{Path: "a.js", Line: 3, Column: -4, Severity: "error", Rule: "r", Message: "m"}}},
		{Kind: &wire.Message_Metric{Metric: &wire.Metric{Name: "a", Value: 1, Unit: "%", Limit: 2, HasLimit: true}}},
		{Kind: &wire.Message_Output{Output: &wire.OutputValue{Name: "a", Json: []byte(`{"a":[1,null,"x"]}`)}}},
		{Kind: &wire.Message_Output{Output: &wire.OutputValue{Name: "a", Json: []byte("{")}}},
		{Kind: &wire.Message_Table{Table: &wire.Table{Columns: []string{"a"}, Rows: []*wire.Row{{Cells: []string{"1", "2"}}, nil}}}},
		{Kind: &wire.Message_Event{Event: &wire.Event{Id: "1", TimeUnixNano: -1, Kind: "a.b", Severity: "alert", DataJson: []byte(`{"a":1}`)}}},
		{Kind: &wire.Message_Result{Result: &wire.Result{Status: wire.Result_FAILED, Reason: "no", Diagnostics: []*wire.Diagnostic{{Summary: "s", Range: &wire.Range{StartLine: -1}}, nil}}}},
		{Kind: &wire.Message_Result{Result: &wire.Result{Status: 77}}},
		{},
	} {
		b, err := proto.Marshal(m)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Add([]byte{0xff, 0x07}) // a kind that a later protocol has
	f.Fuzz(func(t *testing.T, b []byte) {
		var m wire.Message
		if proto.Unmarshal(b, &m) != nil {
			return
		}
		if r := m.GetResult(); r != nil {
			_ = new(Plugin).verdict(r)
			return
		}
		received, err := wire.DecodeMessage(&m)
		if err != nil {
			return
		}
		if m.GetKind() != nil && received == (contract.Message{}) {
			t.Error("a kind of message is not decoded")
		}
		if received.Event == nil {
			return
		}
		w, err := wire.EncodeEvent(*received.Event)
		if err != nil {
			t.Fatal(err)
		}
		if again, err := wire.DecodeEvent(w); err != nil || !reflect.DeepEqual(again, *received.Event) {
			t.Errorf("event %+v came back as %+v, %v", received.Event, again, err)
		}
	})
}

// FuzzDescription looks for descriptions and diagnostics that break the core.
func FuzzDescription(f *testing.F) {
	b, err := proto.Marshal(&wire.Description{
		Name: "a", Outputs: []*wire.Output{nil, {Name: "x"}}, Actions: []*wire.Action{{Args: []*wire.ActionArg{nil}}}, Agent: &wire.Agent{User: "root"},
		Config: &wire.Block{Attributes: []*wire.Attribute{nil}, Blocks: []*wire.NestedBlock{nil, {Block: &wire.Block{}}}},
	})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		var d wire.Description
		if proto.Unmarshal(b, &d) == nil {
			if got := wire.DecodeDescription(&d); len(got.Actions) != len(d.GetActions()) || len(got.Config.Blocks) != len(d.GetConfig().GetBlocks()) {
				t.Errorf("description %+v of %v", got, &d)
			}
		}
		var r wire.CheckReply
		if proto.Unmarshal(b, &r) == nil && len(wire.DecodeDiagnostics(r.GetDiagnostics())) != len(r.GetDiagnostics()) {
			t.Error("a diagnostic is lost")
		}
	})
}

// FuzzHandshake looks for output of a program that breaks the start: go-plugin gets one line of bounded length
// whatever it is, the log the rest.
func FuzzHandshake(f *testing.F) {
	for _, line := range []string{
		"1|1|unix|/tmp/x|grpc|", "1|2|unix|/tmp/x|grpc|\nmore\n", "hello", "", "1|", "1|x|||", "\n\n", strings.Repeat("x", 20<<10), "\xff\xfe|1|1|1|1",
	} {
		f.Add([]byte(line))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var rest bytes.Buffer
		r := &firstLine{r: bufio.NewReader(bytes.NewReader(b)), rest: &rest}
		out, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		if n := bytes.Count(out, []byte("\n")); n > 1 || len(out) > 16<<10+2 {
			t.Errorf("%d lines, %d bytes", n, len(out))
		}
		line := r.line()
		if handshake(line) {
			_ = protocol(line)
		} else if len(line) > 90 {
			t.Errorf("%d bytes are shown", len(line))
		}
		if i := bytes.IndexByte(b, '\n'); i >= 0 && i < 16<<10 && !bytes.Equal(rest.Bytes(), b[i+1:]) {
			t.Errorf("the rest is %q, want %q", &rest, b[i+1:])
		}
	})
}
