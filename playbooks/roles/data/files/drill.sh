#!/bin/sh
# drill.sh restores the dump that it reads. Its last line begins with "ok", or says what is wrong. A dump of PostgreSQL goes
# into the database troop_drill, which is dropped again; PGHOST, PGPORT and PGUSER say where and as whom. Users of the services
# make what is in it, so that PGUSER may own that database and nothing else.
set -u
export LC_ALL=C PGOPTIONS="-c client_min_messages=warning"
exec 2>&1
exec 9<"$0"
flock 9 # one at a time
scratch=$(mktemp -d) || exit
trap 'rm -rf "$scratch"' EXIT
cd "$scratch" || exit

postgres() {
	dropdb --if-exists --force troop_drill && createdb --template=template0 troop_drill &&
		pg_restore --exit-on-error --no-owner --no-privileges --dbname=troop_drill dump || return
	pg_restore --list dump | awk '$4 == "TABLE" && $5 != "DATA" && $5 != "ATTACH" {print $5, $6}' | sort >listed
	psql -XAqt -d troop_drill -c "SELECT n.nspname || ' ' || c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
		WHERE c.relkind IN ('r', 'p') AND n.nspname NOT IN ('pg_catalog', 'information_schema')
		AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')" |
		awk '{print $1, $2}' | sort >restored
	if ! cmp -s listed restored; then
		echo "tables that the dump lists and that were not restored: $(comm -23 listed restored | tr '\n' ',')"
		return 1
	fi
	verdict="ok: $(wc -l <listed) tables"
}

redis() {
	gzip -d <dump >rdb || return
	if ! redis-check-rdb rdb >checked; then
		tail -n 3 checked
		return 1
	fi
	verdict="ok: $(sed -n 's/.*\[info\] \([0-9]* keys\) read.*/\1/p' checked)"
}

cat >dump || exit
verdict='it cannot be restored'
if [ "$(head -c 5 dump)" = PGDMP ]; then
	postgres
	dropdb --if-exists --force troop_drill || verdict='the scratch database cannot be dropped'
else
	redis
fi
echo "$verdict"
