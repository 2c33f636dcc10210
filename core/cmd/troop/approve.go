package main

import (
	"github.com/spf13/cobra"

	"github.com/seed-b96de936/troop/core/cmd/troop/internal/line"
	"github.com/seed-b96de936/troop/core/environment"
	"github.com/seed-b96de936/troop/core/terraform"
)

func (a *app) approveCmd() *cobra.Command {
	return &cobra.Command{
		Use: "approve [MANIFEST] [PLAN]", Short: "Approve the saved plan of an environment, so that it can be applied",
		Long: `Approve says that you have read the saved plan and want it applied, once, by troop apply or by a run. The approval
is bound to the plan, the commit, the manifest and its rules, the plugin lock and the version of Terraform: when one of
them changes, it holds no longer; making the same plan again does not undo it. Give the name of the PLAN that you
have read, as troop plan shows it; without it, approve shows the plan and asks.`,
		Args: cobra.MaximumNArgs(2),
		RunE: func(c *cobra.Command, args []string) error {
			e, rest, err := a.open(c, args)
			if err != nil {
				return err
			}
			defer e.Close()
			if len(rest) > 1 {
				return line.Want(rest[1:])
			}
			ctx := c.Context()
			review, err := e.ToApprove(ctx, rest...)
			if err != nil {
				return err
			}
			if review.Approval != nil {
				a.ui.JSON(review)
				a.ui.Printf("plan %s was approved by %s", review.Name(), review.Approval)
				return nil
			}
			if len(rest) == 0 {
				if err := a.confirmApproval(e, review); err != nil {
					return err
				}
			}
			if err := e.Approve(ctx, review, environment.Machine()); err != nil {
				return err
			}
			a.ui.JSON(review)
			next := "troop apply" + e.Arguments() + ", or run again"
			if review.Destroy {
				next = "troop destroy" + e.Arguments()
			}
			a.ui.Printf("plan %s is approved by %s; carry it out: %s", review.Name(), review.Approval, next)
			return nil
		},
	}
}

func (a *app) confirmApproval(e *environment.Environment, r *terraform.Review) error {
	for _, line := range r.Lines() {
		a.ui.Note(line)
	}
	return a.confirm("Approve this plan?", "name the plan that you have read: troop approve"+e.Arguments()+" "+r.Name())
}
