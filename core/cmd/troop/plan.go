package main

import (
	"context"
	"errors"

	"github.com/spf13/cobra"

	"github.com/seed-b96de936/troop/core/environment"
	"github.com/seed-b96de936/troop/core/terraform"
)

func (a *app) planCmd() *cobra.Command {
	var saved bool
	var out, page string
	c := &cobra.Command{
		Use: "plan [MANIFEST]", Short: "Show what apply would change, and save it (exit status 2: something)",
		Long: `Plan compares the hosts with what the manifest wants and shows what apply would change, by role and host, with the
attribute that forces a replacement. The plan is saved: apply does that and nothing else. Sensitive values are
never shown.

With --untrusted, what would execute something of the manifest or of its folder waits for a person: a module of one's own, and
secrets. The modules that come with troop are planned with the manifest's variables.

Exit status: 0 there is nothing to change, 2 there is, 1 the plan could not be made.`,
		RunE: a.inEnvironment(func(ctx context.Context, e *environment.Environment, _ []string) error {
			get := e.Plan
			if saved {
				get = e.Saved
			}
			plan, err := get(ctx)
			if err != nil {
				return err
			}
			review, err := a.review(ctx, e, plan)
			if err != nil {
				return err
			}
			if err := review.Write(out, page); err != nil {
				return err
			}
			if plan.Empty() {
				return nil
			}
			if errors.As(review.Err(), new(*terraform.WaitsError)) {
				a.ui.Note(e.Refusal(review).Error())
			}
			return changes
		}),
	}
	f := c.Flags()
	f.BoolVar(&a.untrusted, "untrusted", false, "the manifest is a stranger's, as in a pull request: execute nothing of it and read none of its secrets")
	f.BoolVar(&saved, "saved", false, "show the plan that was made last and not applied, and make none")
	f.StringVar(&out, "out", "", "also write the plan to a `file`, as --json prints it")
	f.StringVar(&page, "html", "", "also write a page for a reviewer to a `file`")
	return c
}
