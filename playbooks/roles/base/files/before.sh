#!/bin/sh
# before.sh USER notes what a server has before it is configured for the first time. remove.sh leaves that as it is. USER
# is the one who logs in.
set -eu
umask 022
to=/etc/troop/before
[ ! -d "$to" ] || exit 0
new=/etc/troop/.before.new
rm -rf "$new"
mkdir -p "$new"
cd "$new"
dpkg-query -W -f='${db:Status-Status} ${Package}\n' | sed -n 's/^installed //p' >packages
cut -d: -f1 /etc/passwd >users
cut -d: -f1 /etc/group >groups
home=$(getent passwd "$1" | cut -d: -f6)
for path in /opt/* /srv/* /var/lib/* /var/log/* /usr/local/lib/* /etc/systemd/journald.conf \
	"$home/.ssh" "$home/.ssh/authorized_keys" "$home/.ansible" /root/.ansible; do
	if [ -e "$path" ]; then echo "$path"; fi
done >paths
for unit in haproxy redis-server; do
	if systemctl --quiet is-enabled "$unit" 2>/dev/null; then echo "$unit"; fi
done >enabled
# Files of packages that were there, and that the roles write anew.
set --
for path in etc/haproxy etc/redis etc/hosts; do
	if [ -e "/$path" ]; then set -- "$@" "$path"; fi
done
tar -C / -cpf files.tar -- "$@"
mv "$new" "$to"
