#!/bin/sh
# snapshot.sh prints all of a server that must be after a release as it was before: files with their owners, modes and
# content, users, groups, units, packages, the firewall. It leaves out caches, logs, and backups that the system makes of its own lists.
export LC_ALL=C
cd /
without() {
	find etc home opt root srv usr var/lib var/mail var/spool -xdev \( -path var/lib/apt -o -path var/lib/dpkg -o -path var/lib/systemd/random-seed \
		-o -path 'etc/*-' -o -path 'var/lib/ucf/*.[0-9]' -o -name '*.pyc' -o -name __pycache__ \) -prune -o "$@"
}
without -printf '%y %M %u:%g %p %l\n' | sort
without -type f -print0 | sort -z | xargs -0 sha256sum
cat /etc/passwd /etc/group
systemctl list-unit-files --no-legend --plain | grep -v transient
systemctl list-units --all --no-legend --plain --type service,timer,socket,slice | awk '{print $1, $3}' | grep -v -e '^user' -e session
dpkg-query -W
if command -v nft >/dev/null; then nft list ruleset; fi
