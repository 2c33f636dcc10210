package server

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/seed-b96de936/troop/core"
)

// maxForm is the most that a form may hold.
const maxForm = 64 << 10

// form reads the form of a request.
func form(w http.ResponseWriter, r *http.Request) (url.Values, error) {
	r.Body = http.MaxBytesReader(w, r.Body, maxForm)
	if err := r.ParseForm(); err != nil {
		return nil, userError("the form cannot be read: %w", err)
	}
	return r.PostForm, nil
}

// back leads to a page of this server, with a line about what was done.
func back(w http.ResponseWriter, r *http.Request, path, said string) error {
	if said != "" {
		path += "?said=" + url.QueryEscape(said)
	}
	http.Redirect(w, r, path, http.StatusSeeOther)
	return nil
}

// done leads to where an act is shown: to the page that it was done on when all went well, else to its own.
func done(w http.ResponseWriter, r *http.Request, a Act, path string, err error) error {
	if err != nil {
		return err
	}
	if a.Ended.IsZero() || a.Failed || path == "" {
		return back(w, r, fmt.Sprintf("/acts/%d", a.Number), "")
	}
	return back(w, r, path, cmp.Or(strings.Join(a.Output[max(0, len(a.Output)-1):], ""), "done: "+a.What))
}

// allowed checks the role of a caller in the environment that a run goes to.
func allowed(c caller, pipeline string) func(environment string) error {
	return func(environment string) error {
		if !c.in(pipeline, environment).atLeast(Operator) {
			return &statusError{http.StatusForbidden, "this needs the role operator" + in(pipeline, environment)}
		}
		return nil
	}
}

// begin puts a run that a caller wants into the queue.
func (s *Server) begin(ctx context.Context, v *served, o core.RunOptions, reason string) (Job, error) {
	if v.mirror != "" {
		if err := v.update(ctx); err != nil {
			return Job{}, err
		}
	}
	c := callerOf(ctx)
	return s.enqueue(ctx, v, request{options: o, by: c.Name, from: from(ctx), reason: reason, allowed: allowed(c, v.Name)})
}

func (s *Server) postRun(w http.ResponseWriter, r *http.Request) error {
	f, err := form(w, r)
	if err != nil {
		return err
	}
	o := core.RunOptions{
		Commit: strings.TrimSpace(f.Get("commit")), Branch: strings.TrimSpace(f.Get("branch")), Environment: f.Get("environment"),
		Until: core.StageID(strings.TrimSpace(f.Get("until"))), From: core.StageID(f.Get("from")), Force: f.Get("force") != "",
	}
	j, err := s.begin(r.Context(), s.of(r), o, f.Get("reason"))
	if err != nil {
		return err
	}
	return back(w, r, fmt.Sprintf("/p/%s/runs/%s", url.PathEscape(s.of(r).Name), j.Run.ID), "")
}

func (s *Server) postCancel(w http.ResponseWriter, r *http.Request) error {
	id, err := s.cancelled(r)
	if err != nil {
		return err
	}
	return back(w, r, fmt.Sprintf("/p/%s/runs/%s", url.PathEscape(s.of(r).Name), id), "cancelling; the stages that run are told first")
}

func (s *Server) postAdmit(w http.ResponseWriter, r *http.Request) error {
	j, err := s.admitted(r)
	if err != nil {
		return err
	}
	return back(w, r, fmt.Sprintf("/p/%s/runs/%s", url.PathEscape(s.of(r).Name), j.Run.ID), "it may begin")
}

// admitted lets the run of a fork begin that a request is about.
func (s *Server) admitted(r *http.Request) (Job, error) {
	_, id, err := s.find(r.Context(), s.of(r), r.PathValue("run"))
	if err != nil {
		return Job{}, err
	}
	return s.admit(r.Context(), s.of(r), id)
}

// cancelled cancels the run that a request is about, and records it.
func (s *Server) cancelled(r *http.Request) (core.RunID, error) {
	ctx, v := r.Context(), s.of(r)
	_, id, err := s.find(ctx, v, r.PathValue("run"))
	if err != nil {
		return "", err
	}
	j, ok, err := s.job(id)
	if err != nil {
		return "", err
	}
	c := callerOf(ctx)
	if ok {
		if err := allowed(c, v.Name)(j.Run.Environment); err != nil {
			return "", err
		}
	}
	if err := s.cancel(ctx, v, id, c.Name); err != nil {
		return "", err
	}
	now := time.Now()
	_, err = s.record(Act{Time: now, Ended: now, By: c.Name, From: from(ctx), Pipeline: v.Name, Place: j.Run.Environment, What: "cancel run " + id.Short()})
	return id, err
}

// environmentPath is the page of the environment that a request is about.
func (s *Server) environmentPath(r *http.Request) string {
	return fmt.Sprintf("/p/%s/environments/%s", url.PathEscape(s.of(r).Name), url.PathEscape(r.PathValue("environment")))
}

func (s *Server) postApprove(w http.ResponseWriter, r *http.Request) error {
	f, err := form(w, r)
	if err != nil {
		return err
	}
	a, err := s.approve(r.Context(), s.of(r), r.PathValue("environment"), f.Get("plan"), f.Get("reason"), f.Get("act") == "deny")
	return done(w, r, a, s.environmentPath(r), err)
}

// approve approves the plan that somebody has read, by its name; another one that was made meanwhile is refused.
func (s *Server) approve(ctx context.Context, v *served, environment, plan, reason string, deny bool) (Act, error) {
	if plan == "" {
		return Act{}, userError("which plan? Name the one that you have read")
	}
	words := reasoned([]string{"approve"}, reason)
	if deny {
		if reason == "" {
			return Act{}, userError("why? Who made the plan wants to know")
		}
		words = append(words, "--deny")
	}
	return s.do(ctx, v, environment, reason, words, []string{plan})
}

func (s *Server) postFlag(w http.ResponseWriter, r *http.Request) error {
	f, err := form(w, r)
	if err != nil {
		return err
	}
	a, err := s.setFlag(r.Context(), s.of(r), r.PathValue("environment"), flagChange{
		Act: f.Get("act"), Name: strings.TrimSpace(f.Get("name")), Value: f.Get("value"), Percent: strings.TrimSpace(f.Get("percent")), Reason: f.Get("reason"),
	})
	return done(w, r, a, s.environmentPath(r), err)
}

func (s *Server) postAlert(w http.ResponseWriter, r *http.Request) error {
	f, err := form(w, r)
	if err != nil {
		return err
	}
	a, err := s.tellAlert(r.Context(), s.of(r), r.PathValue("environment"), alertChange{
		Act: f.Get("act"), Match: f.Get("match"), For: f.Get("for"), Reason: f.Get("reason"),
	})
	return done(w, r, a, s.environmentPath(r), err)
}

// postDrift compares the hosts with what the environment wants.
func (s *Server) postDrift(w http.ResponseWriter, r *http.Request) error {
	a, err := s.do(r.Context(), s.of(r), r.PathValue("environment"), "", []string{"drift"}, nil)
	return done(w, r, a, "", err)
}

func (s *Server) postAction(w http.ResponseWriter, r *http.Request) error {
	f, err := form(w, r)
	if err != nil {
		return err
	}
	x, err := s.of(r).action(r.Context(), r.PathValue("type"), r.PathValue("action"))
	if err != nil {
		return err
	}
	args := map[string]string{}
	for name := range f {
		args[name] = f.Get(name)
	}
	a, err := s.call(r.Context(), s.of(r), r.PathValue("environment"), x, args, f.Get("reason"))
	// What it said is the point of it: its own page shows it.
	return done(w, r, a, "", err)
}

func (s *Server) signInPage(w http.ResponseWriter, r *http.Request) error {
	return s.render(w, r, "sign-in", page{Title: "Sign in", Body: struct {
		To, Name string
		OIDC     bool
	}{local(r.URL.Query().Get("to")), "", s.oidc != nil}})
}

// local is a path of this server to which a sign-in leads; anything else leads to the first page.
func local(to string) string {
	if u, err := url.Parse(to); err != nil || u.Host != "" || u.Scheme != "" || !strings.HasPrefix(u.Path, "/") || strings.HasPrefix(to, "//") || strings.Contains(to, `\`) {
		return "/"
	}
	return to
}

func (s *Server) postSignIn(w http.ResponseWriter, r *http.Request) error {
	f, err := form(w, r)
	if err != nil {
		return err
	}
	name := strings.TrimSpace(f.Get("name"))
	if !s.limits.allow("from "+address(r)) || !s.limits.allow("name "+name) {
		return &statusError{http.StatusTooManyRequests, "too many tries; wait for a minute"}
	}
	if err := s.signIn(name, f.Get("password")); err != nil {
		now := time.Now()
		if _, rerr := s.record(Act{Time: now, Ended: now, Failed: true, By: "somebody", From: address(r), What: fmt.Sprintf("sign in as %.63q", name)}); rerr != nil {
			return rerr
		}
		w.WriteHeader(http.StatusUnauthorized)
		return s.render(w, r, "sign-in", page{Title: "Sign in", Said: err.Error(), Body: struct {
			To, Name string
			OIDC     bool
		}{local(f.Get("to")), name, s.oidc != nil}})
	}
	return s.enter(w, r, name, local(f.Get("to")))
}

// enter begins a session and leads to a page.
func (s *Server) enter(w http.ResponseWriter, r *http.Request, name, to string) error {
	if err := s.open(w, r, name); err != nil {
		return err
	}
	now := time.Now()
	if _, err := s.record(Act{Time: now, Ended: now, By: name, From: address(r), What: "sign in"}); err != nil {
		return err
	}
	http.Redirect(w, r, to, http.StatusSeeOther)
	return nil
}

func (s *Server) postSignOut(w http.ResponseWriter, r *http.Request) error {
	if err := s.signOut(w, r); err != nil {
		return err
	}
	return back(w, r, "/sign-in", "")
}

func (s *Server) invitePage(w http.ResponseWriter, r *http.Request) error {
	return s.render(w, r, "invite", page{Title: "Choose a password", Body: minPassword})
}

func (s *Server) postInvite(w http.ResponseWriter, r *http.Request) error {
	f, err := form(w, r)
	if err != nil {
		return err
	}
	if !s.limits.allow("from " + address(r)) {
		return &statusError{http.StatusTooManyRequests, "too many tries; wait for a minute"}
	}
	if f.Get("password") != f.Get("again") {
		err = userError("the two passwords differ")
	}
	name := ""
	if err == nil {
		name, err = s.accept(r.PathValue("secret"), f.Get("password"))
	}
	if err != nil {
		w.WriteHeader(statusOf(err))
		return s.render(w, r, "invite", page{Title: "Choose a password", Said: err.Error(), Body: minPassword})
	}
	return s.enter(w, r, name, "/")
}

// accountBody is what the page of an account shows.
type accountBody struct {
	Account
	Tokens []Token
	Roles  []Role
	Fresh  string // a token that was just made, which is shown once
}

func (s *Server) accountPage(w http.ResponseWriter, r *http.Request) error {
	return s.showAccount(w, r, "")
}

func (s *Server) showAccount(w http.ResponseWriter, r *http.Request, fresh string) error {
	c := callerOf(r.Context())
	tokens, err := s.tokens(c.Name)
	if err != nil {
		return err
	}
	return s.render(w, r, "account", page{Title: c.Name, Body: accountBody{c.Account, tokens, roles[1:], fresh}})
}

func (s *Server) postToken(w http.ResponseWriter, r *http.Request) error {
	f, err := form(w, r)
	if err != nil {
		return err
	}
	c := callerOf(r.Context())
	if c.most != Owner {
		return &statusError{http.StatusForbidden, "a token makes no other tokens; sign in"}
	}
	days, err := time.ParseDuration(cmp.Or(f.Get("days"), "90") + "h")
	if err != nil {
		return userError("for how many days? %q is no number", f.Get("days"))
	}
	fresh, err := s.token(c.Name, strings.TrimSpace(f.Get("label")), Role(f.Get("most")), days*24)
	if err != nil {
		return err
	}
	now := time.Now()
	if _, err := s.record(Act{Time: now, Ended: now, By: c.Name, From: from(r.Context()), What: "make the token " + f.Get("label")}); err != nil {
		return err
	}
	return s.showAccount(w, r, fresh)
}

func (s *Server) postRevoke(w http.ResponseWriter, r *http.Request) error {
	f, err := form(w, r)
	if err != nil {
		return err
	}
	c := callerOf(r.Context())
	if err := s.revoke(c.Name, f.Get("label")); err != nil {
		return err
	}
	now := time.Now()
	if _, err := s.record(Act{Time: now, Ended: now, By: c.Name, From: from(r.Context()), What: "revoke the token " + f.Get("label")}); err != nil {
		return err
	}
	return back(w, r, "/account", "revoked")
}

// peopleBody is what the page of all accounts shows.
type peopleBody struct {
	Accounts []Account
	Places   []string
	Roles    []Role
	Link     string // of an invitation that was just made
}

func (s *Server) peoplePage(w http.ResponseWriter, r *http.Request) error {
	return s.showPeople(w, r, "")
}

func (s *Server) showPeople(w http.ResponseWriter, r *http.Request, link string) error {
	b := peopleBody{Places: []string{Everywhere}, Roles: roles[1:], Link: link}
	var err error
	if b.Accounts, err = s.accounts(); err != nil {
		return err
	}
	for _, name := range s.names {
		b.Places = append(b.Places, name)
		p, err := s.pipelines[name].read(r.Context())
		if err != nil {
			continue // its own page says why
		}
		for _, e := range p.Environments {
			b.Places = append(b.Places, name+"/"+e.Name)
		}
	}
	return s.render(w, r, "people", page{Title: "People", Body: b})
}

func (s *Server) postPerson(w http.ResponseWriter, r *http.Request) error {
	f, err := form(w, r)
	if err != nil {
		return err
	}
	name, place, role := strings.TrimSpace(f.Get("name")), f.Get("place"), Role(f.Get("role"))
	link, what := "", ""
	switch f.Get("act") {
	case "invite":
		what = "invite " + name
		link, err = s.invite(name, map[string]Role{})
	case "give":
		what = fmt.Sprintf("give %s the role %s in %s", name, cmp.Or(string(role), "none"), place)
		err = s.give(name, place, role)
	case "remove":
		what = "remove " + name
		err = s.remove(name)
	default:
		err = userError("an account can be invited or removed, or be given a role, not %q", f.Get("act"))
	}
	if err != nil {
		return err
	}
	now := time.Now()
	if _, err := s.record(Act{Time: now, Ended: now, By: callerOf(r.Context()).Name, From: from(r.Context()), What: what}); err != nil {
		return err
	}
	if link != "" {
		return s.showPeople(w, r, link)
	}
	return back(w, r, "/people", "done: "+what)
}
