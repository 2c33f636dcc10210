package main

import (
	"context"
	"fmt"

	"github.com/seed-b96de936/troop/plugins/deploy/state"
	"github.com/seed-b96de936/troop/plugins/sdk"
)

// settings are what the router's configuration must have, for a release and for those that it may go back to.
func (d *deployer) settings(r state.Release) state.Settings {
	s := state.DefaultSettings()
	route := d.c.route(d.name)
	s.Service, s.Number, s.Domains, s.Path, s.Rank = d.service.Label(), d.service.Number, route.Domains, route.Path, route.Rank()
	if t := d.c.Service.Timeouts; t != nil {
		s.Request, s.Idle, s.Tunnel = t.Request.Std().Milliseconds(), t.Idle.Std().Milliseconds(), t.Tunnel.Std().Milliseconds()
	}
	s.Body = d.c.Service.maxBody()
	if t := d.c.TLS; t != nil {
		s.TLS, s.HSTS, s.ACME = t.digest(), int64(t.HSTS.Std().Seconds()), t.acme()
	}
	s.For(r.Health)
	for _, known := range d.want.Releases {
		s.For(known.Health)
	}
	return s
}

// setRouter has the router configured for a release, unless it is already.
func (d *deployer) setRouter(ctx context.Context, r state.Release) error {
	a, err := d.readActual(ctx)
	if err != nil {
		return err
	}
	have, need := state.DefaultSettings(), d.settings(r)
	if a.Settings != nil {
		have = *a.Settings
	}
	if (d.service.Number == 0 || a.Settings != nil) && have.Cover(need) {
		return d.awaitCertificate(ctx)
	}
	d.job.Logf("configuring the router %s for %s", d.router.Name, d.name)
	vars := map[string]any{"router_settings": need}
	if d.c.TLS != nil {
		if vars["router_certificate"], err = d.c.TLS.bundle(); err != nil {
			return err
		}
	}
	results, err := d.job.Playbook(ctx, sdk.PlaybookRun{Name: "router.yml", Hosts: []sdk.HostName{d.router.Name}, Vars: vars})
	if err != nil {
		return fmt.Errorf("configure the router: %w", d.orExplained(ctx, results, err))
	}
	if err := d.reach(ctx, func(a state.Actual) bool { return a.Settings != nil && a.Settings.Cover(need) }); err != nil {
		return err
	}
	return d.awaitCertificate(ctx)
}
