package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/seed-b96de936/troop/core"
	"github.com/seed-b96de936/troop/core/cmd/troop/internal/line"
	"github.com/seed-b96de936/troop/core/git"
	"github.com/seed-b96de936/troop/core/login"
	"github.com/seed-b96de936/troop/core/project"
)

func (a *app) loginCmd() *cobra.Command {
	return &cobra.Command{
		Use: "login URL", Short: "Have a troop server carry out what you ask for",
		Long: `Login keeps the address of a troop server and a token of yours, which you make on your account's page there. From then on the
server carries out run, runs, show, logs, why, approve, plan --saved, hosts, events, alerts, flag and the actions of
plugins such as deploy, with your role there; what they print is the same. A manifest in this folder, or the one that is named,
says which pipeline is meant. With --local a command works on this machine; troop logout ends it.

The token is asked for, or read from stdin. A job of CI sets TROOP_SERVER and TROOP_TOKEN instead.`,
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			token, err := a.token(args[0])
			if err != nil {
				return err
			}
			s, err := login.New(args[0], token)
			if err != nil {
				return err
			}
			a.mask.Add(s.Token)
			list, err := s.Pipelines(c.Context())
			if err != nil {
				return err
			}
			if err := s.Save(); err != nil {
				return err
			}
			names := []string{}
			for _, p := range list {
				names = append(names, p.Name)
			}
			a.ui.JSON(map[string]any{"url": s.URL, "pipelines": names})
			a.ui.Printf("logged in to %s: pipelines %s", s.URL, strings.Join(names, ", "))
			return nil
		},
	}
}

// token asks for a token, or reads it from stdin.
func (a *app) token(at string) (string, error) {
	if ask := a.ui.Secrets(a.in); ask != nil {
		text, err := ask(fmt.Sprintf("Token, made at %s/account: ", strings.TrimRight(at, "/")))
		return string(text), err
	}
	text, err := io.ReadAll(io.LimitReader(a.in, 4096))
	return string(text), err
}

func (a *app) logoutCmd() *cobra.Command {
	return &cobra.Command{
		Use: "logout", Short: "Work on this machine again", Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error { return login.Forget() },
	}
}

// atServer are the commands that a server carries out, beside the actions of plugins; with their subcommands.
var atServer = []string{"run", "runs", "show", "logs", "why", "approve", "hosts", "events", "alerts", "flag"}

// forward has the server that the person is logged in to carry a command out, if it is one for a server.
func (a *app) forward(c *cobra.Command) error {
	words := strings.Fields(c.CommandPath())[1:]
	saved := c.Flags().Lookup("saved")
	if a.local || len(words) == 0 || !slices.Contains(atServer, words[0]) && (saved == nil || !saved.Changed) && (!c.HasParent() || c.Parent().GroupID != "plugin") {
		return nil
	}
	s, err := login.Load()
	if s == nil || err != nil {
		return err
	}
	a.mask.Add(s.Token)
	c.RunE = func(c *cobra.Command, args []string) error {
		path, rest := line.Manifest(args)
		pipeline, err := s.Pipeline(c.Context(), a.pipelineIn(path))
		if err != nil {
			return err
		}
		a.ui.Note("on " + s.URL + ", pipeline " + pipeline)
		if words[0] == "run" {
			return a.runAt(c.Context(), s, pipeline, path, c.Flags())
		}
		command := login.Command{Words: words, Arguments: rest, Environment: a.env}
		c.Flags().Visit(func(f *pflag.Flag) {
			values := []string{f.Value.String()}
			if list, ok := f.Value.(pflag.SliceValue); ok {
				values = list.GetSlice()
			}
			for _, value := range values {
				if f.Name != "env" {
					command.Options = append(command.Options, "--"+f.Name+"="+value)
				}
			}
		})
		return a.doAt(c.Context(), s, pipeline, command)
	}
	return nil
}

// pipelineIn is the name of the pipeline of a manifest; empty: there is none.
func (a *app) pipelineIn(path string) string {
	a.offline = true
	p, _, err := a.read(func(ctx context.Context, _ string, o project.Options) (*project.Project, error) {
		o.Secrets, o.Local = false, true
		return project.Read(ctx, path, o)
	}, nil)
	if err != nil {
		return ""
	}
	return p.Name
}

// doAt has a server carry a command out.
func (a *app) doAt(ctx context.Context, s *login.Server, pipeline string, c login.Command) error {
	code, err := s.Do(ctx, pipeline, c, a.text, a.errOut)
	if err == nil && code != 0 {
		err = exit(code)
	}
	return err
}

// runAt has a server begin a run, and shows what it does.
func (a *app) runAt(ctx context.Context, s *login.Server, pipeline, path string, f *pflag.FlagSet) error {
	for _, name := range []string{"dirty", "watch", "workspace-dir", "var", "var-file", "plugin-dir"} {
		if f.Changed(name) {
			return line.Usage(fmt.Errorf("a server runs commits that it can fetch, by its own settings: leave --%s out, or add --local", name))
		}
	}
	text := func(name string) string { return f.Lookup(name).Value.String() }
	r := login.Run{Commit: text("commit"), Branch: text("branch"), Tag: text("tag"), Environment: a.env, Until: text("until"), Force: text("force") == "true"}
	if r.Commit == "HEAD" { // of this folder
		dir := path
		if info, err := os.Stat(dir); err != nil || !info.IsDir() {
			dir = "."
		}
		if repo, err := git.Open(ctx, dir); err == nil {
			if head, err := repo.Resolve(ctx, "HEAD"); err == nil {
				r.Commit = head.Hash
				if r.Branch == "" {
					r.Branch = head.Branch
				}
			}
		}
	}
	id, err := s.Begin(ctx, pipeline, r)
	if err != nil {
		return err
	}
	a.ui.Note(fmt.Sprintf("run %s: %s", id.Short(), s.Page(pipeline, id)))
	run, err := a.follow(ctx, s, pipeline, id)
	switch {
	case ctx.Err() != nil:
		return fmt.Errorf("%w; the run goes on: troop logs --follow %s", context.Cause(ctx), id.Short())
	case err != nil:
		return err
	}
	a.ui.JSON(run)
	if !run.Status.Passed() {
		return errors.New(strings.TrimSuffix(fmt.Sprintf("run %s %s: %s", id.Short(), run.Status, run.Reason), ": "))
	}
	a.ui.Printf("run %s %s", id.Short(), run.Status)
	return nil
}

// follow shows a run's log until it ends, and returns the run.
func (a *app) follow(ctx context.Context, s *login.Server, pipeline string, id core.RunID) (core.Run, error) {
	r, err := s.Await(ctx, pipeline, id)
	if err != nil {
		return r, err
	}
	out := a.text
	if a.json {
		out = io.Discard
	}
	if _, err := s.Do(ctx, pipeline, login.Command{Words: []string{"logs"}, Options: []string{"--follow"}, Arguments: []string{string(id)}}, out, a.errOut); err != nil {
		return r, err
	}
	return s.Await(ctx, pipeline, id)
}
