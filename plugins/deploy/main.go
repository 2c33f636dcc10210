// Command troop-plugin-deploy is the stage that brings a release into service. It installs the release in the idle slot
// of every canary host, watches it under the canary's share of the real traffic, and then promotes it host by host, or
// goes back to the last good release. Its agent on the router is the only writer of HAProxy's run-time state. Stage and
// actions, which run where troop runs, talk to the agent through the shared state.
package main

import "github.com/seed-b96de936/troop/plugins/sdk"

func main() { sdk.Serve(stage(onRouter())) }

// stage is the plugin. Tests pass the setting of their own router.
func stage(on setting) sdk.Stage[config] {
	return sdk.Stage[config]{
		Name:         "deploy",
		Version:      "0.1.0",
		Summary:      "brings a release into service through a canary, without losing a request",
		Capabilities: []sdk.Capability{sdk.Inventory, sdk.Playbook, sdk.Agents, sdk.Artifacts, sdk.State, sdk.Events},
		Outputs: []sdk.Output{
			{Name: "release", Doc: "Identity of the release that serves."},
			{Name: "address", Doc: "Address of the router."},
		},
		Check: check,
		Run:   run,
		Agent: &sdk.Agent[config]{
			Watch:         on.watch,
			Capabilities:  []sdk.Capability{sdk.State, sdk.Events},
			Groups:        []string{routerGroup},
			WritablePaths: []string{on.paths.Dir},
		},
		Actions: actions(),
	}
}
