// Package logincmd has the commands of troop that are about a server elsewhere: login, logout, and those that it carries out.
package logincmd

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
	"github.com/seed-b96de936/troop/core/mask"
	"github.com/seed-b96de936/troop/core/ui"
)

// App is what the commands use of the program.
type App struct {
	UI     func() *ui.UI
	Mask   *mask.Mask
	In     io.Reader
	Out    func() io.Writer // for whole texts
	Errors io.Writer
	JSON   *bool
	Env    *string                                       // the environment that the command is about
	Local  *bool                                         // no server carries the command out
	Name   func(ctx context.Context, path string) string // of the pipeline of a manifest; empty: there is none
	Exit   func(status int) error                        // ends the program with it
}

// LoginCmd is the command login.
func (a App) LoginCmd() *cobra.Command {
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
			a.Mask.Add(s.Token)
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
			a.UI().JSON(map[string]any{"url": s.URL, "pipelines": names})
			a.UI().Printf("logged in to %s: pipelines %s", s.URL, strings.Join(names, ", "))
			return nil
		},
	}
}

// token asks for a token, or reads it from stdin.
func (a App) token(at string) (string, error) {
	if ask := a.UI().Secrets(a.In); ask != nil {
		text, err := ask(fmt.Sprintf("Token, made at %s/account: ", strings.TrimRight(at, "/")))
		return string(text), err
	}
	text, err := io.ReadAll(io.LimitReader(a.In, 4096))
	return string(text), err
}

// LogoutCmd is the command logout.
func (a App) LogoutCmd() *cobra.Command {
	return &cobra.Command{
		Use: "logout", Short: "Work on this machine again", Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error { return login.Forget() },
	}
}

// atServer are the commands that a server carries out, beside the actions of plugins; with their subcommands.
var atServer = []string{"run", "runs", "show", "logs", "why", "approve", "hosts", "events", "alerts", "flag"}

// Forward has the server that the person is logged in to carry a command out, if it is one for a server.
func (a App) Forward(c *cobra.Command) error {
	words := strings.Fields(c.CommandPath())[1:]
	saved := c.Flags().Lookup("saved")
	if *a.Local || len(words) == 0 || !slices.Contains(atServer, words[0]) && (saved == nil || !saved.Changed) && (!c.HasParent() || c.Parent().GroupID != "plugin") {
		return nil
	}
	s, err := login.Load()
	if s == nil || err != nil {
		return err
	}
	a.Mask.Add(s.Token)
	c.RunE = func(c *cobra.Command, args []string) error {
		path, rest := line.Manifest(args)
		pipeline, err := s.Pipeline(c.Context(), a.Name(c.Context(), path))
		if err != nil {
			return err
		}
		a.UI().Note("on " + s.URL + ", pipeline " + pipeline)
		if words[0] == "run" {
			return a.runAt(c.Context(), s, pipeline, path, c.Flags())
		}
		command := login.Command{Words: words, Arguments: rest, Environment: *a.Env}
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
		code, err := s.Do(c.Context(), pipeline, command, a.Out(), a.Errors)
		if err == nil && code != 0 {
			err = a.Exit(code)
		}
		return err
	}
	return nil
}

// runAt has a server begin a run, and shows what it does.
func (a App) runAt(ctx context.Context, s *login.Server, pipeline, path string, f *pflag.FlagSet) error {
	for _, name := range []string{"dirty", "watch", "workspace-dir", "var", "var-file", "plugin-dir"} {
		if f.Changed(name) {
			return line.Usage(fmt.Errorf("a server runs commits that it can fetch, by its own settings: leave --%s out, or add --local", name))
		}
	}
	text := func(name string) string { return f.Lookup(name).Value.String() }
	r := login.Run{Commit: text("commit"), Branch: text("branch"), Tag: text("tag"), Environment: *a.Env, Until: text("until"), From: text("from"), Force: text("force") == "true"}
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
	a.UI().Note(fmt.Sprintf("run %s: %s", id.Short(), s.Page(pipeline, id)))
	run, err := a.follow(ctx, s, pipeline, id)
	switch {
	case ctx.Err() != nil:
		return fmt.Errorf("%w; the run goes on: troop logs --follow %s", context.Cause(ctx), id.Short())
	case err != nil:
		return err
	}
	a.UI().JSON(run)
	if !run.Status.Passed() {
		return errors.New(strings.TrimSuffix(fmt.Sprintf("run %s %s: %s", id.Short(), run.Status, run.Reason), ": "))
	}
	a.UI().Printf("run %s %s", id.Short(), run.Status)
	return nil
}

// follow shows a run's log until it ends, and returns the run.
func (a App) follow(ctx context.Context, s *login.Server, pipeline string, id core.RunID) (core.Run, error) {
	r, err := s.Await(ctx, pipeline, id)
	if err != nil {
		return r, err
	}
	out := a.Out()
	if *a.JSON {
		out = io.Discard
	}
	if _, err := s.Do(ctx, pipeline, login.Command{Words: []string{"logs"}, Options: []string{"--follow"}, Arguments: []string{string(id)}}, out, a.Errors); err != nil {
		return r, err
	}
	return s.Await(ctx, pipeline, id)
}
