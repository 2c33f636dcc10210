package server

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/seed-b96de936/troop/core"
	"github.com/seed-b96de936/troop/core/login"
)

// at is the server as somebody at another machine has it.
func (p *person) at(name string, most Role) *login.Server {
	p.Helper()
	secret, err := p.world.token(name, "laptop", most, time.Hour)
	if err != nil {
		p.Fatal(err)
	}
	return &login.Server{URL: p.url, Token: secret}
}

// TestCommands has people at other machines give commands of the troop program.
func TestCommands(t *testing.T) {
	w := newWorld(t, false)
	w.free()
	viewer := w.person("v", Viewer).at("v", Viewer)
	operator := w.person("p", Operator).at("p", Operator)
	local := w.personIn("l", map[string]Role{"shop/lab": Operator}).at("l", Operator)
	said := func(s *login.Server, c login.Command) (out, errOut string, code int, err error) {
		var o, e bytes.Buffer
		code, err = s.Do(t.Context(), "shop", c, &o, &e)
		return o.String(), e.String(), code, err
	}
	for name, tt := range map[string]struct {
		who  *login.Server
		c    login.Command
		want string // of the output, or of the refusal
		code int    // -1: refused
	}{
		"look":                    {viewer, login.Command{Words: []string{"runs"}, Options: []string{"--limit=3", "--json=true"}}, "runs --limit=3 --json=true --local ", 0},
		"arguments follow":        {viewer, login.Command{Words: []string{"show"}, Arguments: []string{"--state=/etc"}}, "pipeline.hcl --state=/etc\n", 0},
		"by name":                 {viewer, login.Command{Words: []string{"flag", "get"}, Arguments: []string{"x"}, Environment: "lab"}, "by v (troop serve)", 0},
		"act":                     {operator, login.Command{Words: []string{"flag", "set"}, Options: []string{"--reason=why"}, Arguments: []string{"x", "true"}, Environment: "lab"}, "flag set --reason=why --local --env=lab -- ", 0},
		"an act fails":            {operator, login.Command{Words: []string{"flag", "unset"}, Arguments: []string{"wrong"}, Environment: "lab"}, "flag unset", 1},
		"in one's own place":      {local, login.Command{Words: []string{"flag", "unset"}, Arguments: []string{"x"}, Environment: "lab"}, "flag unset", 0},
		"in another place":        {local, login.Command{Words: []string{"flag", "unset"}, Arguments: []string{"x"}, Environment: "live"}, "needs the role operator in shop/live", -1},
		"without the role":        {viewer, login.Command{Words: []string{"flag", "unset"}, Arguments: []string{"x"}, Environment: "lab"}, "needs the role operator", -1},
		"approve as operator":     {operator, login.Command{Words: []string{"approve"}, Arguments: []string{"0123"}, Environment: "lab"}, "needs the role approver", -1},
		"which environment":       {viewer, login.Command{Words: []string{"events"}}, "environment", -1},
		"no such environment":     {viewer, login.Command{Words: []string{"events"}, Environment: "moon"}, "moon", -1},
		"a file of the server":    {operator, login.Command{Words: []string{"runs"}, Options: []string{"--var-file=/etc/shadow"}}, "does not take --var-file", -1},
		"a plugin of the server":  {operator, login.Command{Words: []string{"runs"}, Options: []string{"--plugin-dir=/tmp"}}, "does not take --plugin-dir", -1},
		"a word for an option":    {operator, login.Command{Words: []string{"runs"}, Options: []string{"limit"}}, "does not take limit", -1},
		"a plan is made":          {operator, login.Command{Words: []string{"plan"}, Environment: "lab"}, "with --saved only", -1},
		"another command":         {operator, login.Command{Words: []string{"ssh"}, Environment: "lab"}, "troop ssh is not a command that a server", -1},
		"options among the words": {operator, login.Command{Words: []string{"runs", "--plugin-dir=/tmp"}}, "is not a command that a server", -1},
		"nothing":                 {operator, login.Command{}, "is not a command", -1},
		"a token that is unknown": {&login.Server{URL: w.url, Token: "x"}, login.Command{Words: []string{"runs"}}, "does not know the token", -1},
		"a server that has ended": {&login.Server{URL: "http://127.0.0.1:1", Token: "x"}, login.Command{Words: []string{"runs"}}, "does not answer", -1},
	} {
		out, errOut, code, err := said(tt.who, tt.c)
		if err != nil {
			out, code = err.Error(), -1
		}
		if !strings.Contains(out, tt.want) || code != tt.code || errOut != "" {
			t.Errorf("%s: exit status %d, %q %q; want %d, %q", name, code, out, errOut, tt.code, tt.want)
		}
	}
	acts, err := w.acts(caller{Account: Account{Roles: map[string]Role{Everywhere: Owner}}, most: Owner}, "shop", 0, 10)
	var done []string
	for _, a := range acts {
		done = append(done, a.By+": "+a.What+" "+a.Reason)
	}
	slices.Sort(done)
	if want := []string{"l: flag unset x ", "p: flag set --reason=why x true why", "p: flag unset wrong "}; err != nil || !slices.Equal(done, want) {
		t.Errorf("the audit trail has %q, want %q, %v", done, want, err)
	}
}

// TestRunAtServer begins a run from another machine and waits for its end. One who looks and leaves ends nothing but the look.
func TestRunAtServer(t *testing.T) {
	w := newWorld(t, false)
	s := w.person("p", Operator).at("p", Operator)
	ctx := t.Context()
	if name, err := s.Pipeline(ctx, ""); name != "shop" || err != nil {
		t.Errorf("the only pipeline: %q, %v", name, err)
	}
	if _, err := s.Pipeline(ctx, "moon"); !errors.As(err, new(*core.NotFoundError)) {
		t.Errorf("a pipeline that is not there: %v", err)
	}
	id, err := s.Begin(ctx, "shop", login.Run{Environment: "lab"})
	if err != nil {
		t.Fatal(err)
	}
	if r, err := s.Await(ctx, "shop", id); err != nil || r.Status != core.Running {
		t.Fatalf("%s, %v", r.Status, err)
	}
	leave, gone := context.WithCancel(ctx)
	gone()
	if _, err := s.Do(leave, "shop", login.Command{Words: []string{"logs"}, Options: []string{"--follow"}}, t.Output(), t.Output()); !errors.Is(err, context.Canceled) {
		t.Errorf("who has left hears %v", err)
	}
	w.free()
	w.until("the run passes", func() bool {
		r, err := s.Await(ctx, "shop", id)
		return err == nil && r.Status == core.Passed
	})
	_, err = s.Begin(ctx, "shop", login.Run{Environment: "moon"})
	if status := new(login.StatusError); !errors.As(err, &status) || status.Status/100 != 4 {
		t.Errorf("a run for an environment that is not there: %v", err)
	}
}
