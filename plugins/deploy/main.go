// Command troop-plugin-deploy is the stage that brings a release into service. It puts the release into the idle
// slot of every canary host, watches it there under its share of the real traffic, and then promotes it host by
// host, or puts everything back. Its agent on the router is the only writer of HAProxy's run-time state; stage,
// actions and agent meet in three values of the shared state: desired, actual and traffic.
package main

import "github.com/seed-b96de936/troop/plugins/sdk"

func main() { sdk.Serve(stage(onRouter())) }

// stage is the plugin; tests give it a router of their own.
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
			Groups:        []string{routerGroup},
			WritablePaths: []string{on.paths.Dir},
		},
		Actions: actions(),
	}
}
