#!/bin/sh
# remove.sh USER PACKAGE… takes off a server what the roles, the agents and the releases have put there: what before.sh has
# not noted. USER is the one who logs in; the packages are those that the roles install. It can be repeated until it succeeds.
set -eu
export LC_ALL=C DEBIAN_FRONTEND=noninteractive
before=/etc/troop/before
if [ ! -d "$before" ]; then
	echo "nothing is noted of this server, so that it has nothing of troop's"
	exit 0
fi
had() { grep -qxF -e "$2" "$before/$1"; }
home=$(getent passwd "$1" | cut -d: -f6)
shift

services=''
for folder in /opt/*/releases; do
	service=${folder%/releases} service=${service#/opt/}
	if [ -e "/etc/troop/installed/$service.sha256" ]; then services="$services $service"; fi
done

# Units, and the users that they run as.
units='' users='troop haproxy redis'
folders=/usr/local/lib/troop/
for service in $services; do folders="$folders|/opt/$service/"; done
for file in /etc/systemd/system/*; do
	if [ ! -f "$file" ] || [ -L "$file" ]; then continue; fi
	case ${file##*/} in
	troop-agent@*.service | troop.slice | troop-mailbox.service | redis-app.service | redis-quota.service | storage-quota.service | troop-data-*) ;;
	*) grep -qE -e "$folders" "$file" || continue ;;
	esac
	units="$units ${file##*/}"
	users="$users $(sed -n 's/^User=//p' "$file")"
done
# A timer has no folder in it.
for service in $services; do
	for file in "/etc/systemd/system/$service"-*.timer; do
		if [ -f "$file" ]; then units="${file##*/} $units"; fi
	done
done
# Slots and instances, also those that are only enabled.
all=''
for unit in $units; do
	case $unit in
	*@.*)
		name=${unit%%@*}@
		all="$all $(systemctl list-units --all --plain --no-legend "$name*" | awk '{print $1}')"
		all="$all $(find /etc/systemd/system -type l -name "$name*" -printf '%f\n' | sort -u)"
		;;
	*) all="$all $unit" ;;
	esac
done
for unit in $all; do
	systemctl --quiet disable --now "$unit" 2>/dev/null || systemctl --quiet stop "$unit" 2>/dev/null || true
done
for unit in $units; do
	case $unit in *@*) systemctl --quiet stop "system-$(systemd-escape "${unit%%@*}").slice" 2>/dev/null || true ;; esac
done
# A slot that serves nothing has settings all the same.
for service in $services; do rm -rf "/etc/systemd/system/$service"@?.service.d; done
for unit in $all $units; do
	rm -rf "/etc/systemd/system/$unit" "/etc/systemd/system/$unit.d"
	rm -f "/var/lib/systemd/timers/stamp-$unit"
done
for unit in haproxy redis-server; do
	if [ -e "/etc/systemd/system/$unit.service.d/troop.conf" ]; then
		systemctl --quiet stop "$unit" 2>/dev/null || true
		rm -f "/etc/systemd/system/$unit.service.d/troop.conf"
		rmdir --ignore-fail-on-non-empty "/etc/systemd/system/$unit.service.d"
		had enabled "$unit" || systemctl --quiet disable "$unit" 2>/dev/null || true
	fi
done
# The databases. Nothing else of PostgreSQL is troop's.
for folder in /etc/postgresql/*/troop; do
	if [ ! -d "$folder" ]; then continue; fi
	version=${folder%/troop} version=${version##*/}
	systemctl --quiet disable --now "postgresql@$version-troop" 2>/dev/null || true
	rm -rf "/etc/systemd/system/postgresql@$version-troop.service.d"
	pg_dropcluster --stop "$version" troop
done
systemctl daemon-reload

# Packages that were not there, and what came along with them.
purge=''
for package in "$@"; do
	if ! had packages "$package" && dpkg-query -W "$package" >/dev/null 2>&1; then purge="$purge $package"; fi
done
while [ -n "$purge" ]; do
	# shellcheck disable=SC2086 # names of packages
	apt-get -qq -y -o Dpkg::Use-Pty=0 purge $purge >/dev/null
	purge=''
	# What is only suggested by another package did not come for it.
	for package in $(apt-get -s -o APT::AutoRemove::SuggestsImportant=false autoremove | sed -n 's/^Remv \([^ ]*\).*/\1/p'); do
		had packages "${package%%:*}" || purge="$purge $package"
	done
done
for name in haproxy redis; do
	package=$name
	if [ "$name" = redis ]; then package=redis-server; fi
	rm -rf "/etc/${name:?}"
	if ! had packages "$package"; then
		rm -rf "/var/lib/${name:?}" "/var/log/${name:?}"*
		continue
	fi
	tar -C / -xpf "$before/files.tar" "etc/$name"
	if had enabled "$package"; then systemctl --quiet start "$package"; fi
done

# Folders.
for service in $services; do
	if had paths "/opt/$service"; then
		rm -rf "/opt/$service/releases" "/opt/$service"/slot-*
	else
		rm -rf "/opt/$service"
	fi
	for folder in "/var/lib/$service" "/var/log/$service"; do
		had paths "$folder" || rm -rf "$folder"
	done
done
for folder in /var/lib/troop /var/lib/troop-router /var/lib/troop-data /var/log/troop /srv/backups /usr/local/lib/troop; do
	had paths "$folder" || rm -rf "$folder"
done
rm -rf /var/mail/troop /var/dumps/accessories
if [ -d /var/dumps ]; then rmdir --ignore-fail-on-non-empty /var/dumps; fi
if ! had packages postgresql-common; then
	systemctl --quiet stop system-postgresql.slice 2>/dev/null || true
	rm -rf /etc/postgresql /etc/postgresql-common /var/lib/postgresql /var/log/postgresql
	users="$users postgres"
fi
# The package leaves its group.
if ! had packages ssl-cert && ! had groups ssl-cert && getent group ssl-cert >/dev/null; then
	chown root:root /etc/ssl/private
	chmod 700 /etc/ssl/private
	groupdel ssl-cert
fi

# The storage host's accounts.
if [ -e /etc/ssh/sshd_config.d/50-troop-backup.conf ]; then
	rm -rf /etc/ssh/sshd_config.d/50-troop-backup.conf /etc/ssh/troop-backup
	systemctl --quiet reload ssh
fi

# Users and groups.
users="$users $services $(cut -d: -f1 /etc/passwd | grep -E '^(troop|backup)-' || true)"
for name in $users; do
	if ! had users "$name" && getent passwd "$name" >/dev/null; then
		pkill -KILL -u "$name" || true
		userdel "$name"
	fi
done
for name in $users $(cut -d: -f1 /etc/group | grep -E '^troop-' || true); do
	if ! had groups "$name" && getent group "$name" >/dev/null; then groupdel "$name"; fi
done

# Blocks in files that belong to others.
cut_block() {
	[ -e "$1" ] || return 0
	grep -qxF -e "# BEGIN of $2" "$1" || return 0
	sed -i "/^# BEGIN of $2\$/,/^# END of $2\$/d" "$1"
	if [ ! -s "$1" ] && ! had paths "$1"; then rm "$1"; fi
}
cut_block /etc/hosts "troop's hosts"
cut_block /etc/systemd/journald.conf "troop's limits"
systemctl --quiet restart systemd-journald
cut_block "$home/.ssh/authorized_keys" "the team's keys"
for folder in "$home/.ssh" "$home/.ansible" /root/.ansible; do
	had paths "$folder" || rm -rf "$folder"
done
rm -rf /etc/troop
