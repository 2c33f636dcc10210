package main

import (
	"github.com/spf13/cobra"

	"github.com/seed-b96de936/troop/core/cmd/troop/internal/line"
	"github.com/seed-b96de936/troop/core/environment"
	"github.com/seed-b96de936/troop/core/terraform"
)

func (a *app) approveCmd() *cobra.Command {
	d := terraform.Decision{From: environment.Machine()}
	c := &cobra.Command{
		Use: "approve [MANIFEST] [PLAN]", Short: "Approve the saved plan of an environment, so that it can be applied",
		Long: `Approve says that you have read the saved plan and want it applied, once, by troop apply or by a run. The approval
is bound to the plan, the commit, the manifest and its rules, the plugin lock and the version of Terraform: when one of
them changes, it holds no longer; making the same plan again does not undo it. Give the name of the PLAN that you
have read, as troop plan shows it; without it, approve shows the plan and asks. With --deny it says that you do not want it; the last
word counts.`,
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
			if len(review.Refused) > 0 && !d.Deny {
				return review.Err()
			}
			if review.Approval != nil && !d.Deny {
				a.ui.JSON(review)
				a.ui.Printf("plan %s was approved by %s", review.Name(), review.Approval)
				return nil
			}
			if len(rest) == 0 {
				if err := a.confirmApproval(e, review, d.Deny); err != nil {
					return err
				}
			}
			if err := e.Decide(ctx, review, d); err != nil {
				return err
			}
			a.ui.JSON(review)
			if d.Deny {
				a.ui.Printf("plan %s is denied by %s", review.Name(), review.Denied)
				return nil
			}
			next := "troop apply" + e.Arguments() + ", or run again"
			if review.Destroy {
				next = "troop destroy" + e.Arguments()
			}
			a.ui.Printf("plan %s is approved by %s; carry it out: %s", review.Name(), review.Approval, next)
			return nil
		},
	}
	c.Flags().BoolVar(&d.Deny, "deny", false, "deny the plan instead: nobody can apply it")
	c.Flags().StringVar(&d.Reason, "reason", "", "why, for who reads it")
	return c
}

func (a *app) confirmApproval(e *environment.Environment, r *terraform.Review, deny bool) error {
	for _, line := range r.Lines() {
		a.ui.Note(line)
	}
	question := "Approve this plan?"
	if deny {
		question = "Deny this plan?"
	}
	return a.confirm(question, "name the plan that you have read: troop approve"+e.Arguments()+" "+r.Name())
}
