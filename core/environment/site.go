package environment

import (
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/seed-b96de936/troop/core"
	"github.com/seed-b96de936/troop/core/ansible"
	"github.com/seed-b96de936/troop/core/bus"
	"github.com/seed-b96de936/troop/core/flags"
	"github.com/seed-b96de936/troop/core/remote"
	"github.com/seed-b96de936/troop/core/vault"
	"github.com/seed-b96de936/troop/playbooks"
)

// The ports of the two Redis on the router: troop's, and the application's if the environment asks for one.
const (
	redisPort    = 6379
	appRedisPort = 6380
)

// site holds what depends on the list of hosts. An apply replaces it.
type site struct {
	hosts   []core.Host
	secrets secrets
	ssh     *remote.Client
	ansible *ansible.Runner
	bus     *bus.Bus // nil: no router
	flags   *flags.Flags

	// Only Configure changes them, before stages run.
	configured map[core.HostName]string // hosts that were configured before, with their identity
	away       map[core.HostName]error  // hosts that are left out, with the reason
}

// open returns the site of the hosts of the last apply. It opens no connection yet.
func (e *Environment) open() (*site, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.site != nil {
		return e.site, nil
	}
	hosts, err := e.Hosts()
	if err != nil {
		return nil, err
	}
	s := &site{hosts: hosts}
	if s.ssh, err = e.openSSH(); err != nil {
		return nil, err
	}
	if s.secrets, err = e.secrets(); err != nil {
		return nil, err
	}
	keys, users, operator := map[core.HostName][]string{}, map[core.HostName][]string{}, []string{}
	for _, g := range s.secrets.admitted() {
		operator = append(operator, digest(g.RedisPassword))
		for _, h := range hosts {
			_, public := g.storageKey(h.Name)
			keys[h.Name] = append(keys[h.Name], public)
			users[h.Name] = append(users[h.Name], digest(g.hostPassword(h.Name)))
		}
	}
	admitted := s.ssh.Admitted()
	if len(admitted) == 0 && slices.ContainsFunc(hosts, func(h core.Host) bool { return h.Given != nil }) {
		admitted = []string{s.ssh.PublicKey()} // nobody made these hosts with it
	}
	vars := map[string]any{
		"troop_environment": e.conf.Name, "troop_pipeline": e.o.Pipeline.Name, "troop_storage_keys": keys,
		"troop_admitted_keys": append(admitted, vault.Authorized(e.o.Pipeline.Team)...), "troop_retired_keys": s.ssh.Retired(),
	}
	router, routed := withRole(hosts, "router")
	certificate, certificateKey := s.secrets.shown().redisCertificate()
	if routed {
		vars["troop_redis_certificate"], vars["troop_redis_certificate_key"] = certificate, certificateKey
		vars["troop_redis_address"] = router.PrivateAddress
		vars["troop_redis_port"] = redisPort
		vars["troop_redis_operator"], vars["troop_redis_hosts"] = operator, users
		vars["troop_redis_quota_password"] = s.secrets.quotaPassword()
		vars["troop_app_redis_port"], vars["troop_app_redis_password"] = appRedisPort, s.secrets.appPassword()
	}
	if data, err := core.DataHost(hosts); err == nil { // Configure refuses accessories without one
		maps.Copy(vars, s.secrets.accessories(e.conf.Accessories, data))
	}
	if e.conf.Ansible != nil {
		maps.Copy(vars, e.conf.Ansible.Variables)
	}
	conf := ansible.Config{Dir: e.dir, Manifest: e.o.Pipeline.Dir, Playbooks: playbooks.FS, SSH: s.ssh, Hosts: hosts, Vars: vars, Holder: e.Fence}
	if a := e.conf.Ansible; a != nil {
		conf.VaultPassword, conf.Requirements = a.VaultPassword, a.Requirements
	}
	s.ansible, err = ansible.New(conf)
	if err != nil {
		return nil, err
	}
	if routed {
		s.bus = bus.Open(bus.Options{
			Address: redisAddress(router), Certificates: s.secrets.trusted(), User: bus.Operator, Password: s.secrets.RedisPassword, Dial: s.ssh.Dialer(router),
			Environment: e.conf.Name, Hosts: hosts,
			Sign: &bus.Signer{Key: s.secrets.orderKey(), Fence: e.Fence}, Trust: s.secrets.trust(),
		})
		s.flags = flags.Open(s.bus)
	}
	e.site = s
	return s, nil
}

// leave closes the site. The caller holds mu.
func (e *Environment) leave() error {
	s := e.site
	if s == nil {
		return nil
	}
	e.site = nil
	err := s.ansible.Close()
	if s.bus != nil {
		err = errors.Join(err, s.bus.Close())
	}
	return err
}

func redisAddress(router core.Host) string {
	return fmt.Sprintf("%s:%d", router.PrivateAddress, redisPort)
}

// Bus returns the environment's events and shared state, which are in Redis on the router.
func (e *Environment) Bus() (*bus.Bus, error) {
	s, err := e.routed()
	if err != nil {
		return nil, err
	}
	return s.bus, nil
}

// Flags returns the environment's feature flags, which are in the same Redis.
func (e *Environment) Flags() (*flags.Flags, error) {
	s, err := e.routed()
	if err != nil {
		return nil, err
	}
	return s.flags, nil
}

func (e *Environment) routed() (*site, error) {
	s, err := e.open()
	if err == nil && s.bus == nil {
		err = fmt.Errorf("environment %s has no host with the role router, which holds its flags, state and events", e.conf.Name)
	}
	return s, err
}
