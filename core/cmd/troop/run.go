package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"slices"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/seed-b96de936/troop/core"
	"github.com/seed-b96de936/troop/core/engine"
	"github.com/seed-b96de936/troop/core/git"
	"github.com/seed-b96de936/troop/core/loader"
	"github.com/seed-b96de936/troop/core/notify"
	"github.com/seed-b96de936/troop/core/store"
)

// keep is what Prune leaves of old runs.
var keep = store.Keep{Workspaces: 3, Runs: 20}

func (a *app) validateCmd() *cobra.Command {
	return &cobra.Command{
		Use: "validate [MANIFEST]", Short: "Check a manifest and everything that it names",
		RunE: func(c *cobra.Command, args []string) error {
			p, rest, err := a.read(args)
			if err != nil {
				return err
			}
			if err := want(rest); err != nil {
				return err
			}
			engine := &engine.Engine{Plugins: a.plugins.Lazy()}
			diags := p.diags
			for _, d := range engine.Validate(c.Context(), p.Pipeline) {
				// What the manifest's own grammar refuses, a plugin does not know either.
				told := func(before core.Diagnostic) bool { return before.Range == d.Range && !before.Warning }
				if !slices.ContainsFunc(p.diags, told) {
					diags = append(diags, d)
				}
			}
			if len(diags) > 0 || a.json {
				a.diagnose(diags, p.sources)
			}
			if diags.HasErrors() {
				return badInput
			}
			a.ui.Printf("%s is valid: %d stages, %d environments", p.File, len(p.Stages), len(p.Environments))
			return nil
		},
	}
}

func (a *app) runCmd() *cobra.Command {
	var commit, branch, until string
	var force bool
	c := &cobra.Command{
		Use: "run [MANIFEST]", Short: "Run the pipeline for a commit",
		Long: `Run takes a commit, not the files as they lie there, through the stages of the pipeline. The environment is
the one that --env names, or the one that a trigger of the manifest gives to the commit's branch.

A stage whose outcome depends on the commit, its block and its plugin alone, such as build, test and analysis, is
skipped when it passed before with the same; so the run after one that failed goes on where that one stopped.

Exit status: 0 the run passed, 1 it did not, 2 the manifest or the command line is wrong.`,
		RunE: func(c *cobra.Command, args []string) error {
			p, rest, err := a.load(args)
			if err != nil {
				return err
			}
			if err := want(rest); err != nil {
				return err
			}
			repo, err := git.Open(c.Context(), p.Source.Path)
			if err != nil {
				return err
			}
			at, err := repo.Resolve(c.Context(), commit)
			if err != nil {
				return err
			}
			if branch == "" {
				branch = at.Branch
			}
			o := core.RunOptions{Commit: at.Hash, Branch: branch, Subject: at.Subject, Environment: a.env, Until: core.StageID(until), Force: force}
			triggered(p.Pipeline, &o)
			if dirty, err := repo.Dirty(c.Context()); err == nil && len(dirty) > 0 && commit == "HEAD" {
				a.note(fmt.Sprintf("%d changed or new files are in no commit, and so not in this run: %s", len(dirty), dirty[0]))
			}
			return a.execute(c.Context(), p, repo, o)
		},
	}
	f := c.Flags()
	f.StringVar(&commit, "commit", "HEAD", "`revision` to run")
	f.StringVar(&branch, "branch", "", "branch of the commit, when git does not know it")
	f.StringVar(&until, "until", "", "stop after the stage `TYPE.NAME`, or those of a TYPE, and what they need")
	f.BoolVar(&force, "force", false, "run stages and configure hosts also when nothing has changed, and in spite of drift")
	return c
}

// triggered fills in what the command line leaves to the triggers of the manifest.
func triggered(p *core.Pipeline, o *core.RunOptions) {
	for _, t := range p.Triggers {
		hit := slices.ContainsFunc(t.Branches, func(pattern string) bool {
			ok, err := path.Match(pattern, o.Branch)
			return ok && err == nil
		})
		if !hit || (o.Environment != "" && t.Environment != o.Environment) {
			continue
		}
		if o.Until == "" {
			o.Until = t.Until
		}
		o.Environment = t.Environment
		return
	}
}

func (a *app) execute(ctx context.Context, p *project, repo *git.Repository, o core.RunOptions) error {
	defer func() { _ = p.files.Close() }()
	envs := &environments{project: p, commit: o.Commit, plugins: a.plugins, force: o.Force, open: map[string]*environment{}, tell: a.note}
	defer envs.close()
	for _, name := range used(p.Pipeline, o.Environment) {
		s, err := environmentSecrets(environmentDir(p.Pipeline, name))
		if err != nil {
			return err
		}
		p.Secrets = append(p.Secrets, s.values()...)
	}
	engine := &engine.Engine{
		Plugins: a.plugins, Store: p.files, Folders: p.files, Source: repo, Environments: envs, Emit: a.ui.Emit,
	}
	run, err := engine.Run(ctx, p.Pipeline, o)
	a.ui.Close()
	if err != nil {
		if diags, ok := errors.AsType[core.Diagnostics](err); ok {
			return &diagnosed{diags, p.sources}
		}
		if missing, ok := errors.AsType[*core.NotFoundError](err); ok { // of --until or --env: nothing has begun
			return usage{missing}
		}
		return err
	}
	a.ui.Summary(run)
	envs.announce(context.WithoutCancel(ctx), run)
	if err := p.files.Prune(context.WithoutCancel(ctx), keep); err != nil {
		a.note("clean up old runs: " + err.Error())
	}
	if run.Status != core.Passed {
		return failed
	}
	return nil
}

// used lists the environments that the stages of a run may work in.
func used(p *core.Pipeline, env string) []string {
	var names []string
	for _, s := range p.Stages {
		name := s.Environment
		if name == "" {
			name = env
		}
		if name != "" && !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return names
}

// environments serves the engine: it makes environments ready and gives stages their capabilities.
type environments struct {
	project *project
	commit  string
	plugins *loader.Loader
	force   bool
	tell    func(string)

	mu       sync.Mutex
	open     map[string]*environment
	releases []func() error
}

var _ core.Environments = (*environments)(nil)

// Prepare makes and configures the hosts of an environment. It holds the environment's lock from then on, so
// that no other run deploys there.
func (s *environments) Prepare(ctx context.Context, p *core.Pipeline, run core.RunID, name string, emit func(core.Event)) error {
	conf, err := findEnvironment(p, name)
	if err != nil {
		return err
	}
	say := func(line string) { emit(core.Event{Source: "environment." + name, Kind: core.KindLog, Summary: line}) }
	release, err := lockEnvironment(ctx, s.project, name, "troop run", run, say)
	if err != nil {
		return err
	}
	s.mu.Lock()
	s.releases = append(s.releases, release)
	s.mu.Unlock()
	from := func(e core.Event) {
		e.Source = "environment." + name
		emit(e)
	}
	if err := gate(ctx, p, conf, s.force, from); err != nil {
		return err
	}
	if conf.Terraform != nil {
		if err := s.provision(ctx, p, run, conf, say, from); err != nil {
			return err
		}
	}
	e, err := openEnvironment(p, conf)
	if err != nil {
		return err
	}
	s.mu.Lock()
	s.open[name] = e
	s.mu.Unlock()
	return e.configure(ctx, s.force, from)
}

func (s *environments) provision(ctx context.Context, p *core.Pipeline, run core.RunID, conf core.Environment, say func(string), emit func(core.Event)) error {
	w, err := planner(ctx, s.project, conf, s.commit, say)
	if err != nil {
		return err
	}
	w.What, w.Run = "troop run", run
	plan, err := w.Plan(ctx)
	if err != nil {
		return err
	}
	review, err := w.Review(ctx, plan, conf.Terraform.Review)
	if err != nil {
		return err
	}
	e, err := reviewEvent(review)
	if err != nil {
		return err
	}
	emit(e)
	if err := cleared(s.project, review); err != nil {
		return err
	}
	if plan.Lock != nil { // nobody is here to say yes to that
		return fmt.Errorf("the state is locked by %s; free the lock: troop apply%s; then run again", plan.Lock, where(s.project, conf.Name))
	}
	return applyPlan(ctx, p, conf, w, plan, emit)
}

// Capabilities serves one job. The environment is opened when a call needs it: an action runs without Prepare.
func (s *environments) Capabilities(p *core.Pipeline, job core.Job) core.Capabilities {
	name := job.Info.Environment
	typ, _ := splitID(job.Info.Stage)
	return &capabilities{job: job, typ: typ, files: s.project.files, plugins: s.plugins, env: func() (*environment, error) {
		if name == "" {
			return nil, errors.New("this run has no environment: use --env, or a trigger in the manifest")
		}
		return s.get(p, name)
	}}
}

func (s *environments) get(p *core.Pipeline, name string) (*environment, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if e := s.open[name]; e != nil {
		return e, nil
	}
	conf, err := findEnvironment(p, name)
	if err != nil {
		return nil, err
	}
	e, err := openEnvironment(p, conf)
	if err == nil {
		s.open[name] = e
	}
	return e, err
}

// announce tells people how a run ended: through the environment's relay when it can be reached, so that
// cool-downs hold across runs, else from here.
func (s *environments) announce(ctx context.Context, run core.Run) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	now := time.Now()
	e := core.Event{
		ID: core.NewID(now), Time: now, Environment: run.Environment, Run: run.ID, Source: "run",
		Kind: "run." + string(run.Status), Severity: core.Info,
		Summary: fmt.Sprintf("%s %s: %s (%.8s %s)", run.Pipeline, run.Status, run.Reason, run.Commit, run.Subject),
	}
	if run.Status != core.Passed {
		e.Severity = core.Warning
	}
	wanted := slices.ContainsFunc(s.project.Notifiers, func(n core.Notifier) bool { return notify.Wants(n, e) })
	if env, err := s.get(s.project.Pipeline, run.Environment); err == nil && env.bus != nil {
		short, cancel := context.WithTimeout(ctx, 5*time.Second)
		defer cancel()
		if env.bus.Publish(short, e) == nil {
			return
		}
	}
	if !wanted {
		return
	}
	r := notify.Router{Notifiers: s.project.Notifiers, Send: notify.Send, Retries: []time.Duration{time.Second}}
	if err := r.Handle(ctx, e); err != nil {
		s.tell("nobody was told: " + err.Error())
	}
}

func (s *environments) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, e := range s.open {
		_ = e.close() // nothing is written through these connections any more
	}
	for _, release := range s.releases {
		_ = release() // the lock ends with the process in any case
	}
}

func (a *app) hookCmd() *cobra.Command {
	hook := &cobra.Command{Use: "hook", Short: "Start a run with every commit"}
	install := &cobra.Command{
		Use: "install [MANIFEST]", Short: "Install the git hook: post-commit, or post-receive in a bare repository",
		RunE: func(c *cobra.Command, args []string) error {
			p, repo, err := a.loadRepository(c.Context(), args)
			if err != nil {
				return err
			}
			self, err := os.Executable()
			if err != nil {
				return err
			}
			command := []string{self, "run", p.File}
			if a.env != "" {
				command = append(command, "--env", a.env)
			}
			file, err := repo.InstallHook(c.Context(), git.Hook{Command: command, Log: troopDir(p.Pipeline) + "/hook.log"})
			if err == nil {
				a.ui.Printf("installed %s; every commit starts: troop run", file)
			}
			return err
		},
	}
	uninstall := &cobra.Command{
		Use: "uninstall [MANIFEST]", Short: "Remove the git hook",
		RunE: func(c *cobra.Command, args []string) error {
			_, repo, err := a.loadRepository(c.Context(), args)
			if err != nil {
				return err
			}
			file, err := repo.UninstallHook(c.Context())
			if err == nil && file == "" {
				a.ui.Printf("there was no hook of troop's")
			} else if err == nil {
				a.ui.Printf("removed %s", file)
			}
			return err
		},
	}
	hook.AddCommand(install, uninstall)
	return hook
}

func (a *app) loadRepository(ctx context.Context, args []string) (*project, *git.Repository, error) {
	p, rest, err := a.load(args)
	if err == nil {
		err = want(rest)
	}
	if err != nil {
		return nil, nil, err
	}
	repo, err := git.Open(ctx, p.Source.Path)
	return p, repo, err
}
