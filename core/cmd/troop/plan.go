package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/google/renameio/v2"
	"github.com/spf13/cobra"

	"github.com/seed-b96de936/troop/core"
	"github.com/seed-b96de936/troop/core/git"
	"github.com/seed-b96de936/troop/core/loader"
	"github.com/seed-b96de936/troop/core/manifest"
	"github.com/seed-b96de936/troop/core/policy"
	"github.com/seed-b96de936/troop/core/terraform"
)

// planner is workspace for commands whose plans are reviewed: it knows the rules, and what an approval is bound to.
func planner(ctx context.Context, p *project, conf core.Environment, commit string, log func(string)) (*terraform.Workspace, error) {
	w, err := workspace(ctx, p.Pipeline, conf, log)
	if err != nil {
		return nil, err
	}
	rules, err := readRules(conf)
	if err != nil {
		return nil, err
	}
	if len(rules) > 0 {
		if w.Rules, err = policy.Compile(p.Dir, rules); err != nil {
			return nil, err
		}
	}
	texts := [][]byte{p.sources[p.File]}
	for _, path := range slices.Sorted(maps.Keys(rules)) {
		texts = append(texts, rules[path])
	}
	w.Origin.Commit, w.Origin.Manifest = commit, digest(texts...)
	lock, err := os.ReadFile(filepath.Join(p.Dir, loader.LockFile))
	if err == nil {
		w.Origin.Lock = digest(lock)
	} else if !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	return w, nil
}

// digest of several texts: that of their digests, so that none can pass for the end of another.
func digest(texts ...[]byte) core.Digest {
	all := sha256.New()
	for _, text := range texts {
		sum := sha256.Sum256(text)
		all.Write(sum[:])
	}
	return core.Digest("sha256:" + hex.EncodeToString(all.Sum(nil)))
}

// head is the commit that is checked out where the pipeline's source is, or empty: hosts can be made without one.
func head(ctx context.Context, p *project) string {
	repo, err := git.Open(ctx, p.Source.Path)
	if err != nil {
		return ""
	}
	at, err := repo.Resolve(ctx, "HEAD")
	if err != nil {
		return ""
	}
	return at.Hash
}

// readRules reads the files of rules that an environment names.
func readRules(conf core.Environment) (map[string][]byte, error) {
	texts := map[string][]byte{}
	if conf.Terraform == nil {
		return texts, nil
	}
	for _, path := range conf.Terraform.Review.Rules {
		text, err := os.ReadFile(path)
		if err != nil {
			return nil, fmt.Errorf("read rules: %w", err)
		}
		texts[path] = text
	}
	return texts, nil
}

// checkRules finds what is wrong with the rules that a manifest names, and adds their texts to the sources.
func checkRules(p *core.Pipeline, sources manifest.Sources) core.Diagnostics {
	var diags core.Diagnostics
	for _, e := range p.Environments {
		rules, err := readRules(e)
		if err == nil && len(rules) > 0 {
			_, err = policy.Compile(p.Dir, rules)
		}
		found := core.Diagnostics(nil)
		switch {
		case err == nil:
			continue
		case !errors.As(err, &found):
			found = core.Diagnostics{{Summary: "Rules cannot be read", Detail: err.Error(), Range: e.Terraform.Range}}
		}
		maps.Copy(sources, rules)
		for _, d := range found {
			if !slices.Contains(diags, d) { // environments may share rules
				diags = append(diags, d)
			}
		}
	}
	return diags
}

func (a *app) planCmd() *cobra.Command {
	var saved bool
	var out, page string
	c := &cobra.Command{
		Use: "plan [MANIFEST]", Short: "Show what apply would change, and save it (exit status 2: something)",
		Long: `Plan compares the hosts with what the manifest wants and shows what apply would change, by role and host, with the
attribute that forces a replacement. The plan is saved: apply does that and nothing else. Sensitive values are
never shown.

Exit status: 0 there is nothing to change, 2 there is, 1 the plan could not be made.`,
		RunE: func(c *cobra.Command, args []string) error {
			p, conf, err := a.loadEnvironment(args)
			if err != nil {
				return err
			}
			ctx := c.Context()
			w, err := planner(ctx, p, conf, head(ctx, p), a.note)
			if err != nil {
				return err
			}
			w.What = "troop plan"
			var plan *terraform.Plan
			if saved {
				plan, err = savedPlan(w, conf)
			} else {
				plan, err = w.Plan(ctx)
			}
			if err != nil {
				return err
			}
			review, err := w.Review(ctx, plan, conf.Terraform.Review)
			if err != nil {
				return err
			}
			a.showReview(review)
			if err := writeReview(review, out, page); err != nil {
				return err
			}
			if plan.Empty() {
				return nil
			}
			if waits := (*terraform.WaitsError)(nil); errors.As(review.Err(), &waits) {
				a.note(cleared(p, review).Error())
			}
			return changes
		},
	}
	f := c.Flags()
	f.BoolVar(&saved, "saved", false, "show the plan that was made last and not applied, and make none")
	f.StringVar(&out, "out", "", "also write the plan to a `file`, as --json prints it")
	f.StringVar(&page, "html", "", "also write a page for a reviewer to a `file`")
	return c
}

func savedPlan(w *terraform.Workspace, conf core.Environment) (*terraform.Plan, error) {
	plan, err := w.Saved()
	if errors.Is(err, terraform.ErrNoPlan) {
		err = &core.NotFoundError{What: "saved plan of environment", Name: conf.Name, Remedy: "troop plan and troop run make one"}
	}
	return plan, err
}

// writeReview writes a review to files, where wanted.
func writeReview(r *terraform.Review, out, page string) error {
	if out != "" {
		data, err := json.MarshalIndent(r, "", "  ")
		if err != nil {
			return err
		}
		if err := renameio.WriteFile(out, append(data, '\n'), 0o644); err != nil {
			return fmt.Errorf("write plan: %w", err)
		}
	}
	if page != "" {
		data, err := r.HTML()
		if err != nil {
			return err
		}
		if err := renameio.WriteFile(page, data, 0o644); err != nil {
			return fmt.Errorf("write page: %w", err)
		}
	}
	return nil
}

func (a *app) approveCmd() *cobra.Command {
	return &cobra.Command{
		Use: "approve [MANIFEST] [PLAN]", Short: "Approve the saved plan of an environment, so that it can be applied",
		Long: `Approve says that you have read the saved plan and want it applied, once, by troop apply or by a run. The approval
is bound to the plan, the commit, the manifest and its rules, the plugin lock and the version of Terraform: when one of
them changes, it holds no longer; making the same plan again does not undo it. Give the name of the PLAN that you
have read, as troop plan shows it; without it, approve shows the plan and asks.`,
		Args: cobra.MaximumNArgs(2),
		RunE: func(c *cobra.Command, args []string) error {
			p, rest, err := a.load(args)
			if err != nil {
				return err
			}
			if len(rest) > 1 {
				return want(rest[1:])
			}
			conf, err := findEnvironment(p.Pipeline, a.env)
			if err != nil {
				return err
			}
			ctx := c.Context()
			w, err := planner(ctx, p, conf, head(ctx, p), a.note)
			if err != nil {
				return err
			}
			w.What = "troop approve"
			plan, err := savedPlan(w, conf)
			if err != nil {
				return err
			}
			review, err := w.Review(ctx, plan, conf.Terraform.Review)
			switch {
			case err != nil:
				return err
			case !review.Needed:
				return fmt.Errorf("environment %s asks for no approval; its manifest would say: review { approve = true }", conf.Name)
			case len(rest) > 0 && !plan.Called(rest[0]):
				return fmt.Errorf("the saved plan is %s, not %s; read it: troop plan --saved%s", plan.Name(), rest[0], where(p, conf.Name))
			case review.Approval != nil:
				a.ui.JSON(review)
				a.ui.Printf("plan %s was approved by %s", plan.Name(), review.Approval)
				return nil
			case len(review.Refused) > 0:
				return review.Err()
			}
			if len(rest) == 0 {
				for _, line := range review.Lines() {
					a.note(line)
				}
				if err := a.confirm("Approve this plan?", "name the plan that you have read: troop approve"+where(p, conf.Name)+" "+plan.Name()); err != nil {
					return err
				}
			}
			if err := w.Approve(review, whoami(), whence()); err != nil {
				return err
			}
			a.ui.JSON(review)
			next := "troop apply" + where(p, conf.Name) + ", or run again"
			if plan.Destroy {
				next = "troop destroy" + where(p, conf.Name)
			}
			a.ui.Printf("plan %s is approved by %s; carry it out: %s", plan.Name(), review.Approval, next)
			return nil
		},
	}
}

// whence is the machine that a person sits at, as far as this one knows.
func whence() string {
	host, err := os.Hostname()
	if err != nil {
		host = "an unknown machine"
	}
	if client, _, ok := strings.Cut(os.Getenv("SSH_CONNECTION"), " "); ok {
		return client + " by way of " + host
	}
	return host
}

// where are the arguments by which a command finds an environment again from this folder.
func where(p *project, env string) string {
	s := " --env " + env
	if file := p.File; file != "" {
		if cwd, err := os.Getwd(); err == nil {
			if rel, err := filepath.Rel(cwd, file); err == nil && !strings.HasPrefix(rel, "..") {
				file = rel
			}
		}
		if file != "pipeline.hcl" {
			s = " " + file + s
		}
	}
	return s
}

// cleared is nil when the plan may be applied, else why not and what to do.
func cleared(p *project, r *terraform.Review) error {
	err := r.Err()
	args := where(p, r.Environment)
	waits, outdated := (*terraform.WaitsError)(nil), (*terraform.OutdatedError)(nil)
	switch {
	case errors.As(err, &waits):
		return fmt.Errorf("%w; read it: troop plan --saved%s; approve it: troop approve%s %s; then repeat the command", err, args, args, r.Name())
	case errors.As(err, &outdated):
		return fmt.Errorf("%w: troop plan%s", err, args)
	}
	return err
}

// change opens an environment for a command that changes its hosts, and keeps others out until release is called.
func (a *app) change(ctx context.Context, args []string, what string) (
	p *project, conf core.Environment, w *terraform.Workspace, release func() error, err error,
) {
	if p, conf, err = a.loadEnvironment(args); err != nil {
		return nil, conf, nil, nil, err
	}
	if release, err = lockEnvironment(ctx, p, conf.Name, what, "", a.note); err != nil {
		return nil, conf, nil, nil, err
	}
	if w, err = planner(ctx, p, conf, head(ctx, p), a.note); err != nil {
		return nil, conf, nil, nil, errors.Join(err, release())
	}
	w.What = what
	return p, conf, w, release, nil
}

func (a *app) applyCmd() *cobra.Command {
	var yes, force, configure bool
	c := &cobra.Command{
		Use: "apply [MANIFEST]", Short: "Apply the saved plan, or a new one, and configure the hosts",
		Long: `Apply does what the saved plan says, and nothing else; without a saved plan it makes one, shows it and asks. Then it
configures the hosts. Where the manifest says review { approve = true }, nothing is changed before troop approve.`,
		RunE: func(c *cobra.Command, args []string) error {
			ctx := c.Context()
			p, conf, w, release, err := a.change(ctx, args, "troop apply")
			if err != nil {
				return err
			}
			defer func() { _ = release() }()
			plan, err := w.Saved()
			if errors.Is(err, terraform.ErrNoPlan) {
				plan, err = w.Plan(ctx)
			}
			if err != nil {
				return err
			}
			if plan.Destroy {
				return fmt.Errorf("the saved plan removes all hosts; carry it out: troop destroy%s; or plan again: troop plan%s",
					where(p, conf.Name), where(p, conf.Name))
			}
			if err := a.clear(ctx, p, conf, w, plan, yes, "Apply this plan?"); err != nil {
				return err
			}
			show := func(e core.Event) {
				e.Source = "environment." + conf.Name
				a.ui.Lines(e)
			}
			if err := applyPlan(ctx, p.Pipeline, conf, w, plan, show); err != nil {
				return err
			}
			e, err := openEnvironment(p.Pipeline, conf)
			if err != nil {
				return err
			}
			defer e.close()
			if configure {
				if err := e.configure(ctx, force, show); err != nil {
					return err
				}
			}
			a.ui.Hosts(e.hosts)
			return nil
		},
	}
	c.Flags().BoolVarP(&yes, "yes", "y", false, "apply without asking, where no approval is needed")
	c.Flags().BoolVar(&force, "force", false, "configure also what has not changed")
	c.Flags().BoolVar(&configure, "configure", true, "run the environment's playbook")
	return c
}

// clear shows a plan and finds out whether it may be carried out: by its review, by an approval, by asking.
func (a *app) clear(ctx context.Context, p *project, conf core.Environment, w *terraform.Workspace, plan *terraform.Plan, yes bool, question string) error {
	if plan.Empty() {
		return nil
	}
	r, err := w.Review(ctx, plan, conf.Terraform.Review)
	if err != nil {
		return err
	}
	a.showReview(r)
	if err := cleared(p, r); err != nil || r.Needed || yes {
		return err
	}
	return a.confirm(question, "review with troop plan"+where(p, conf.Name)+", then use --yes")
}

// showReview prints a plan and what the review says of it.
func (a *app) showReview(r *terraform.Review) {
	a.ui.JSON(r)
	for _, line := range r.Lines() {
		a.ui.Printf("%s", a.tint(line))
	}
}

// tint colours a line of a review by its mark.
func (a *app) tint(line string) string {
	if !a.color {
		return line
	}
	mark, _, _ := strings.Cut(strings.TrimSpace(line), " ")
	code := map[string]string{"+": "32", "~": "33", "±": "31", "-": "31", "!": "33", "refused:": "31", "warning:": "33"}[mark]
	if code == "" {
		return line
	}
	return "\x1b[" + code + "m" + line + "\x1b[0m"
}

// reviewEvent tells a run's journal what was planned, and who approved it.
func reviewEvent(r *terraform.Review) (core.Event, error) {
	data, err := json.Marshal(map[string]any{"review": r, "lines": r.Lines()})
	if err != nil {
		return core.Event{}, err
	}
	e := core.Event{Kind: core.KindPlan, Summary: r.Summary()}
	if !r.Empty() {
		e.Summary += " (plan " + r.Name() + ")"
	}
	if r.Approval != nil {
		e.Summary += ", approved by " + r.Approval.String()
	}
	return e, json.Unmarshal(data, &e.Data)
}
