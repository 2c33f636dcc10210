package preflight_test

import (
	"cmp"
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/seed-b96de936/troop/core"
	"github.com/seed-b96de936/troop/core/preflight"
)

// well is what a host says on which nothing is in the way.
const well = `time NOW
system debian 12
systemd 252
python 3.11.2
apt 1
disk / 9000000 /
disk /var 9000000 /
disk /opt 8000000 /opt
candidate redis-server 5:7.0.15-1~deb12u5
installed haproxy 2.6.12-1+deb12u2
installed nodejs 18.20.4+dfsg-1~deb12u1
port 22 sshd ssh.service /
port 8080 nginx nginx.service /
`

// Fakes of Ubuntu: what hosts with the packages of its archive would say where they differ from Debian's. No such host can
// be had in the lab.
const (
	fakeUbuntu2204 = `time NOW
system ubuntu 22.04
systemd 249
python 3.10.12
apt 1
disk / 9000000 /
candidate redis-server 5:6.0.16-1ubuntu1
candidate haproxy 2.4.24-0ubuntu0.22.04.1
candidate nodejs 12.22.9~dfsg-1ubuntu3.6
port 22 sshd ssh.service /
`
	fakeUbuntu2404 = `time NOW
system ubuntu 24.04
systemd 255
python 3.12.3
apt 1
disk / 9000000 /
candidate redis-server 5:7.0.15-1ubuntu0.24.04.1
candidate haproxy 2.8.5-1ubuntu3.3
candidate nodejs 18.19.1+dfsg-6ubuntu5
port 22 systemd ssh.socket /
`
)

func TestServers(t *testing.T) {
	refused := &preflight.Problem{Text: "refuses every key", Remedy: "add one"}
	sudo := &preflight.Problem{Text: "sudo asks for a password", Remedy: "visudo"}
	for name, tt := range map[string]struct {
		reach, root error
		roles       []string
		services    int
		says        string   // empty: that all is well
		edit        []string // pairs of old and new
		want        []string
	}{
		"nothing in the way": {want: []string{
			"web-1 ssh passed deploy@203.0.113.1:22 ", "web-1 sudo passed", "web-1 system passed debian 12, systemd 252",
			"web-1 python passed 3.11.2", "web-1 disk passed 8.6 GiB free on /, 7.6 GiB free on /opt", "web-1 clock passed differs by ",
			"web-1 ports passed 3000, 3001, 443, 6379, 80 free; others: 22 by sshd, 8080 by nginx",
			"web-1 redis passed 5:7.0.15-1~deb12u5 will be installed", "web-1 haproxy passed 2.6.12",
			"web-1 node passed 18.20.4+dfsg-1~deb12u1; this machine builds with 20.1.0, another major version",
		}},
		"no key":  {reach: refused, want: []string{"web-1 ssh failed refuses every key add one", "web-1 sudo skipped cannot be checked without web-1 ssh", "web-1 node skipped"}},
		"no sudo": {root: sudo, want: []string{"web-1 ssh passed", "web-1 sudo failed sudo asks for a password visudo", "web-1 system skipped cannot be checked without web-1 sudo"}},
		"all in the way": {
			edit: []string{
				"NOW", fmt.Sprint(time.Now().Add(-time.Hour).Unix()), "debian 12", "debian 11", "python 3.11.2\napt 1\n", "python \n", "disk / 9000000", "disk / 90000",
				"port 8080 nginx", "port 80 nginx", "5:7.0.15", "5:6.0.16", "installed haproxy", "installed haproxy 1.8.0 ", "installed nodejs 18.20.4+dfsg-1~deb12u1", "candidate nodejs (none)",
			},
			want: []string{
				"web-1 system failed debian 11 is not supported", "web-1 python failed there is no /usr/bin/python3, which Ansible needs apt-get install python3 python3-apt",
				"web-1 disk failed 0.1 GiB free on / ", "web-1 clock failed its clock is 1h0m",
				"web-1 ports failed in use: 80 by nginx, needed for HTTP have it listen on another port, or end it: systemctl disable --now nginx.service",
				"web-1 redis failed 5:6.0.16-1~deb12u5 will be installed is too old it must be 7.0", "web-1 haproxy failed 1.8.0", "web-1 node skipped not installed, and apt knows no package nodejs",
			},
		},
		"its own services": {
			edit: []string{"port 22", "ours 1\nport 80 haproxy haproxy.service /\nport 3000 node shop@a.service /opt/shop/releases/1\nport 22"},
			want: []string{"web-1 ports passed 3000, 3001, 443, 6379, 80 free"},
		},
		"somebody's HAProxy": {
			edit: []string{"port 22", "port 80 haproxy haproxy.service /\nport 22"},
			want: []string{"web-1 ports failed in use: 80 by haproxy, needed for HTTP"},
		},
		"a fake of Ubuntu 24.04": {says: fakeUbuntu2404, want: []string{
			"web-1 system passed ubuntu 24.04, systemd 255", "web-1 python passed 3.12.3",
			"web-1 ports passed 3000, 3001, 443, 6379, 80 free; others: 22 by systemd",
			"web-1 redis passed 5:7.0.15-1ubuntu0.24.04.1 will be installed", "web-1 haproxy passed 2.8.5-1ubuntu3.3 will be installed",
			"web-1 node passed 18.19.1+dfsg-6ubuntu5 will be installed; this machine builds with 20.1.0, another major version",
		}},
		"a fake of Ubuntu 22.04": {says: fakeUbuntu2204, want: []string{
			"web-1 system failed ubuntu 22.04 is not supported the roles are made for Debian 12, Ubuntu 24.04, and newer", "web-1 python passed 3.10.12",
			"web-1 redis failed 5:6.0.16-1ubuntu1 will be installed is too old it must be 7.0 or newer: apt-get install redis-server from the archive of Debian 12, Ubuntu 24.04 or newer",
			"web-1 haproxy passed 2.4.24-0ubuntu0.22.04.1 will be installed",
			"web-1 node passed 12.22.9~dfsg-1ubuntu3.6 will be installed; this machine builds with 20.1.0, another major version",
		}},
		"both pools": {roles: []string{"router", "production", "canary"}, want: []string{"web-1 ports passed 3000, 3001, 3002, 3003, 443, 6379, 80 free"}},
		"two services": {
			services: 2, edit: []string{"port 22", "port 3005 java other.service /\nport 22"},
			want: []string{"web-1 ports failed in use: 3005 by java, needed for a service have it listen on another port, or end it: systemctl disable --now other.service"},
		},
		"a storage host": {roles: []string{"storage"}, want: []string{"web-1 ports passed none needed; others: 22 by sshd, 8080 by nginx"}},
		"a data host": {
			roles: []string{"data"}, edit: []string{"port 22", "candidate postgresql 15+248+deb12u1\nport 15432 postgres postgresql@15-other.service /\nport 22"},
			want: []string{
				"web-1 ports failed in use: 15432 by postgres, needed for postgres have it listen on another port, or end it: systemctl disable --now postgresql@15-other.service",
				"web-1 postgres passed 15+248+deb12u1 will be installed",
			},
		},
		"its own databases": {
			roles: []string{"data"}, edit: []string{"port 22", "ours 1\ninstalled postgresql 14+238\nport 15432 postgres postgresql@15-troop.service /\nport 16379 redis-server troop-data-redis@shop.service /\nport 22"},
			want: []string{"web-1 ports passed 15432, 16379 free", "web-1 postgres failed 14+238 is too old it must be 15.0 or newer"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			h := core.Host{Name: "web-1", Roles: []string{"router", "production"}, Address: "203.0.113.1", User: "deploy", Given: &core.Given{}}
			if tt.roles != nil {
				h.Roles = tt.roles
			}
			h.Complete()
			s := preflight.Servers{
				Hosts: []core.Host{h}, AppPort: 3000, Services: tt.services, Accessories: []core.Accessory{{Type: "postgres", Port: 15432}, {Type: "redis", Port: 16379}}, Runtime: "v20.1.0",
				Reach: func(context.Context, core.Host) error { return tt.reach },
				Root: func(context.Context, core.Host, string) ([]byte, error) {
					text := strings.NewReplacer(append(tt.edit, "NOW", fmt.Sprint(float64(time.Now().UnixMilli())/1000))...).Replace(cmp.Or(tt.says, well))
					return []byte(text), tt.root
				},
			}
			var got []string
			if err := s.Check(t.Context(), func(string) {}, func(c core.Check) {
				got = append(got, strings.Join([]string{c.Name, string(c.Status), c.Detail, c.Remedy}, " "))
			}); err != nil {
				t.Fatal(err)
			}
			all := strings.Join(got, "\n")
			for _, want := range tt.want {
				if !strings.Contains(all, want) {
					t.Errorf("got\n%s\nwant %s", all, want)
				}
			}
		})
	}
}
