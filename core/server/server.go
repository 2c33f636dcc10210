// Package server is troop behind a door: pages, an API and webhooks for many people, on top of core/project. It reads
// runs and environments itself. What changes something is a process of the troop program, with the same checks, locks and
// records as on a command line, which goes on when the server dies. What the server itself remembers (accounts, sessions,
// the queue, who did what) is in one database file. The troop program imports it.
package server

import (
	"cmp"
	"context"
	"embed"
	"errors"
	"fmt"
	"html/template"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/bcrypt"
	"golang.org/x/sync/singleflight"

	"github.com/seed-b96de936/troop/core"
	"github.com/seed-b96de936/troop/core/project"
	"github.com/seed-b96de936/troop/core/queue"
	"github.com/seed-b96de936/troop/core/ui"
)

// Options say what is served, and how.
type Options struct {
	Pipelines []string // manifests, their folders, and git remotes
	Data      string   // folder of the server's own files
	URL       string   // how people reach the server; empty: http:// and the address that it listens on
	Workers   int      // how many runs go on at the same time

	Program    string   // the troop program
	Vars       []string // NAME=VALUE of the manifests' variables, for each of its commands
	PluginDirs []string
	Project    project.Options

	Tokens  map[string]string // of the forges that hear of the statuses of commits, by the same names
	APIs    map[string]string // the bases of their APIs
	Secrets map[string]string // of the webhooks, by the name of the pipeline in capitals, with _ for -; Everywhere: of all others
	OIDC    OIDC
	Queue   string // address of the Redis through which workers on other machines get runs; empty: there are none

	Note func(line string)

	flags serveFlags

	reportPause time.Duration // of tests
}

// arguments are those that each command of the troop program gets.
func (o Options) arguments() []string {
	var args []string
	for _, v := range o.Vars {
		args = append(args, option("var", v))
	}
	for _, f := range o.Project.VarFiles {
		args = append(args, option("var-file", f))
	}
	for _, dir := range o.PluginDirs {
		args = append(args, option("plugin-dir", dir))
	}
	return args
}

// complete makes the paths absolute, since commands start in other folders, and passes notes on.
func (o *Options) complete() (err error) {
	o.Project.Note = o.Note
	if o.Program == "" {
		if o.Program, err = os.Executable(); err != nil {
			return err
		}
	}
	paths := []*string{&o.Data}
	for i := range o.Project.VarFiles {
		paths = append(paths, &o.Project.VarFiles[i])
	}
	for i := range o.PluginDirs {
		paths = append(paths, &o.PluginDirs[i])
	}
	for _, p := range paths {
		if *p, err = filepath.Abs(*p); err != nil {
			return err
		}
	}
	return nil
}

// Server serves pipelines.
type Server struct {
	o         Options
	db        db
	pages     *template.Template
	pipelines map[string]*served
	names     []string // of the pipelines, in order
	wake      chan struct{}
	limits    limits
	metrics   *metrics
	oidc      *provider
	workers   *queue.Queue // nil: runs go on here
	forges    map[string]*forge
	reported  chan struct{} // there is something to tell them

	noPassword []byte // what a password is compared with when there is none
	listens    string // host:port

	ctx     context.Context // of what goes on behind requests
	stop    context.CancelFunc
	feedsMu sync.Mutex
	feeds   map[core.RunID]*feed
	looks   singleflight.Group
	lately  sync.Map // what an action said, by pipeline, environment and action
	trends  sync.Map // what the parts of a run that has ended took and measured, by run
	onceMu  sync.Mutex
	goingMu sync.Mutex
	going   map[uint64]*going
}

//go:embed pages/*.html
var pagesFS embed.FS

//go:embed static
var staticFS embed.FS

// Open opens the database and the pipelines. The caller closes the server.
func Open(ctx context.Context, o Options) (*Server, error) {
	o.Workers = cmp.Or(o.Workers, 1)
	if err := o.complete(); err != nil {
		return nil, err
	}
	var err error
	s := &Server{
		o: o, pipelines: map[string]*served{}, wake: make(chan struct{}, 1),
		feeds: map[core.RunID]*feed{}, going: map[uint64]*going{}, forges: map[string]*forge{}, reported: make(chan struct{}, 1),
	}
	if s.db, err = openDB(o.Data); err != nil {
		return nil, err
	}
	s.ctx, s.stop = context.WithCancel(context.WithoutCancel(ctx))
	if err := s.prepare(ctx); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

func (s *Server) prepare(ctx context.Context) (err error) {
	if s.noPassword, err = bcrypt.GenerateFromPassword([]byte(secretText()), bcrypt.DefaultCost); err != nil {
		return err
	}
	for _, name := range s.o.Pipelines {
		v, err := serve(ctx, name, s.o.Data, s.o.Project)
		if err != nil {
			return err
		}
		if other, ok := s.pipelines[v.Name]; ok {
			return userError("%s and %s are both called %s; a server tells pipelines by their names", cmp.Or(other.Remote, other.file), cmp.Or(v.Remote, v.file), v.Name)
		}
		s.pipelines[v.Name] = v
		if s.forges[v.Name], err = forgeOf(v.Remote, of(s.o.APIs, v.Name), of(s.o.Tokens, v.Name)); err != nil {
			return err
		}
		s.names = append(s.names, v.Name)
	}
	slices.Sort(s.names)
	if s.pages, err = template.New("").Funcs(functions).ParseFS(pagesFS, "pages/*.html"); err != nil {
		return err
	}
	if s.o.Queue != "" {
		if s.workers, err = queue.Open(ctx, s.o.Queue); err != nil {
			return err
		}
	}
	s.metrics = newMetrics(s)
	s.oidc, err = newProvider(ctx, s.o.OIDC, s.base)
	return err
}

// Close ends what goes on behind requests. Runs go on.
func (s *Server) Close() error {
	s.stop()
	var err error
	for _, v := range s.pipelines {
		err = errors.Join(err, v.close())
	}
	if s.workers != nil {
		err = errors.Join(err, s.workers.Close())
	}
	return errors.Join(err, s.db.Close())
}

// Serve answers requests until ctx ends, and starts what is in the queue.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	s.listens = l.Addr().String()
	h := &http.Server{
		Handler: s.Handler(), ReadHeaderTimeout: 10 * time.Second, ReadTimeout: time.Minute, IdleTimeout: 2 * time.Minute,
		MaxHeaderBytes: 64 << 10, BaseContext: func(net.Listener) context.Context { return s.ctx },
	}
	worked, served := make(chan error, 1), make(chan error, 1)
	go func() { worked <- s.Work(ctx) }()
	go func() { served <- h.Serve(l) }()
	select {
	case err := <-served:
		return err
	case <-ctx.Done():
	}
	s.stop() // ends the streams
	short, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	return errors.Join(h.Shutdown(short), <-worked)
}

// base is the address by which people reach the server.
func (s *Server) base() string {
	return strings.TrimSuffix(cmp.Or(s.o.URL, "http://"+s.listens), "/")
}

// secure reports whether the browser speaks HTTPS with us, or with the proxy before us.
func (s *Server) secure(r *http.Request) bool {
	return r.TLS != nil || strings.HasPrefix(s.base(), "https://")
}

// handler answers a request of a caller who may make it. Its error becomes a page or a JSON text.
type handler func(w http.ResponseWriter, r *http.Request) error

// Handler answers all requests.
func (s *Server) Handler() http.Handler {
	mux := http.NewServeMux()
	for _, r := range s.routes() {
		mux.Handle(r.Method+" "+r.Path, s.guard(r))
	}
	static, _ := fs.Sub(staticFS, "static")
	files := http.StripPrefix("/static/", http.FileServerFS(static))
	mux.HandleFunc("GET /static/", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "public, max-age=3600")
		files.ServeHTTP(w, r)
	})
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		s.fail(w, r, &core.NotFoundError{What: "page", Name: r.URL.Path})
	})
	return s.protect(mux)
}

// contentPolicy lets a page load only what this server gives it, without scripts in its text.
const contentPolicy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; form-action 'self'; frame-src 'self'; frame-ancestors 'self'; base-uri 'none'"

// maxBody is the most that a request may bring along, webhooks too. GitHub's are capped at 25 MB.
const maxBody = 25 << 20

// protect is around every request.
func (s *Server) protect(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", contentPolicy)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "same-origin")
		h.Set("Cache-Control", "no-store")
		if s.secure(r) {
			h.Set("Strict-Transport-Security", "max-age=31536000")
		}
		r.Body = http.MaxBytesReader(w, r.Body, maxBody)
		defer func() {
			if p := recover(); p != nil {
				if p == http.ErrAbortHandler { //nolint:errorlint // it is thrown as it is
					panic(p)
				}
				s.o.Note(fmt.Sprintf("%s %s: %v\n%s", r.Method, r.URL.Path, p, debug.Stack()))
				s.fail(w, r, errors.New("a mistake in troop; its log says more"))
			}
		}()
		next.ServeHTTP(w, r)
	})
}

// guard lets only those through who may do what a route does.
func (s *Server) guard(t route) http.Handler {
	crossOrigin := http.NewCrossOriginProtection()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.metrics.requests.WithLabelValues(t.Method, t.Path).Inc()
		if !t.Foreign {
			if err := crossOrigin.Check(r); err != nil {
				s.fail(w, r, &statusError{http.StatusForbidden, "this request came from another site"})
				return
			}
		}
		c, err := s.identify(r)
		if err != nil {
			s.fail(w, r, err)
			return
		}
		if t.Role != Nobody {
			if err := s.may(c, t, r); err != nil {
				s.fail(w, r, err)
				return
			}
		}
		ctx := context.WithValue(context.WithValue(r.Context(), callerKey{}, c), fromKey{}, address(r))
		if err := t.handle(w, r.WithContext(ctx)); err != nil {
			s.fail(w, r, err)
		}
	})
}

// may returns why a caller may not use a route. A pipeline in which somebody has no role does not exist for them.
func (s *Server) may(c caller, t route, r *http.Request) error {
	if c.Name == "" {
		return &statusError{http.StatusUnauthorized, "sign in first"}
	}
	pipeline, environment := r.PathValue("pipeline"), r.PathValue("environment")
	if t.Own {
		return nil
	}
	if pipeline != "" && (s.pipelines[pipeline] == nil || !c.anywhere(pipeline).atLeast(Viewer)) {
		return &core.NotFoundError{What: "pipeline", Name: pipeline}
	}
	role := c.in(pipeline, environment)
	if environment == "" {
		role = c.anywhere(pipeline) // what it is about is told by the form, and checked there
	}
	if !role.atLeast(t.Role) {
		return &statusError{http.StatusForbidden, fmt.Sprintf("this needs the role %s%s; yours is %s", t.Role, in(pipeline, environment), cmp.Or(string(role), "none"))}
	}
	return nil
}

func in(pipeline, environment string) string {
	if pipeline == "" {
		return ""
	}
	return " in " + strings.TrimSuffix(pipeline+"/"+environment, "/")
}

// statusError is an error with a status of HTTP.
type statusError struct {
	status int
	text   string
}

func (e *statusError) Error() string { return e.text }

// statusOf is the status of HTTP for an error.
func statusOf(err error) int {
	if e, ok := errors.AsType[*statusError](err); ok {
		return e.status
	}
	switch {
	case errors.As(err, new(*core.NotFoundError)):
		return http.StatusNotFound
	case errors.As(err, new(*core.UsageError)), errors.As(err, new(*project.ManifestError)):
		return http.StatusUnprocessableEntity
	case errors.As(err, new(*http.MaxBytesError)):
		return http.StatusRequestEntityTooLarge
	}
	return http.StatusInternalServerError
}

// fail answers a request with an error.
func (s *Server) fail(w http.ResponseWriter, r *http.Request, err error) {
	status := statusOf(err)
	said := err.Error()
	if s.o.Project.Mask != nil {
		said = s.o.Project.Mask.String(said)
	}
	if status == http.StatusInternalServerError {
		s.o.Note(fmt.Sprintf("%s %s: %s", r.Method, r.URL.Path, said))
	}
	if strings.HasPrefix(r.URL.Path, "/api/") || strings.HasPrefix(r.URL.Path, "/hooks/") || r.Header.Get("Accept") == "text/event-stream" {
		writeJSON(w, status, map[string]any{"status": status, "detail": said}) // RFC 9457
		return
	}
	if status == http.StatusUnauthorized && r.Method == http.MethodGet {
		http.Redirect(w, r, "/sign-in?to="+template.URLQueryEscaper(r.URL.RequestURI()), http.StatusSeeOther)
		return
	}
	w.WriteHeader(status)
	_ = s.render(w, r, "error", page{Title: cmp.Or(titles[status], http.StatusText(status)), Body: said})
}

// titles are those of error pages, where HTTP's own say little to people.
var titles = map[int]string{
	http.StatusForbidden: "Not allowed", http.StatusNotFound: "Not found", http.StatusUnprocessableEntity: "This cannot be done",
	http.StatusInternalServerError: "Something went wrong",
}

// functions are those of the templates.
var functions = template.FuncMap{
	"duration": ui.Duration,
	"ago":      func(t time.Time) string { return ui.Ago(time.Now(), t) },
	"stamp":    func(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05 UTC") },
	"short":    func(s string) string { return s[:min(len(s), 9)] },
	"class":    class,
	"number":   number,
	"spark":    spark,
	"took": func(r core.Run) time.Duration {
		if r.Ended.IsZero() {
			return time.Since(r.Started)
		}
		return r.Ended.Sub(r.Started)
	},
	"column": func(t core.Table, i int) string {
		if i < len(t.Columns) {
			return t.Columns[i]
		}
		return "" // a row of a plugin may have more cells
	},
	"percent": func(share float64) string { return fmt.Sprintf("%.0f", 100*share) },
}
