package trace

import (
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	"google.golang.org/protobuf/proto"

	"github.com/seed-b96de936/troop/core"
)

var run = core.Run{
	ID: "01R", Pipeline: "shop", Commit: "abc", Branch: "main", Environment: "lab", Status: core.Failed, Reason: "test.unit: 2 of 9 failed",
	Started: time.Unix(100, 0), Ended: time.Unix(160, 0),
	Stages: []core.StageResult{
		{ID: "build.app", Status: core.Passed, Started: time.Unix(101, 0), Ended: time.Unix(121, 0), Attempts: 1},
		{ID: "test.unit", Status: core.Failed, Reason: "2 of 9 failed", Started: time.Unix(121, 0), Ended: time.Unix(160, 0), Attempts: 2},
		{ID: "deploy.shop", Status: core.Pending},
	},
}

// TestSend has a collector receive a run.
func TestSend(t *testing.T) {
	var got collector.ExportTraceServiceRequest
	asked := 0
	s := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err == nil {
			err = proto.Unmarshal(body, &got)
		}
		if err != nil || r.URL.Path != "/v1/traces" || r.Header.Get("Authorization") != "Bearer x" {
			t.Errorf("%s %v: %v", r.URL, r.Header, err)
		}
		asked++
	}))
	defer s.Close()
	if err := Send(t.Context(), run); err != nil || asked != 0 {
		t.Errorf("without the variables: asked %d times, %v", asked, err)
	}
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", s.URL)
	t.Setenv("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Bearer x")
	t.Setenv("TRACEPARENT", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
	if err := Send(t.Context(), run); err != nil || asked != 1 {
		t.Fatalf("asked %d times, %v", asked, err)
	}
	var seen []string
	parents := map[string]string{}
	for _, x := range got.ResourceSpans[0].ScopeSpans[0].Spans {
		took := time.Duration(x.EndTimeUnixNano - x.StartTimeUnixNano)
		seen = append(seen, strings.Join([]string{x.Name, took.String(), x.Status.Code.String(), x.Status.Message}, " "))
		parents[x.Name] = string(x.ParentSpanId)
		parents["id of "+x.Name] = string(x.SpanId)
		if string(x.TraceId) != "\x0a\xf7\x65\x19\x16\xcd\x43\xdd\x84\x48\xeb\x21\x1c\x80\x31\x9c" {
			t.Errorf("%s is in the trace %x", x.Name, x.TraceId)
		}
	}
	slices.Sort(seen)
	want := []string{
		"build.app 20s STATUS_CODE_UNSET ", "shop 1m0s STATUS_CODE_ERROR test.unit: 2 of 9 failed", "test.unit 39s STATUS_CODE_ERROR 2 of 9 failed",
	}
	if !slices.Equal(seen, want) {
		t.Errorf("got  %q\nwant %q", seen, want)
	}
	if parents["shop"] != "\xb7\xad\x6b\x71\x69\x20\x33\x31" || parents["build.app"] != parents["id of shop"] {
		t.Errorf("whose part is what: %q", parents)
	}
	// A collector that is away is said once, and keeps nobody for long.
	s.Close()
	t.Setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "500")
	if err := Send(t.Context(), run); err == nil || !strings.Contains(err.Error(), "trace the run") {
		t.Errorf("a collector that is away: %v", err)
	}
}
