#!/bin/sh
# dump.sh LIST FOLDER REDIS dumps what the lines of LIST name: TYPE SERVICE. A dump appears in FOLDER by a rename, when it is
# whole. REDIS is the folder of the data of each Redis, which saves itself within a minute after a change. PGHOST and PGPORT
# say where PostgreSQL is. It exits with 1 if a dump failed; the others are made.
set -eu
list=$1 folder=$2 redis=$3
umask 027
cd "$folder"
rm -f -- *.part
now=$(date -u +%Y%m%dT%H%M%SZ)
failed=0
while read -r type service; do
	to=$type.$service.$now.dump
	case $type in
	postgres) pg_dump --format=custom --no-password --username="$service" --file="$to.part" "$service" </dev/null ;;
	redis)
		if [ ! -e "$redis/$service/dump.rdb" ]; then
			echo "the Redis of $service is empty"
			continue
		fi
		gzip -1 <"$redis/$service/dump.rdb" >"$to.part"
		;;
	esac && sync "$to.part" && mv "$to.part" "$to" || failed=1
	# Where nothing moves them, the newest stay.
	find . -maxdepth 1 -type f -name "$type.$service.*.dump" | sort -r | tail -n +8 | xargs -r rm --
done <"$list"
exit "$failed"
