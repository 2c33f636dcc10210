package server

import (
	"cmp"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"

	"go.etcd.io/bbolt"

	"github.com/seed-b96de936/troop/core"
)

// Webhooks start runs for what was pushed to a forge. Each proves with the pipeline's secret that it comes from there; what
// it says besides the name of the branch or tag is not believed: the commit is fetched from the remote itself.

// push is what the forges' payloads have in common.
type push struct {
	Ref     string `json:"ref"`
	After   string `json:"after"`
	Deleted bool   `json:"deleted"`
}

// memory is how long a delivery, or a request with a key, is remembered, so that it is not taken twice.
const memory = 7 * 24 * time.Hour

// github takes what GitHub sends: https://docs.github.com/webhooks/using-webhooks/validating-webhook-deliveries
func (s *Server) github(w http.ResponseWriter, r *http.Request) error {
	return s.signed(w, r, "github", "X-Hub-Signature-256", "sha256=", "X-GitHub-Delivery", "X-GitHub-Event")
}

// gitea takes what Gitea and Forgejo send.
func (s *Server) gitea(w http.ResponseWriter, r *http.Request) error {
	return s.signed(w, r, "gitea", "X-Gitea-Signature", "", "X-Gitea-Delivery", "X-Gitea-Event")
}

// signed takes a delivery with an HMAC-SHA256 of its body.
func (s *Server) signed(w http.ResponseWriter, r *http.Request, sender, signature, prefix, delivery, event string) error {
	body, v, secret, err := s.delivered(r)
	if err != nil {
		return err
	}
	given, err := hex.DecodeString(strings.TrimPrefix(r.Header.Get(signature), prefix))
	if err != nil || !hmac.Equal(given, sign(secret, body)) {
		return errUnsigned
	}
	kind := r.Header.Get(event)
	if kind == "ping" {
		return accepted(w, "pong")
	}
	if kind == "pull_request" {
		return s.requested(w, r, v, sender, r.Header.Get(delivery), body)
	}
	if kind != "push" && kind != "create" {
		return accepted(w, "nothing to do for "+kind)
	}
	if kind == "create" {
		return accepted(w, "the push says it, too")
	}
	return s.pushed(w, r, v, sender, r.Header.Get(delivery), body)
}

// gitlab takes what GitLab sends, which carries the secret itself: https://docs.gitlab.com/user/project/integrations/webhooks/
func (s *Server) gitlab(w http.ResponseWriter, r *http.Request) error {
	body, v, secret, err := s.delivered(r)
	if err != nil {
		return err
	}
	if subtle.ConstantTimeCompare([]byte(r.Header.Get("X-Gitlab-Token")), secret) != 1 {
		return errUnsigned
	}
	delivery := cmp.Or(r.Header.Get("X-Gitlab-Event-UUID"), r.Header.Get("Idempotency-Key"))
	switch kind := r.Header.Get("X-Gitlab-Event"); kind {
	case "Merge Request Hook":
		return s.requested(w, r, v, "gitlab", delivery, body)
	case "Push Hook", "Tag Push Hook":
		return s.pushed(w, r, v, "gitlab", delivery, body)
	default:
		return accepted(w, "nothing to do for "+kind)
	}
}

// maxAge is how old a delivery to the generic webhook may be.
const maxAge = 5 * time.Minute

// generic takes {"ref": "refs/heads/main"} from any program, with the time and the signature over both, in hex:
//
//	X-Troop-Time: 2026-01-31T12:00:00Z
//	X-Troop-Signature: HMAC-SHA256(secret, X-Troop-Time + "\n" + body)
func (s *Server) generic(w http.ResponseWriter, r *http.Request) error {
	body, v, secret, err := s.delivered(r)
	if err != nil {
		return err
	}
	stamp := r.Header.Get("X-Troop-Time")
	given, err := hex.DecodeString(r.Header.Get("X-Troop-Signature"))
	if err != nil || !hmac.Equal(given, sign(secret, []byte(stamp+"\n"+string(body)))) {
		return errUnsigned
	}
	t, err := time.Parse(time.RFC3339, stamp)
	if age := time.Since(t); err != nil || age > maxAge || age < -maxAge {
		return &statusError{http.StatusForbidden, "X-Troop-Time is not within 5 minutes of this server's clock, as in 2026-01-31T12:00:00Z"}
	}
	return s.pushed(w, r, v, "generic", r.Header.Get("X-Troop-Signature"), body)
}

var errUnsigned = &statusError{http.StatusForbidden, "the signature does not fit the body and this pipeline's secret"}

func sign(secret, body []byte) []byte {
	h := hmac.New(sha256.New, secret)
	h.Write(body)
	return h.Sum(nil)
}

// delivered reads a delivery. A pipeline that is not there looks like one whose secret is wrong.
func (s *Server) delivered(r *http.Request) ([]byte, *served, []byte, error) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, nil, nil, err
	}
	name := r.PathValue("pipeline")
	v, secret := s.pipelines[name], of(s.o.Secrets, name)
	if v == nil || secret == "" {
		return nil, nil, nil, errUnsigned
	}
	return body, v, []byte(secret), nil
}

// pushed starts the run of what was pushed, once for each delivery.
func (s *Server) pushed(w http.ResponseWriter, r *http.Request, v *served, sender, delivery string, body []byte) error {
	var p push
	if err := json.Unmarshal(body, &p); err != nil {
		return userError("the body is no JSON text of a push: %w", err)
	}
	o := core.RunOptions{}
	var isBranch, isTag bool
	o.Branch, isBranch = strings.CutPrefix(p.Ref, "refs/heads/")
	if !isBranch {
		o.Branch = ""
		o.Tag, isTag = strings.CutPrefix(p.Ref, "refs/tags/")
	}
	if !isBranch && !isTag {
		return userError("%q is neither refs/heads/BRANCH nor refs/tags/TAG", p.Ref)
	}
	if p.Deleted || p.After != "" && strings.Trim(p.After, "0") == "" {
		return accepted(w, "it was deleted")
	}
	o.Commit = p.Ref
	return s.wanted(w, r, v, sender, delivery, request{options: o, push: true})
}

// pull is what the payloads of pull requests and merge requests have in common, as GitHub and Gitea have it, or GitLab.
type pull struct {
	Action  string `json:"action"`
	Number  int    `json:"number"`
	Request struct {
		Head, Base struct {
			SHA  string `json:"sha"`
			Repo struct {
				Name string `json:"full_name"`
			} `json:"repo"`
		}
	} `json:"pull_request"`
	GitLab struct {
		Action string `json:"action"`
		Number int    `json:"iid"`
		Before string `json:"oldrev"` // of an update with new commits
		Commit struct {
			ID string `json:"id"`
		} `json:"last_commit"`
		Source struct {
			Name string `json:"path_with_namespace"`
		} `json:"source"`
		Target struct {
			Name string `json:"path_with_namespace"`
		} `json:"target"`
	} `json:"object_attributes"`
}

// requested puts the run of a fork's pull request into the queue, where it waits until somebody lets it begin. That of a branch
// of the repository itself was pushed there. It goes to an environment only if a trigger names its branch, pull/NUMBER.
func (s *Server) requested(w http.ResponseWriter, r *http.Request, v *served, sender, delivery string, body []byte) error {
	var p pull
	if err := json.Unmarshal(body, &p); err != nil {
		return userError("the body is no JSON text of a pull request: %w", err)
	}
	action, number, fork, target, ref, head := p.Action, p.Number, p.Request.Head.Repo.Name, p.Request.Base.Repo.Name, "refs/pull/%d/head", p.Request.Head.SHA
	if sender == "gitlab" {
		action, number, fork, target, ref, head = p.GitLab.Action, p.GitLab.Number, p.GitLab.Source.Name, p.GitLab.Target.Name, "refs/merge-requests/%d/head", p.GitLab.Commit.ID
		if action == "update" && p.GitLab.Before == "" {
			return accepted(w, "its commit is the same")
		}
	}
	if !slices.Contains([]string{"opened", "open", "reopened", "reopen", "synchronize", "synchronized", "update"}, action) {
		return accepted(w, "nothing to do when it is "+action)
	}
	if number < 1 || fork == "" || target == "" {
		return userError("the body does not say which pull request it is, of which fork")
	}
	if err := s.remember(v, head, number); err != nil {
		return err
	}
	if fork == target {
		return accepted(w, "the push says it, too")
	}
	branch := fmt.Sprintf("pull/%d", number)
	if err := s.replaced(r.Context(), v.Name, branch); err != nil {
		return err
	}
	return s.wanted(w, r, v, sender, delivery, request{options: core.RunOptions{Commit: fmt.Sprintf(ref, number), Branch: branch}, fork: fork})
}

// wanted puts a run into the queue that a delivery wants, once for each.
func (s *Server) wanted(w http.ResponseWriter, r *http.Request, v *served, sender, delivery string, q request) error {
	if delivery == "" {
		return userError("the delivery has no ID, by which a second one of the same is known")
	}
	if v.mirror == "" {
		return userError("%s is a folder on this machine; a webhook needs a pipeline of a git remote", v.Name)
	}
	if fresh, err := s.first(sender + " " + v.Name + " " + delivery); err != nil || !fresh {
		return cmp.Or(err, accepted(w, "this delivery was taken before"))
	}
	if err := v.update(r.Context()); err != nil {
		return errors.Join(err, s.forget(sender+" "+v.Name+" "+delivery)) // the forge sends it again
	}
	q.by, q.from = "webhook of "+sender, address(r)
	j, err := s.enqueue(r.Context(), v, q)
	if errors.Is(err, errNoRun) {
		return accepted(w, err.Error())
	}
	if err != nil {
		return err
	}
	return accepted(w, "run "+string(j.Run.ID)+" waits")
}

func accepted(w http.ResponseWriter, said string) error {
	writeJSON(w, http.StatusAccepted, map[string]string{"said": said})
	return nil
}

// first reports whether a delivery is new, and remembers it.
func (s *Server) first(key string) (fresh bool, err error) {
	err = s.db.Update(func(tx *bbolt.Tx) error {
		if err := drop(tx, seenBucket, func(t time.Time) bool { return time.Since(t) > memory }); err != nil {
			return err
		}
		_, seen, err := get[time.Time](tx, seenBucket, []byte(key))
		if err != nil || seen {
			return err
		}
		fresh = true
		return put(tx, seenBucket, []byte(key), time.Now())
	})
	return fresh, err
}

func (s *Server) forget(key string) error {
	return s.db.Update(func(tx *bbolt.Tx) error { return put(tx, seenBucket, []byte(key), nil) })
}
