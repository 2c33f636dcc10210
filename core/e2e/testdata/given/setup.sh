#!/bin/sh
# setup.sh KEY makes the server of somebody who has never heard of troop: the packages that the roles need are not there, but
# in a repository of apt; nginx serves port 8080; the user deploy logs in with KEY and has sudo; sshd has a setting of its own; there is
# an ACME authority.
set -eu
export DEBIAN_FRONTEND=noninteractive
cd /srv/debs
rm -f /etc/apt/sources.list /etc/apt/sources.list.d/*
echo 'deb [trusted=yes] file:/srv/debs ./' >/etc/apt/sources.list
apt-get -qq -y -o Dpkg::Use-Pty=0 purge haproxy redis-server redis-tools nodejs zstd
apt-get -qq -y -o Dpkg::Use-Pty=0 autoremove --purge
apt-get -qq update
apt-get -qq -y -o Dpkg::Use-Pty=0 upgrade
apt-get -qq -y -o Dpkg::Use-Pty=0 install nginx
sed -i 's/listen 80 /listen 8080 /; s/listen \[::\]:80 /listen [::]:8080 /' /etc/nginx/sites-available/default
# The lab's tree has no manuals. Packages that are there own this folder, so that dpkg leaves it where another one has made it.
mkdir -p /usr/share/man/man3
systemctl --quiet enable nginx
systemctl restart nginx
useradd --create-home --shell /bin/bash deploy
echo 'deploy ALL=(ALL) NOPASSWD: ALL' >/etc/sudoers.d/deploy
install -d -o deploy -g deploy -m 0700 /home/deploy/.ssh
echo "$1" >/home/deploy/.ssh/authorized_keys
chown deploy: /home/deploy/.ssh/authorized_keys
echo 'LoginGraceTime 60' >/etc/ssh/sshd_config.d/10-own.conf
systemctl reload ssh

# The authority asks its own DNS server, which knows every name as this machine.
install -d /srv/pebble
mv pebble pebble-challtestsrv key.pem pebble.pem /srv/pebble
cat >/srv/pebble/config.json <<'END'
{"pebble": {"listenAddress": "127.0.0.1:14000", "managementListenAddress": "127.0.0.1:15000", "certificate": "/srv/pebble/pebble.pem",
  "privateKey": "/srv/pebble/key.pem", "httpPort": 80, "tlsPort": 443, "profiles": {"default": {"description": "for tests", "validityPeriod": 86400}}}}
END
unit() {
	printf '[Service]\nEnvironment=PEBBLE_VA_NOSLEEP=1\nExecStart=%s\n[Install]\nWantedBy=multi-user.target\n' "$2" >/etc/systemd/system/"$1"
	systemctl --quiet enable --now "$1"
}
unit names.service "/srv/pebble/pebble-challtestsrv -defaultIPv4 127.0.0.1 -defaultIPv6 '' -dnsserver 127.0.0.1:8053 -management 127.0.0.1:8055 -http01 '' -https01 '' -tlsalpn01 '' -doh ''"
unit pebble.service "/srv/pebble/pebble -config /srv/pebble/config.json -dnsserver 127.0.0.1:8053"
until curl -sk -o /dev/null https://127.0.0.1:14000/dir; do sleep 0.2; done
