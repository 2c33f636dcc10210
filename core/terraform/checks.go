package terraform

import (
	"cmp"
	"strings"

	tfjson "github.com/hashicorp/terraform-json"
)

// warnings are what a plan could not do or did not find as the module wants it: check blocks and conditions that fail, and
// resources whose changes Terraform defers to a later plan. The messages are the module's, in one line each.
func warnings(shown *tfjson.Plan) []string {
	var all []string
	for _, check := range shown.Checks {
		if check.Status != tfjson.CheckStatusFail && check.Status != tfjson.CheckStatusError {
			continue
		}
		var said []string
		for _, instance := range check.Instances {
			for _, problem := range instance.Problems {
				said = append(said, strings.Join(strings.Fields(problem.Message), " "))
			}
		}
		all = append(all, check.Address.ToDisplay+": "+cmp.Or(strings.Join(said, "; "), "the check could not be made"))
	}
	for _, d := range shown.DeferredChanges {
		if r := d.ResourceChange; r != nil {
			all = append(all, r.Address+" waits for another plan after this one: "+cmp.Or(strings.ReplaceAll(d.Reason, "_", " "), "Terraform defers it"))
		}
	}
	return all
}
