#!/bin/sh
# remove.sh SERVICE data|keep [USER…] takes a service off a host: its units, releases, logs and users, and with "data" its
# STATE_DIR. It prints what it removed, and can be repeated until it succeeds. USER is one that its releases have had.
set -eu
service=$1 data=$2
shift 2
opt=/opt units=/etc/systemd/system troop=/etc/troop lib=/var/lib log=/var/log
had() { grep -qsxF -e "$2" "$troop/before/$1"; }

# What starts others goes first.
ours=''
for file in "$units/$service"-*.timer "$units/$service@.service" "$units/$service"-*@?.service; do
  case ${file##*/} in
    "$service@.service") [ ! -f "$file" ] || ours="$ours $service@a.service $service@b.service $service@c.service $service@d.service" ;;
    *) ! grep -qsx "# a program of $service" "$file" || ours="$ours ${file##*/}" ;;
  esac
done
for unit in $ours $(systemctl list-units --plain --no-legend "$service-exec-[0-9]*.service" | awk '$1 !~ /@/ { print $1 }'); do
  systemctl -q disable --now "$unit" 2>/dev/null || systemctl -q stop "$unit" 2>/dev/null || true
done
users=$(sed -n 's/^User=//p' "$units/$service@.service" 2>/dev/null || true)
if [ -n "$ours" ]; then
  for unit in $ours; do
    rm -rf "${units:?}/$unit" "${units:?}/$unit.d" "$lib/systemd/timers/stamp-$unit"
    systemctl -q reset-failed "$unit" 2>/dev/null || true
    case $unit in *-*@*) systemctl -q stop "system-$(systemd-escape "${unit%%@*}").slice" 2>/dev/null || true ;; esac
  done
  rm -f "$units/$service@.service"
  systemctl -q stop "system-$(systemd-escape "$service").slice" 2>/dev/null || true
  systemctl daemon-reload
  echo "units"
fi

drop() {
  if [ -e "$1" ] || [ -L "$1" ]; then
    rm -rf "$1"
    echo "$1"
  fi
}
if had paths "$opt/$service"; then
  for path in "$opt/$service/releases" "$opt/$service"/slot-* "$opt/$service/current" "$opt/$service/exec"; do drop "$path"; done
else
  drop "$opt/$service"
fi
had paths "$log/$service" || drop "$log/$service"
if [ -d "$lib/$service" ] && ! had paths "$lib/$service"; then
  if [ "$data" = data ]; then drop "$lib/$service"; else find "$lib/$service" -depth -type d -empty -delete; fi
fi
for list in "$troop/installed/$service.sha256" "$troop/installed/$service"-[abcd].sha256; do
  if grep -qs -e " $opt/$service/" "$list"; then drop "$list"; fi
done

# The users that troop has made, unless something else runs as one. What stays belongs to root: another user may get the number.
for name in $(printf '%s\n' "$users" "$@" | sort -u); do
  entry=$(getent passwd "$name") || continue
  uid=$(echo "$entry" | cut -d: -f3) home=$(echo "$entry" | cut -d: -f6)
  if had users "$name" || [ "$uid" -lt 100 ] || [ "$uid" -gt 999 ] || [ "$home" != /nonexistent ] ||
    grep -qsx "User=$name" "$units"/*.service /lib/systemd/system/*.service /usr/lib/systemd/system/*.service; then continue; fi
  pkill -KILL -u "$name" || true
  if [ -d "$lib/$service" ]; then find "$lib/$service" -uid "$uid" -exec chown -h root:root '{}' +; fi
  userdel "$name"
  if getent group "$name" >/dev/null && ! had groups "$name"; then groupdel "$name"; fi
  echo "$name"
done
