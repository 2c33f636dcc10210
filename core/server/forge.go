package server

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"go.etcd.io/bbolt"

	"github.com/seed-b96de936/troop/core"
	"github.com/seed-b96de936/troop/core/project"
)

// The environment variables with the token of a forge and the base of its API, for all pipelines, or, with _PIPELINE, for one.
const (
	forgeToken = "TROOP_FORGE_TOKEN"
	forgeAPI   = "TROOP_FORGE_API"
)

// forge is where the statuses of a pipeline's commits are shown.
type forge struct {
	gitlab bool   // else the API is that of GitHub, which Gitea and Forgejo share
	api    string // its base, without a slash at its end
	repo   string // OWNER/NAME
	token  string
}

// knownAPIs are those of public forges, by the host of a remote.
var knownAPIs = map[string]string{
	"github.com": "https://api.github.com", "gitlab.com": "https://gitlab.com/api/v4", "codeberg.org": "https://codeberg.org/api/v1",
}

// forgeOf finds out where the commits of a remote have a status. Without a token, nowhere: nil.
func forgeOf(remote, api, token string) (*forge, error) {
	if token == "" || remote == "" {
		return nil, nil
	}
	host, path, ok := strings.Cut(remote, ":") // git@host:owner/name.git
	if !ok {
		path = remote
	}
	if u, err := url.Parse(remote); err == nil && u.Host != "" {
		host, path = u.Hostname(), u.Path
	}
	if _, after, ok := strings.Cut(host, "@"); ok {
		host = after
	}
	api = strings.TrimRight(cmp.Or(api, knownAPIs[host]), "/")
	if u, err := url.Parse(api); err != nil || u.Host == "" {
		return nil, userError("the API of %s is not known; set %s, such as https://git.example.com/api/v1 of Forgejo, /api/v4 of GitLab, /api/v3 of GitHub", cmp.Or(host, remote), forgeAPI)
	}
	return &forge{
		gitlab: strings.HasSuffix(api, "/api/v4"), api: api, token: token, repo: strings.TrimSuffix(strings.Trim(path, "/"), ".git"),
	}, nil
}

// report is what the forge is still to hear of: a status of a commit, or a comment on its pull request.
type report struct {
	Pipeline string      `json:"pipeline"`
	Commit   string      `json:"commit"`
	Context  string      `json:"context"` // tells the statuses of a commit apart
	Status   core.Status `json:"status"`
	Text     string      `json:"text"`
	Page     string      `json:"page"`              // of the run
	Pull     int         `json:"pull,omitempty"`    // the pull request that is commented on
	Comment  string      `json:"comment,omitempty"` // in Markdown; empty: a status
	Time     time.Time   `json:"time"`
}

// status is how a forge calls the status of a run.
func (f *forge) status(s core.Status) string {
	switch {
	case s.Passed():
		return "success"
	case s == core.Pending:
		return "pending"
	case s == core.Running && f.gitlab:
		return "running"
	case s == core.Running:
		return "pending"
	case s == core.Cancelled && f.gitlab:
		return "canceled"
	case s == core.Cancelled:
		return "error"
	case f.gitlab:
		return "failed"
	}
	return "failure"
}

// mostStatus is how long the text of a status may be: that of GitHub, the least.
const mostStatus = 140

// mostComment is how long a comment may be: GitHub takes 65,536 characters.
const mostComment = 60_000

// send tells the forge a status, or comments:
// https://docs.github.com/rest/commits/statuses, https://docs.gitlab.com/api/commits/#set-commit-pipeline-status.
// https://docs.github.com/rest/issues/comments, https://docs.gitlab.com/api/notes/#create-new-merge-request-note.
func (f *forge) send(ctx context.Context, r report) error {
	if r.Comment != "" {
		at := fmt.Sprintf("%s/repos/%s/issues/%d/comments", f.api, f.repo, r.Pull)
		if f.gitlab {
			at = fmt.Sprintf("%s/projects/%s/merge_requests/%d/notes", f.api, url.PathEscape(f.repo), r.Pull)
		}
		return f.post(ctx, at, map[string]string{"body": r.Comment})
	}
	text := []rune(r.Text)
	body := map[string]string{
		"state": f.status(r.Status), "target_url": r.Page, "description": string(text[:min(len(text), mostStatus)]), "context": r.Context,
	}
	at := f.api + "/repos/" + f.repo + "/statuses/" + r.Commit
	if f.gitlab {
		at = f.api + "/projects/" + url.PathEscape(f.repo) + "/statuses/" + r.Commit
		body["name"] = body["context"]
		delete(body, "context")
	}
	return f.post(ctx, at, body)
}

func (f *forge) post(ctx context.Context, at string, body map[string]string) error {
	data, err := json.Marshal(body)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, reportTime)
	defer cancel()
	q, err := http.NewRequestWithContext(ctx, http.MethodPost, at, bytes.NewReader(data))
	if err != nil {
		return err
	}
	q.Header.Set("Content-Type", "application/json")
	q.Header.Set("Authorization", "Bearer "+f.token)
	answer, err := http.DefaultClient.Do(q)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if answer.StatusCode/100 == 2 {
		return nil
	}
	said, _ := io.ReadAll(io.LimitReader(answer.Body, 300)) // it only explains
	return &statusError{answer.StatusCode, fmt.Sprintf("POST %s: %s: %s", at, answer.Status, bytes.TrimSpace(said))}
}

const (
	reportTime  = 20 * time.Second
	reportPause = 10 * time.Second // after a status could not be told
	reportFor   = 24 * time.Hour   // how long it is tried
)

// report has the forge told the status of a job's commit, once it can be: what was to be told of it before is not.
func (s *Server) report(j Job, status core.Status, text string) {
	if s.forges[j.Pipeline] == nil {
		return
	}
	r := report{
		Pipeline: j.Pipeline, Commit: j.Run.Commit, Context: "troop/" + j.Pipeline, Status: status, Text: text, Time: time.Now(),
		Page: fmt.Sprintf("%s/p/%s/runs/%s", s.base(), url.PathEscape(j.Pipeline), j.Run.ID),
	}
	if j.Run.Environment != "" {
		r.Context += "/" + j.Run.Environment
	}
	s.tell(r)
}

// tell has the forge told.
func (s *Server) tell(r report) {
	err := s.db.Update(func(tx *bbolt.Tx) error { return put(tx, reportsBucket, r.key(), r) })
	if err != nil {
		s.o.Note(fmt.Sprintf("the forge will not hear of commit %.9s: %v", r.Commit, err))
	}
	select {
	case s.reported <- struct{}{}:
	default:
	}
}

func (r report) key() []byte {
	return fmt.Appendf(nil, "%s\n%s\n%s\n%d", r.Pipeline, r.Commit, r.Context, r.Pull)
}

// remember keeps which pull request a commit is of.
func (s *Server) remember(v *served, commit string, pull int) error {
	return s.db.Update(func(tx *bbolt.Tx) error { return put(tx, pullsBucket, []byte(v.Name+"\n"+commit), pull) })
}

// comment shows the plan of a run on the pull request of its commit, if there are both.
func (s *Server) comment(ctx context.Context, j Job, p *project.Project) error {
	var pull int
	err := s.db.View(func(tx *bbolt.Tx) (err error) {
		pull, _, err = get[int](tx, pullsBucket, []byte(j.Pipeline+"\n"+j.Run.Commit))
		return err
	})
	if err != nil || pull == 0 {
		return err
	}
	for e, err := range p.Files.Events(ctx, j.Run.ID) {
		if err != nil {
			return err
		}
		lines, ok := e.Data["lines"].([]any)
		if e.Kind != core.KindPlan || !ok {
			continue
		}
		page := fmt.Sprintf("%s/p/%s/runs/%s", s.base(), url.PathEscape(j.Pipeline), j.Run.ID)
		var b strings.Builder
		fmt.Fprintf(&b, "**Plan for %s**: %s ([run %s](%s))\n\n~~~~text\n", e.Environment, e.Summary, j.Run.ID.Short(), page)
		for _, line := range lines {
			text := fmt.Sprint(line)
			if b.Len()+len(text) > mostComment {
				b.WriteString("…\n")
				break
			}
			b.WriteString(strings.ReplaceAll(text, "~~~~", "") + "\n")
		}
		b.WriteString("~~~~\n")
		s.tell(report{Pipeline: j.Pipeline, Commit: j.Run.Commit, Context: "plan " + e.Environment, Pull: pull, Comment: b.String(), Time: time.Now()})
	}
	return nil
}

// reportEnd has the forge told how the run of a job has ended.
func (s *Server) reportEnd(ctx context.Context, j Job) {
	v := s.pipelines[j.Pipeline]
	if s.forges[j.Pipeline] == nil || v == nil {
		return
	}
	p, err := v.read(ctx)
	if err == nil {
		var r core.Run
		if r, err = p.Files.Run(ctx, j.Run.ID); err == nil {
			s.report(j, r.Status, cmp.Or(r.Reason, string(r.Status)))
			if err := s.comment(ctx, j, p); err != nil {
				s.o.Note(fmt.Sprintf("the plan of run %s is no comment: %v", j.Run.ID.Short(), err))
			}
			return
		}
	}
	s.report(j, core.Cancelled, fmt.Sprintf("the run has no record: %v", err))
}

// tellForges tells the forges what is to be told, until ctx ends. What could not be told is told by the next server.
func (s *Server) tellForges(ctx context.Context) {
	for {
		var list []report
		err := s.db.View(func(tx *bbolt.Tx) error {
			return each(tx, reportsBucket, false, func(_ []byte, r report) bool {
				list = append(list, r)
				return true
			})
		})
		var again <-chan time.Time
		for _, r := range list {
			f := s.forges[r.Pipeline]
			if f == nil { // it is not served any more
				err = s.told(r)
				continue
			}
			if err = f.send(ctx, r); err != nil && time.Since(r.Time) < reportFor {
				s.o.Note(fmt.Sprintf("the forge was not told the status of commit %.9s, and will be: %v", r.Commit, err))
				again = time.After(cmp.Or(s.o.reportPause, reportPause))
				continue
			}
			err = s.told(r)
		}
		if err != nil && again == nil {
			s.o.Note(fmt.Sprintf("the forge: %v", err))
		}
		select {
		case <-ctx.Done():
			return
		case <-s.reported:
		case <-again:
		}
	}
}

// told takes a report out, unless there is a newer one.
func (s *Server) told(r report) error {
	return s.db.Update(func(tx *bbolt.Tx) error {
		now, ok, err := get[report](tx, reportsBucket, r.key())
		if err != nil || !ok || !now.Time.Equal(r.Time) {
			return err
		}
		return put(tx, reportsBucket, r.key(), nil)
	})
}
