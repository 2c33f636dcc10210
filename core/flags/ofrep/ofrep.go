// Package ofrep serves the flags of a host to its applications by the OpenFeature Remote Evaluation Protocol, so that any
// OpenFeature SDK reads them without knowing Redis. troop's agent runs it on 127.0.0.1 of each host of the application,
// from a copy of the flags that outlives Redis and the agent. cmd/troop-agent imports it.
package ofrep

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"github.com/seed-b96de936/troop/core/flags"
)

// Agent is the name of the built-in agent that serves flags, and Address where it does so on each host.
const (
	Agent   = "flags"
	Address = "127.0.0.1:8016"
)

// The bounds of what a client may ask for, and of how long it may take.
const (
	maxBody    = 64 << 10 // bytes of a request
	maxHeader  = 16 << 10
	maxStreams = 128
	readWithin = 5 * time.Second
	sendWithin = 5 * time.Second
	idle       = 2 * time.Minute
	beat       = 15 * time.Second // between signs of life in a stream
)

const (
	streamPath = "/ofrep/v1/events"
	codeParse  = flags.CodeParse
)

// Source has the flags as they are now.
type Source interface{ Snapshot() *flags.Snapshot }

// Server answers from a source.
type Server struct {
	source  Source
	mux     *http.ServeMux
	streams atomic.Int64
}

// New makes a server. It is an http.Handler; Serve listens with it.
func New(source Source) *Server {
	s := &Server{source: source, mux: http.NewServeMux()}
	s.mux.HandleFunc("POST /ofrep/v1/evaluate/flags/{key}", s.one)
	s.mux.HandleFunc("POST /ofrep/v1/evaluate/flags", s.all)
	s.mux.HandleFunc("GET /ofrep/v1/configuration", s.configuration)
	s.mux.HandleFunc("GET "+streamPath, s.stream)
	return s
}

func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.mux.ServeHTTP(w, r) }

// answer is one evaluation, as the protocol has it.
type answer struct {
	Key      string         `json:"key,omitempty"`
	Value    any            `json:"value,omitempty"`
	Reason   string         `json:"reason,omitempty"`
	Variant  string         `json:"variant,omitempty"`
	Metadata map[string]any `json:"metadata,omitempty"`
	Code     string         `json:"errorCode,omitempty"`
	Detail   string         `json:"errorDetails,omitempty"`
}

// evaluate answers for one flag. A flag without a value for this context, as one that is disabled, is not found, as flagd
// says it: the default in the client's code holds. The protocol also knows an answer without a value, but some providers,
// OpenFeature's own for Node.js among them, take that for a broken server.
func evaluate(s *flags.Snapshot, key string, context map[string]any) answer {
	r := s.Evaluate(key, context)
	if r.Code == "" && r.Value == nil {
		r = flags.Result{Code: flags.CodeNotFound, Detail: fmt.Sprintf("flag %q has no value: %s", key, r.Reason), Metadata: r.Metadata}
	}
	a := answer{Key: key, Value: r.Value, Reason: r.Reason, Variant: r.Variant, Metadata: r.Metadata, Code: r.Code, Detail: r.Detail}
	if r.Code != "" {
		a.Reason = ""
	}
	return a
}

func (s *Server) one(w http.ResponseWriter, r *http.Request) {
	key := r.PathValue("key")
	context, status, err := readContext(w, r)
	if err != nil {
		send(w, status, answer{Key: key, Code: codeParse, Detail: err.Error()})
		return
	}
	a := evaluate(s.source.Snapshot(), key, context)
	switch a.Code {
	case "":
	case flags.CodeNotFound:
		status = http.StatusNotFound
	default:
		status = http.StatusBadRequest
	}
	send(w, status, a)
}

// bulk is the answer to a question for all flags.
type bulk struct {
	Flags        []answer      `json:"flags"`
	EventStreams []eventStream `json:"eventStreams"`
}

// eventStream says where changes are told, as a path: the client knows the origin.
type eventStream struct {
	Type     string `json:"type"`
	Endpoint struct {
		RequestURI string `json:"requestUri"`
	} `json:"endpoint"`
}

func (s *Server) all(w http.ResponseWriter, r *http.Request) {
	context, status, err := readContext(w, r)
	if err != nil {
		send(w, status, answer{Code: codeParse, Detail: err.Error()})
		return
	}
	snapshot := s.source.Snapshot()
	stream := eventStream{Type: "sse"}
	stream.Endpoint.RequestURI = streamPath
	out := bulk{Flags: []answer{}, EventStreams: []eventStream{stream}}
	for _, name := range snapshot.Names() {
		if a := evaluate(snapshot, name, context); a.Code != flags.CodeNotFound {
			out.Flags = append(out.Flags, a)
		}
	}
	sendTagged(w, r, out)
}

func (s *Server) configuration(w http.ResponseWriter, r *http.Request) {
	sendTagged(w, r, map[string]any{
		"name": "troop",
		"capabilities": map[string]any{
			"cacheInvalidation": map[string]any{"polling": map[string]any{"enabled": true, "minPollingIntervalMs": 1000}},
			"flagEvaluation":    map[string]any{"supportedTypes": []string{"int", "float", "string", "boolean", "object"}},
			"caching":           map[string]any{"enabled": false}, // an answer holds for its context and its moment
		},
	})
}

// stream tells a client when to ask again: at once, unless it names the state it knows, and after every change. Changes
// that follow each other closely are told as one.
func (s *Server) stream(w http.ResponseWriter, r *http.Request) {
	if s.streams.Add(1) > maxStreams {
		s.streams.Add(-1)
		w.Header().Set("Retry-After", "5")
		http.Error(w, fmt.Sprintf("at most %d event streams", maxStreams), http.StatusServiceUnavailable)
		return
	}
	defer s.streams.Add(-1)
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("Cache-Control", "no-store")
	out := http.NewResponseController(w)
	_ = out.SetReadDeadline(time.Time{})
	write := func(format string, args ...any) bool {
		_ = out.SetWriteDeadline(time.Now().Add(sendWithin))
		_, err := fmt.Fprintf(w, format, args...)
		return err == nil && out.Flush() == nil
	}
	alive := time.NewTicker(beat)
	defer alive.Stop()
	known := r.Header.Get("Last-Event-ID")
	if !write(": troop\n\n") {
		return
	}
	for {
		now := s.source.Snapshot()
		if now.Tag != known {
			known = now.Tag
			if !write("id: %s\nevent: message\ndata: {\"type\":\"refetchEvaluation\",\"etag\":\"\\\"%s\\\"\",\"lastModified\":%d}\n\n", known, known, now.Changed.Unix()) {
				return
			}
		}
		select {
		case <-r.Context().Done():
			return
		case <-now.Expired():
		case <-alive.C:
			if !write(": alive\n\n") {
				return
			}
		}
	}
}

// readContext reads the context of an evaluation. An empty body is an empty context.
func readContext(w http.ResponseWriter, r *http.Request) (map[string]any, int, error) {
	data, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return nil, http.StatusRequestEntityTooLarge, fmt.Errorf("the request is longer than %d bytes", maxBody)
	}
	if err != nil {
		return nil, http.StatusBadRequest, fmt.Errorf("read the request: %w", err)
	}
	var body struct {
		Context map[string]any `json:"context"`
	}
	if len(bytes.TrimSpace(data)) > 0 {
		if err := json.Unmarshal(data, &body); err != nil {
			return nil, http.StatusBadRequest, fmt.Errorf(`want {"context": {…}}: %w`, err)
		}
	}
	return body.Context, http.StatusOK, nil
}

func send(w http.ResponseWriter, status int, v any) {
	data, err := json.Marshal(v)
	if err != nil { // a value that JSON does not have; no flag can hold one
		status, data = http.StatusInternalServerError, []byte(`{"errorDetails":"the answer cannot be written as JSON"}`)
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(data)
}

// sendTagged sends an answer, or only says that it is the one that the client has.
func sendTagged(w http.ResponseWriter, r *http.Request, v any) {
	data, err := json.Marshal(v)
	if err != nil {
		send(w, http.StatusInternalServerError, v)
		return
	}
	sum := sha256.Sum256(data)
	tag := `"` + hex.EncodeToString(sum[:8]) + `"`
	w.Header().Set("ETag", tag)
	if matches(r.Header.Values("If-None-Match"), tag) {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(data)
}

func matches(headers []string, tag string) bool {
	for _, h := range headers {
		for t := range strings.SplitSeq(h, ",") {
			if t = strings.TrimPrefix(strings.TrimSpace(t), "W/"); t == tag || t == "*" {
				return true
			}
		}
	}
	return false
}

// HTTP is the server with its limits, for whoever listens. Its streams end with ctx.
func (s *Server) HTTP(ctx context.Context) *http.Server {
	return &http.Server{
		Handler: s, MaxHeaderBytes: maxHeader,
		ReadHeaderTimeout: readWithin, ReadTimeout: readWithin, WriteTimeout: sendWithin, IdleTimeout: idle,
		BaseContext: func(net.Listener) context.Context { return ctx },
	}
}
