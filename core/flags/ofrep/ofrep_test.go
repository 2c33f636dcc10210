package ofrep_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/seed-b96de936/troop/core/bus/redistest"
	"github.com/seed-b96de936/troop/core/flags"
	"github.com/seed-b96de936/troop/core/flags/ofrep"
)

// host is a host with the server of its flags, and the environment's Redis.
type host struct {
	testing.TB
	redis *redistest.Server
	flags *flags.Flags
	url   string
	dir   string
	stop  func() // the server
}

func start(t testing.TB) *host {
	t.Helper()
	h := &host{TB: t, redis: redistest.Start(t), dir: t.TempDir()}
	h.flags = flags.Open(redistest.Open(t, h.redis))
	h.serve()
	return h
}

// serve starts the server, as the agent does.
func (h *host) serve() {
	h.Helper()
	l, err := new(net.ListenConfig).Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		h.Fatal(err)
	}
	address := l.Addr().String()
	_ = l.Close()
	h.url = "http://" + address + "/ofrep/v1/"
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() {
		done <- ofrep.Serve(ctx, address, h.dir, h.flags, slog.New(slog.NewTextHandler(h.Output(), nil)), nil)
	}()
	h.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			h.Errorf("the server ended with %v", err)
		}
	})
	h.Cleanup(h.stop)
	h.eventually("the server answers", func() bool {
		conn, err := new(net.Dialer).DialContext(context.Background(), "tcp", address)
		if err == nil {
			_ = conn.Close()
		}
		return err == nil
	})
}

func (h *host) eventually(what string, reached func() bool) {
	h.Helper()
	for end := time.Now().Add(time.Minute); !reached(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			h.Fatalf("not within a minute: %s", what)
		}
	}
}

func (h *host) set(name string, v any) flags.Flag {
	h.Helper()
	f, err := h.flags.Set(context.Background(), name, v, "ops")
	if err != nil {
		h.Fatal(err)
	}
	return f
}

// ask sends a request and returns status, header and body.
func (h *host) ask(method, path, body string, header ...string) (int, http.Header, string) {
	h.Helper()
	r, err := http.NewRequestWithContext(context.Background(), method, h.url+path, strings.NewReader(body))
	if err != nil {
		h.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w, err := http.DefaultClient.Do(r)
	if err != nil {
		h.Fatal(err)
	}
	defer w.Body.Close()
	data, err := io.ReadAll(w.Body)
	if err != nil {
		h.Fatal(err)
	}
	return w.StatusCode, w.Header, string(data)
}

// value is what a flag is for a context.
func (h *host) value(name, body string) any {
	h.Helper()
	_, _, text := h.ask(http.MethodPost, "evaluate/flags/"+name, body)
	var a struct{ Value any }
	if err := json.Unmarshal([]byte(text), &a); err != nil {
		h.Fatalf("%s: %v", text, err)
	}
	return a.Value
}

// update puts a whole flag.
func (h *host) update(f flags.Flag) {
	h.Helper()
	if _, err := h.flags.Update(context.Background(), f.Name, flags.Change{By: "ops"}, func(x *flags.Flag) error {
		*x = f
		return nil
	}); err != nil {
		h.Fatal(err)
	}
}

func TestSingle(t *testing.T) {
	h := start(t)
	h.set("text", "blue")
	h.set("number", 0)
	h.set("object", map[string]any{"a": 1.0})
	h.update(flags.Flag{
		Name: "pro", State: flags.Enabled, Variants: map[string]any{"on": true, "off": false}, Default: "off",
		Targeting: json.RawMessage(`{"if": [{"==": [{"var": "plan"}, "pro"]}, "on"]}`), Metadata: map[string]any{"owner": "shop"},
	})
	h.update(flags.Flag{Name: "gone", State: flags.Disabled, Variants: map[string]any{"on": true}, Default: "on"})
	h.update(flags.Flag{Name: "stray", State: flags.Enabled, Variants: map[string]any{"on": true}, Default: "on", Targeting: json.RawMessage(`"off"`)})
	h.update(flags.Flag{Name: "open", State: flags.Enabled, Variants: map[string]any{"on": true}})
	h.set("last", true)
	h.eventually("the flags are here", func() bool { return h.value("last", "") == true })
	for _, c := range []struct {
		key, body string
		status    int
		want      string
	}{
		{"text", ``, 200, `{"key":"text","value":"blue","reason":"STATIC","variant":"on"}`},
		{"number", `{}`, 200, `{"key":"number","value":0,"reason":"STATIC","variant":"on"}`},
		{"object", `{"context":{}}`, 200, `{"key":"object","value":{"a":1},"reason":"STATIC","variant":"on"}`},
		{"pro", `{"context":{"targetingKey":"u","plan":"pro"}}`, 200, `{"key":"pro","value":true,"reason":"TARGETING_MATCH","variant":"on","metadata":{"owner":"shop"}}`},
		{"pro", `{"context":{"plan":"free"}}`, 200, `{"key":"pro","value":false,"reason":"DEFAULT","variant":"off","metadata":{"owner":"shop"}}`},
		{"gone", ``, 404, `{"key":"gone","errorCode":"FLAG_NOT_FOUND","errorDetails":"flag \"gone\" has no value: DISABLED"}`},
		{"open", ``, 404, `{"key":"open","errorCode":"FLAG_NOT_FOUND","errorDetails":"flag \"open\" has no value: DEFAULT"}`},
		{"stray", ``, 400, `{"key":"stray","errorCode":"PARSE_ERROR","errorDetails":"flag stray: the rule chose \"off\", which is not one of its variants"}`},
		{"none", ``, 404, `{"key":"none","errorCode":"FLAG_NOT_FOUND","errorDetails":"flag \"none\" is not set"}`},
		{"text", `{"context":[]}`, 400, `"errorCode":"PARSE_ERROR","errorDetails":"want {\"context\": {…}}: `},
		{"text", `{`, 400, `"errorCode":"PARSE_ERROR"`},
		{"text", `{"context":{"a":"` + strings.Repeat("x", 70_000) + `"}}`, 413, `the request is longer than 65536 bytes`},
	} {
		status, header, got := h.ask(http.MethodPost, "evaluate/flags/"+c.key, c.body)
		if status != c.status || !strings.Contains(got, c.want) || header.Get("Content-Type") != "application/json" {
			t.Errorf("%s for %.60s: %d %s; want %d %s", c.key, c.body, status, got, c.status, c.want)
		}
	}
	if status, _, _ := h.ask(http.MethodGet, "evaluate/flags/text", ""); status != http.StatusMethodNotAllowed {
		t.Errorf("GET: %d", status)
	}
}

func TestBulkAndConfiguration(t *testing.T) {
	h := start(t)
	h.update(flags.Flag{
		Name: "half", State: flags.Enabled, Variants: map[string]any{"on": true, "off": false}, Default: "off",
		Targeting: json.RawMessage(`{"fractional": [{"var": "targetingKey"}, ["on", 50], ["off", 50]]}`),
	})
	h.update(flags.Flag{Name: "gone", State: flags.Disabled, Variants: map[string]any{"on": true}, Default: "on"})
	h.update(flags.Flag{Name: "open", State: flags.Enabled, Variants: map[string]any{"on": true}})
	h.set("text", "blue")
	h.eventually("the flags are here", func() bool { return h.value("text", "") == "blue" })
	all := func(id, tag string) (int, string, string) {
		status, header, body := h.ask(http.MethodPost, "evaluate/flags", `{"context":{"targetingKey":"`+id+`"}}`, "If-None-Match", tag)
		return status, header.Get("ETag"), body
	}
	status, tag, body := all("u1", "")
	if want := `{"flags":[{"key":"half","value":true,"reason":"TARGETING_MATCH","variant":"on"},{"key":"text","value":"blue","reason":"STATIC","variant":"on"}],` +
		`"eventStreams":[{"type":"sse","endpoint":{"requestUri":"/ofrep/v1/events"}}]}`; status != 200 || body != want || len(tag) < 4 || tag[0] != '"' {
		t.Fatalf("%d %s %s; want %s", status, tag, body, want)
	}
	for _, known := range []string{tag, "W/" + tag, `"x", ` + tag, "*"} {
		if status, again, body := all("u1", known); status != http.StatusNotModified || again != tag || body != "" {
			t.Errorf("If-None-Match %s: %d %s %s", known, status, again, body)
		}
	}
	others := map[string]int{}
	for i := range 40 { // about half of them get the other variant
		status, other, _ := all(fmt.Sprint("client-", i), tag)
		if (status == http.StatusNotModified) != (other == tag) {
			t.Errorf("client %d: %d %s", i, status, other)
		}
		others[other]++
	}
	if len(others) != 2 {
		t.Errorf("tags of two variants: %v", others)
	}
	h.set("text", "red")
	h.eventually("the tag is another", func() bool { status, _, body := all("u1", tag); return status == 200 && strings.Contains(body, "red") })

	status, header, body := h.ask(http.MethodGet, "configuration", "")
	if status != 200 || !strings.Contains(body, `"name":"troop"`) || !strings.Contains(body, `"supportedTypes":["int","float","string","boolean","object"]`) {
		t.Errorf("configuration: %d %s", status, body)
	}
	if status, _, _ := h.ask(http.MethodGet, "configuration", "", "If-None-Match", header.Get("ETag")); status != http.StatusNotModified {
		t.Errorf("configuration again: %d", status)
	}
}

// stream opens an event stream; events delivers the data of each event.
func (h *host) stream(known string) (events <-chan string, last func() string) {
	h.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	h.Cleanup(cancel)
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, h.url+"events", nil)
	if err != nil {
		h.Fatal(err)
	}
	r.Header.Set("Last-Event-ID", known)
	w, err := http.DefaultClient.Do(r) //nolint:bodyclose // closed by the reader below
	if err != nil {
		h.Fatal(err)
	}
	if w.StatusCode != 200 || w.Header.Get("Content-Type") != "text/event-stream" {
		h.Fatalf("stream: %d %v", w.StatusCode, w.Header)
	}
	var mu sync.Mutex
	id := ""
	out := make(chan string, 100)
	go func() {
		defer w.Body.Close()
		defer close(out)
		for lines := bufio.NewScanner(w.Body); lines.Scan(); {
			if v, ok := strings.CutPrefix(lines.Text(), "id: "); ok {
				mu.Lock()
				id = v
				mu.Unlock()
			}
			if v, ok := strings.CutPrefix(lines.Text(), "data: "); ok {
				out <- v
			}
		}
	}()
	return out, func() string { mu.Lock(); defer mu.Unlock(); return id }
}

func (h *host) next(events <-chan string) string {
	h.Helper()
	select {
	case e, ok := <-events:
		if !ok {
			h.Fatal("the stream ended")
		}
		return e
	case <-time.After(time.Minute):
		h.Fatal("no event within a minute")
	}
	return ""
}

func TestEventStream(t *testing.T) {
	h := start(t)
	h.set("x", 1)
	h.eventually("the flag is here", func() bool { return h.value("x", "") == 1.0 })
	events, id := h.stream("")
	var first, second struct {
		Type, ETag   string
		LastModified int64
	}
	if err := json.Unmarshal([]byte(h.next(events)), &first); err != nil || first.Type != "refetchEvaluation" || first.LastModified == 0 {
		t.Fatalf("%+v, %v", first, err)
	}
	h.set("x", 2)
	if err := json.Unmarshal([]byte(h.next(events)), &second); err != nil || second.ETag == first.ETag || h.value("x", "") != 2.0 {
		t.Errorf("after a change: %+v, %v", second, err)
	}
	known := id()
	again, _ := h.stream(known) // which hears nothing of what it knows
	h.set("x", 3)
	if got := h.next(again); strings.Contains(got, known) || h.value("x", "") != 3.0 {
		t.Errorf("a client that comes back with %s hears %s first", known, got)
	}
	h.stop()
	for range again { // the stream ends with the server
	}
}

func TestStreamsAreBounded(t *testing.T) {
	h := start(t)
	for range 128 {
		h.stream("")
	}
	if status, header, body := h.ask(http.MethodGet, "events", ""); status != http.StatusServiceUnavailable || header.Get("Retry-After") == "" {
		t.Errorf("one stream too many: %d %s", status, body)
	}
	h.set("x", true)
	h.eventually("flags are served all the same", func() bool { return h.value("x", "") == true })
}

// A client that sends its request slowly, or none, holds up nobody and is cut off.
func TestSlowClient(t *testing.T) {
	h := start(t)
	conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", strings.Split(h.url, "/")[2])
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := fmt.Fprint(conn, "POST /ofrep/v1/evaluate/flags HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{"); err != nil {
		t.Fatal(err)
	}
	_ = conn.SetReadDeadline(time.Now().Add(time.Minute))
	if data, err := io.ReadAll(conn); errors.Is(err, os.ErrDeadlineExceeded) || bytes.Contains(data, []byte(" 200 ")) {
		t.Errorf("%v: %s", err, data)
	}
}

// Applications read their flags while Redis is away, and while the agent has restarted since.
func TestServesWithoutRedis(t *testing.T) {
	h := start(t)
	h.set("x", "kept")
	h.eventually("the flag is here", func() bool { return h.value("x", "") == "kept" })
	h.redis.Stop()
	if got := h.value("x", ""); got != "kept" {
		t.Errorf("without Redis: %v", got)
	}
	h.stop()
	h.serve()
	if got := h.value("x", ""); got != "kept" {
		t.Errorf("without Redis, after a restart: %v", got)
	}
	h.redis.Restart()
	h.eventually("Redis takes a change", func() bool {
		_, err := h.flags.Set(t.Context(), "x", "new", "ops")
		return err == nil
	})
	h.eventually("the change is here", func() bool { return h.value("x", "") == "new" })
}
