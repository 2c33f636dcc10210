#!/bin/sh
# setup.sh KEY makes the server of somebody who has never heard of troop: the packages that the roles need are not there, but
# in a repository of apt; nginx serves port 8080; the user deploy logs in with KEY and has sudo; sshd has a setting of its own.
set -eu
export DEBIAN_FRONTEND=noninteractive
cd /srv/debs
rm -f /etc/apt/sources.list /etc/apt/sources.list.d/*
echo 'deb [trusted=yes] file:/srv/debs ./' >/etc/apt/sources.list
apt-get -qq -y -o Dpkg::Use-Pty=0 purge haproxy redis-server redis-tools nodejs zstd
apt-get -qq -y -o Dpkg::Use-Pty=0 autoremove --purge
apt-get -qq update
apt-get -qq -y -o Dpkg::Use-Pty=0 install nginx
sed -i 's/listen 80 /listen 8080 /; s/listen \[::\]:80 /listen [::]:8080 /' /etc/nginx/sites-available/default
systemctl --quiet enable nginx
systemctl restart nginx
useradd --create-home --shell /bin/bash deploy
echo 'deploy ALL=(ALL) NOPASSWD: ALL' >/etc/sudoers.d/deploy
install -d -o deploy -g deploy -m 0700 /home/deploy/.ssh
echo "$1" >/home/deploy/.ssh/authorized_keys
chown deploy: /home/deploy/.ssh/authorized_keys
echo 'LoginGraceTime 60' >/etc/ssh/sshd_config.d/10-own.conf
systemctl reload ssh
