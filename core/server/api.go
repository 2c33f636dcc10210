package server

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"reflect"
	"regexp"
	"strconv"
	"strings"

	"github.com/invopop/jsonschema"

	"github.com/seed-b96de936/troop/core"
	"github.com/seed-b96de936/troop/core/login"
	"github.com/seed-b96de936/troop/core/queue"
	"github.com/seed-b96de936/troop/core/store"
)

func tokenText(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

func textOf(token string) ([]byte, error) { return base64.RawURLEncoding.DecodeString(token) }

func writeJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v) // a client that is gone has no reader to tell
}

// answer answers a request of the API.
func answer(w http.ResponseWriter, v any, err error) error {
	if err == nil {
		writeJSON(w, http.StatusOK, v)
	}
	return err
}

// body reads the JSON text of a request.
func body[T any](r *http.Request) (v T, err error) {
	d := json.NewDecoder(io.LimitReader(r.Body, maxForm))
	d.DisallowUnknownFields()
	if err := d.Decode(&v); err != nil && !errors.Is(err, io.EOF) {
		return v, userError("the body: %w", err)
	}
	return v, nil
}

// The bodies and answers of the API.
type (
	pipelineAnswer struct {
		Name         string   `json:"name"`
		Remote       string   `json:"remote,omitempty"`
		Environments []string `json:"environments"`
		Problem      string   `json:"problem,omitempty"`
	}
	runsAnswer struct {
		Runs []core.Run `json:"runs"`
		Next core.RunID `json:"next,omitempty"` // the value of before for the runs after these
	}
	runsQuery struct {
		Branch      string `json:"branch,omitempty"`
		Environment string `json:"environment,omitempty"`
		Status      string `json:"status,omitempty"`
		Before      string `json:"before,omitempty"`
		Limit       int    `json:"limit,omitempty"`
	}
	runBody struct {
		login.Run

		Reason string `json:"reason,omitempty"`
	}
	approveBody struct {
		Plan   string `json:"plan"`
		Deny   bool   `json:"deny,omitempty"`
		Reason string `json:"reason,omitempty"` // needed to deny it
	}
	actionBody struct {
		Args   map[string]string `json:"args,omitempty"`
		Reason string            `json:"reason,omitempty"`
	}
	cancelAnswer struct {
		Run core.RunID `json:"run"`
	}
)

// apiRoutes are what programs ask for.
func (s *Server) apiRoutes(at string) []route {
	const (
		pipeline = "/pipelines/{pipeline}"
		run      = pipeline + "/runs/{run}"
		env      = pipeline + "/environments/{environment}"
	)
	get := func(path, summary string, answer, query any, h handler) route {
		return route{Method: http.MethodGet, Path: at + path, Role: Viewer, Summary: summary, Answer: answer, Query: query, handle: h}
	}
	own := func(path, summary string, answer any, h handler) route {
		return route{Method: http.MethodGet, Path: at + path, Role: Viewer, Own: true, Summary: summary, Answer: answer, handle: h}
	}
	post := func(path, summary string, role Role, body, answer any, h handler) route {
		return route{Method: http.MethodPost, Path: at + path, Role: role, Summary: summary, Body: body, Answer: answer, handle: s.once(h)}
	}
	return []route{
		own("/pipelines", "List the pipelines that the caller may see", []pipelineAnswer{}, s.apiPipelines),
		get(pipeline+"/runs", "List runs, the newest first", runsAnswer{}, runsQuery{}, s.apiRuns),
		get(run, "Show one run", core.Run{}, nil, s.apiRun),
		get(run+"/events", "Show the events of a run so far; with Accept: text/event-stream, as they come, too", []core.Event{}, nil, s.apiEvents),
		{
			Method: http.MethodPost, Path: at + pipeline + "/commands", Role: Viewer, handle: s.apiCommand, Body: login.Command{}, Answer: "",
			Summary: "Carry out a command of the troop program; the answer is a stream of events out, err and end",
		},
		own("/queue", "List the runs that wait or go on", []Job{}, s.apiQueue),
		own("/workers", "List the workers, also those that nobody hears of any more", []queue.Worker{}, s.apiWorkers),
		own("/acts/{act}", "Show what became of an act", Act{}, s.apiAct),
		own("/audit", "List who did what, the newest first", []Act{}, s.apiAudit),
		post(pipeline+"/runs", "Start a run", Operator, runBody{}, Job{}, s.apiStart),
		post(run+"/cancel", "Cancel a run", Operator, nil, cancelAnswer{}, s.apiCancel),
		post(run+"/admit", "Let the run of a fork's pull request begin", Operator, nil, Job{}, s.apiAdmit),
		post(env+"/approve", "Approve or deny the plan of an environment", Approver, approveBody{}, Act{}, s.apiApprove),
		post(env+"/flags", "Change a feature flag", Operator, flagChange{}, Act{}, s.apiFlag),
		post(env+"/alerts", "Acknowledge an alert, or silence some", Operator, alertChange{}, Act{}, s.apiAlert),
		post(env+"/actions/{type}/{action}", "Call an action of a stage's plugin, such as deploy promote", Viewer, actionBody{}, Act{}, s.apiAction),
	}
}

func (s *Server) apiPipelines(w http.ResponseWriter, r *http.Request) error {
	list := []pipelineAnswer{}
	for _, name := range s.names {
		if !callerOf(r.Context()).anywhere(name).atLeast(Viewer) {
			continue
		}
		o, err := s.overview(r.Context(), s.pipelines[name], store.Filter{Pipeline: name, Limit: 1})
		if err != nil {
			return err
		}
		list = append(list, pipelineAnswer{name, o.Remote, append([]string{}, o.Environments...), o.Problem})
	}
	return answer(w, list, nil)
}

func (s *Server) apiRuns(w http.ResponseWriter, r *http.Request) error {
	q := r.URL.Query()
	limit := manyRuns
	if text := q.Get("limit"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 || n > 1000 {
			return userError("limit wants a number from 1 to 1000, not %q", text)
		}
		limit = n
	}
	f := store.Filter{Pipeline: s.of(r).Name, Branch: q.Get("branch"), Environment: q.Get("environment"), Before: core.RunID(q.Get("before")), Limit: limit}
	if status := q.Get("status"); status != "" {
		f.Statuses = []core.Status{core.Status(status)}
	}
	p, err := s.of(r).read(r.Context())
	if err != nil {
		return err
	}
	runs, err := p.Files.Runs(r.Context(), f)
	a := runsAnswer{Runs: append([]core.Run{}, runs...)}
	if len(runs) == limit {
		a.Next = runs[len(runs)-1].ID
	}
	return answer(w, a, err)
}

func (s *Server) apiRun(w http.ResponseWriter, r *http.Request) error {
	p, id, err := s.find(r.Context(), s.of(r), r.PathValue("run"))
	if err != nil {
		return err
	}
	run, err := p.Files.Run(r.Context(), id)
	if unrecorded(err) {
		err = &core.NotFoundError{What: "run", Name: string(id), Remedy: "it waits in the queue"}
	}
	return answer(w, run, err)
}

func (s *Server) apiEvents(w http.ResponseWriter, r *http.Request) error {
	ctx := r.Context()
	p, id, err := s.find(ctx, s.of(r), r.PathValue("run"))
	if err != nil {
		return err
	}
	if r.Header.Get("Accept") == "text/event-stream" {
		out := openStream(w)
		for e, err := range p.Files.Follow(ctx, id) {
			if err != nil {
				return nil // the answer has begun; the client asks again
			}
			data, err := json.Marshal(e)
			if err != nil || out.send("event", data) != nil {
				return nil // the client is gone
			}
		}
		_ = out.send("end", nil)
		return nil
	}
	list := []core.Event{}
	for e, err := range p.Files.Events(ctx, id) {
		if err != nil {
			return err
		}
		list = append(list, e)
	}
	return answer(w, list, nil)
}

func (s *Server) apiQueue(w http.ResponseWriter, r *http.Request) error {
	list, err := s.queueOf(r.Context(), "")
	jobs := []Job{}
	for _, j := range list {
		jobs = append(jobs, j.Job)
	}
	return answer(w, jobs, err)
}

func (s *Server) apiAct(w http.ResponseWriter, r *http.Request) error {
	n, err := actNumber(r)
	if err != nil {
		return err
	}
	a, ok, err := s.actNow(n)
	if err == nil && (!ok || !callerOf(r.Context()).in(a.Pipeline, a.Place).atLeast(Viewer)) {
		err = &core.NotFoundError{What: "act", Name: r.PathValue("act")}
	}
	return answer(w, a, err)
}

func (s *Server) apiAudit(w http.ResponseWriter, r *http.Request) error {
	before, _ := strconv.ParseUint(r.URL.Query().Get("before"), 10, 64)
	acts, err := s.acts(callerOf(r.Context()), "", before, manyRuns)
	return answer(w, append([]Act{}, acts...), err)
}

func (s *Server) apiStart(w http.ResponseWriter, r *http.Request) error {
	b, err := body[runBody](r)
	if err != nil {
		return err
	}
	o := core.RunOptions{Commit: b.Commit, Branch: b.Branch, Tag: b.Tag, Environment: b.Environment, Until: core.StageID(b.Until), From: core.StageID(b.From), Force: b.Force}
	j, err := s.begin(r.Context(), s.of(r), o, b.Reason)
	return answer(w, j, err)
}

func (s *Server) apiCancel(w http.ResponseWriter, r *http.Request) error {
	id, err := s.cancelled(r)
	return answer(w, cancelAnswer{id}, err)
}

func (s *Server) apiAdmit(w http.ResponseWriter, r *http.Request) error {
	j, err := s.admitted(r)
	return answer(w, j, err)
}

func (s *Server) apiApprove(w http.ResponseWriter, r *http.Request) error {
	b, err := body[approveBody](r)
	if err != nil {
		return err
	}
	a, err := s.approve(r.Context(), s.of(r), r.PathValue("environment"), b.Plan, b.Reason, b.Deny)
	return answer(w, a, err)
}

func (s *Server) apiFlag(w http.ResponseWriter, r *http.Request) error {
	b, err := body[flagChange](r)
	if err != nil {
		return err
	}
	a, err := s.setFlag(r.Context(), s.of(r), r.PathValue("environment"), b)
	return answer(w, a, err)
}

func (s *Server) apiAlert(w http.ResponseWriter, r *http.Request) error {
	b, err := body[alertChange](r)
	if err != nil {
		return err
	}
	a, err := s.tellAlert(r.Context(), s.of(r), r.PathValue("environment"), b)
	return answer(w, a, err)
}

func (s *Server) apiAction(w http.ResponseWriter, r *http.Request) error {
	b, err := body[actionBody](r)
	if err != nil {
		return err
	}
	x, err := s.of(r).action(r.Context(), r.PathValue("type"), r.PathValue("action"))
	if err != nil {
		return err
	}
	a, err := s.call(r.Context(), s.of(r), r.PathValue("environment"), x, b.Args, b.Reason)
	return answer(w, a, err)
}

func (s *Server) health(w http.ResponseWriter, _ *http.Request) error {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	_, _ = io.WriteString(w, "ok\n")
	return nil
}

var pathValue = regexp.MustCompile(`\{(\w+)\}`)

// openAPI describes the API, as OpenAPI 3.1, from the routes that serve it.
func (s *Server) openAPI(w http.ResponseWriter, _ *http.Request) error {
	return answer(w, Describe(s.routes()), nil)
}

// Describe makes the OpenAPI document of those routes that are of the API.
func Describe(routes []route) map[string]any {
	reflector := &jsonschema.Reflector{DoNotReference: true, Anonymous: true}
	schema := func(v any) any { return reflector.ReflectFromType(reflect.TypeOf(v)) }
	paths := map[string]map[string]any{}
	for _, t := range routes {
		if t.Summary == "" {
			continue
		}
		op := map[string]any{
			"summary": t.Summary, "operationId": strings.ToLower(t.Method) + strings.NewReplacer("/", "_", "{", "", "}", "").Replace(t.Path),
			"x-role": string(t.Role),
			"responses": map[string]any{
				"200": map[string]any{"description": "done", "content": map[string]any{"application/json": map[string]any{"schema": schema(t.Answer)}}},
				"default": map[string]any{"description": "why not", "content": map[string]any{"application/json": map[string]any{"schema": schema(struct {
					Status int    `json:"status"`
					Detail string `json:"detail"`
				}{})}}},
			},
		}
		var parameters []any
		for _, m := range pathValue.FindAllStringSubmatch(t.Path, -1) {
			parameters = append(parameters, map[string]any{"name": m[1], "in": "path", "required": true, "schema": map[string]any{"type": "string"}})
		}
		if t.Method == http.MethodPost {
			parameters = append(parameters, map[string]any{
				"name": "Idempotency-Key", "in": "header", "schema": map[string]any{"type": "string", "maxLength": mostKey},
				"description": "A repetition with the same key and body does nothing, and is answered as the first one was.",
			})
		}
		if t.Query != nil {
			for f := range reflect.TypeOf(t.Query).Fields() {
				name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
				parameters = append(parameters, map[string]any{"name": name, "in": "query", "schema": schema(reflect.Zero(f.Type).Interface())})
			}
		}
		if parameters != nil {
			op["parameters"] = parameters
		}
		if t.Body != nil {
			op["requestBody"] = map[string]any{"content": map[string]any{"application/json": map[string]any{"schema": schema(t.Body)}}}
		}
		if paths[t.Path] == nil {
			paths[t.Path] = map[string]any{}
		}
		paths[t.Path][strings.ToLower(t.Method)] = op
	}
	return map[string]any{
		"openapi": "3.1.0",
		"info":    map[string]any{"title": "troop serve", "version": "1", "description": "Runs, environments and acts of the pipelines that a troop server serves."},
		"paths":   paths,
		"components": map[string]any{
			"securitySchemes": map[string]any{"token": map[string]any{"type": "http", "scheme": "bearer"}},
		},
		"security": []any{map[string]any{"token": []string{}}},
	}
}
