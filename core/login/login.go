// Package login is the other end of core/server: it keeps to which server a person is logged in, and has that server carry
// commands of the troop program out. The troop program imports it, and so does core/server, for the types of what is sent.
package login

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/google/renameio/v2"

	"github.com/seed-b96de936/troop/core"
)

// The environment variables that log a job of CI in, which has no person.
const (
	URLVariable   = "TROOP_SERVER"
	TokenVariable = "TROOP_TOKEN"
)

// Server is a server, and who asks it.
type Server struct {
	URL   string `json:"url"` // without a slash at its end
	Token string `json:"token"`
}

// Pipeline is one that a server serves.
type Pipeline struct {
	Name string `json:"name"`
}

// Command is a command of the troop program that a server carries out. Whoever sends it gets what it says.
type Command struct {
	Words       []string `json:"words"`                 // its name, such as deploy status
	Options     []string `json:"options,omitempty"`     // --NAME or --NAME=VALUE
	Arguments   []string `json:"arguments,omitempty"`   // after the manifest
	Environment string   `json:"environment,omitempty"` // that it is about; empty: the manifest's only one
}

// Run is a run that a server is to begin.
type Run struct {
	Commit      string `json:"commit,omitempty"`
	Branch      string `json:"branch,omitempty"`
	Tag         string `json:"tag,omitempty"`
	Environment string `json:"environment,omitempty"`
	Until       string `json:"until,omitempty"`
	From        string `json:"from,omitempty"`
	Force       bool   `json:"force,omitempty"`
}

// file is where a person's login is kept.
func file() (string, error) {
	dir, err := os.UserConfigDir()
	if err != nil {
		return "", fmt.Errorf("where the login is kept is not known: %w", err)
	}
	return filepath.Join(dir, "troop", "server.json"), nil
}

// Load returns the server that this person or job is logged in to; nil: none.
func Load() (*Server, error) {
	if at := os.Getenv(URLVariable); at != "" {
		return New(at, os.Getenv(TokenVariable))
	}
	name, err := file()
	if err != nil {
		return nil, nil //nolint:nilerr // a user without a home has no login
	}
	data, err := os.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	s := new(Server)
	if err == nil {
		err = json.Unmarshal(data, s)
	}
	if err != nil {
		return nil, fmt.Errorf("read the login: %w; troop logout removes it", err)
	}
	return s, nil
}

// New is a server at an address, and a token for it.
func New(at, token string) (*Server, error) {
	u, err := url.Parse(at)
	token = strings.TrimSpace(token)
	switch {
	case err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https":
		return nil, &core.UsageError{Err: fmt.Errorf("%q is not the address of a server; write https://ci.example.com", at)}
	case token == "":
		return nil, &core.UsageError{Err: fmt.Errorf("a token is needed; make one at %s/account", strings.TrimRight(at, "/"))}
	}
	return &Server{strings.TrimRight(at, "/"), token}, nil
}

// Save keeps the login for the following commands, readable by this person only.
func (s *Server) Save() error {
	name, err := file()
	if err != nil {
		return err
	}
	data, err := json.MarshalIndent(s, "", "  ")
	if err == nil {
		err = os.MkdirAll(filepath.Dir(name), 0o700)
	}
	if err == nil {
		err = renameio.WriteFile(name, data, 0o600)
	}
	if err != nil {
		return fmt.Errorf("keep the login: %w", err)
	}
	return nil
}

// Forget removes the login, if there is one.
func Forget() error {
	name, err := file()
	if err != nil {
		return err
	}
	if err := os.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove the login: %w", err)
	}
	return nil
}

// Pipelines lists those that the token may see.
func (s *Server) Pipelines(ctx context.Context) (list []Pipeline, err error) {
	return list, s.ask(ctx, http.MethodGet, "/pipelines", nil, &list)
}

// Pipeline finds one by its name; without a name, the only one.
func (s *Server) Pipeline(ctx context.Context, name string) (string, error) {
	list, err := s.Pipelines(ctx)
	if err != nil {
		return "", err
	}
	var names []string
	for _, p := range list {
		names = append(names, p.Name)
		if p.Name == name {
			return name, nil
		}
	}
	switch {
	case name != "":
		return "", &core.NotFoundError{What: "pipeline of " + s.URL, Name: name, Remedy: "there are: " + strings.Join(names, ", ") + "; with --local, the command works on this machine"}
	case len(list) == 1:
		return names[0], nil
	}
	return "", &core.UsageError{Err: fmt.Errorf("%s has %d pipelines: %s; name the manifest of one, or go to its folder", s.URL, len(list), strings.Join(names, ", "))}
}

// Begin puts a run into the server's queue and returns its ID. It may be sent again when its answer is lost: the server
// begins one run.
func (s *Server) Begin(ctx context.Context, pipeline string, r Run) (core.RunID, error) {
	var job struct {
		Run struct {
			ID core.RunID `json:"id"`
		} `json:"run"`
	}
	err := s.ask(ctx, http.MethodPost, "/pipelines/"+url.PathEscape(pipeline)+"/runs", r, &job)
	return job.Run.ID, err
}

// Await returns a run once it has begun.
func (s *Server) Await(ctx context.Context, pipeline string, id core.RunID) (r core.Run, err error) {
	for {
		err = s.ask(ctx, http.MethodGet, "/pipelines/"+url.PathEscape(pipeline)+"/runs/"+string(id), nil, &r)
		if status := new(StatusError); !errors.As(err, &status) || status.Status != http.StatusNotFound {
			return r, err
		}
		select {
		case <-ctx.Done():
			return r, context.Cause(ctx)
		case <-time.After(time.Second):
		}
	}
}

// Page is the page of a run.
func (s *Server) Page(pipeline string, id core.RunID) string {
	return fmt.Sprintf("%s/p/%s/runs/%s", s.URL, url.PathEscape(pipeline), id)
}

// StatusError is an answer that is not what was asked for.
type StatusError struct {
	Status int    `json:"status"`
	Detail string `json:"detail"`
}

func (e *StatusError) Error() string { return e.Detail }

// attempts is how often a request without an answer is sent.
const attempts = 3

// ask sends a request of the API and reads its answer.
func (s *Server) ask(ctx context.Context, method, path string, body, answer any) error {
	key := rand.Text()
	var err error
	for n := range attempts {
		var r *http.Response
		if r, err = s.send(ctx, method, path, key, body); err == nil {
			defer r.Body.Close()
			if err := json.NewDecoder(r.Body).Decode(answer); err != nil {
				return fmt.Errorf("the answer of %s is not that of a troop server: %w", s.URL, err)
			}
			return nil
		}
		if errors.As(err, new(*StatusError)) || ctx.Err() != nil {
			return err
		}
		select {
		case <-ctx.Done():
		case <-time.After(time.Duration(n) * time.Second):
		}
	}
	return err
}

// send sends a request. An answer other than 200 is a *StatusError.
func (s *Server) send(ctx context.Context, method, path, key string, body any) (*http.Response, error) {
	data, err := json.Marshal(body)
	if err != nil {
		return nil, err
	}
	var content io.Reader
	if body != nil {
		content = bytes.NewReader(data)
	}
	q, err := http.NewRequestWithContext(ctx, method, s.URL+"/api/v1"+path, content)
	if err != nil {
		return nil, err
	}
	q.Header.Set("Authorization", "Bearer "+s.Token)
	if body != nil {
		q.Header.Set("Content-Type", "application/json")
		q.Header.Set("Idempotency-Key", key)
	}
	r, err := client.Do(q)
	if err != nil {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		return nil, fmt.Errorf("the server %s does not answer: %w", s.URL, err)
	}
	if r.StatusCode == http.StatusOK {
		return r, nil
	}
	defer r.Body.Close()
	said := &StatusError{Status: r.StatusCode}
	text, _ := io.ReadAll(io.LimitReader(r.Body, 64<<10)) // or what came of it
	if json.Unmarshal(text, said) != nil || said.Detail == "" {
		said.Detail = "it answers " + r.Status
	}
	said.Status, said.Detail = r.StatusCode, s.URL+": "+said.Detail
	if r.StatusCode == http.StatusUnauthorized {
		said.Detail = fmt.Sprintf("%s does not know the token, or it has ended; make one at %s/account, then: troop login %s", s.URL, s.URL, s.URL)
	}
	return nil, said
}

// client follows no redirect: the token would go along.
var client = &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}

// Do has the server carry out a command, and passes on what it says as it comes. It returns the command's exit status.
func (s *Server) Do(ctx context.Context, pipeline string, c Command, out, errOut io.Writer) (int, error) {
	r, err := s.send(ctx, http.MethodPost, "/pipelines/"+url.PathEscape(pipeline)+"/commands", rand.Text(), c)
	if err != nil {
		return 0, err
	}
	defer r.Body.Close()
	var kind string
	lines := bufio.NewReader(r.Body)
	for {
		line, err := lines.ReadString('\n')
		if err != nil {
			if ctx.Err() != nil {
				return 0, context.Cause(ctx)
			}
			return 0, fmt.Errorf("the connection to %s was lost before the command ended: %w", s.URL, err)
		}
		name, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), ": ")
		switch {
		case name == "event":
			kind = value
		case name == "data" && kind == "out":
			_, err = io.WriteString(out, value+"\n")
		case name == "data" && kind == "err":
			_, err = io.WriteString(errOut, value+"\n")
		case name == "data" && kind == "end":
			return strconv.Atoi(value)
		}
		if err != nil {
			return 0, err // the reader has closed the pipe
		}
	}
}
