package playbooks_test

import (
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// TestDumps dumps two databases of a real PostgreSQL, in which the program that restores owns nothing but its scratch database,
// and restores the dumps: whole ones, one that was cut, and one of which a table is missing afterwards.
func TestDumps(t *testing.T) {
	t.Parallel()
	files, err := filepath.Abs("roles/data/files")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.Chmod(filepath.Dir(dir), 0o755); err != nil { // it is for more than its owner
		t.Fatal(err)
	}
	for _, name := range []string{"dump.sh", "drill.sh"} {
		text, err := os.ReadFile(filepath.Join(files, name))
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, name), text, 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	cmd := func(line string) *exec.Cmd {
		c := exec.CommandContext(t.Context(), "sh", "-ec", `PATH=$(ls -d /usr/lib/postgresql/*/bin | tail -n 1):$PATH; `+line)
		c.Dir = dir
		c.Env = append(os.Environ(), "HOME="+dir, "PGHOST="+dir, "PGUSER=postgres", "PGDATABASE=postgres")
		if os.Getuid() == 0 { // PostgreSQL does not run as root
			nobody, err := user.Lookup("nobody")
			if err != nil {
				t.Fatal(err)
			}
			uid, _ := strconv.Atoi(nobody.Uid)
			gid, _ := strconv.Atoi(nobody.Gid)
			if err := os.Chown(dir, uid, gid); err != nil {
				t.Fatal(err)
			}
			c.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}}
		}
		return c
	}
	sh := func(line string) string {
		t.Helper()
		out, err := cmd(line).CombinedOutput()
		if err != nil {
			t.Fatalf("%s: %v\n%s", line, err, out)
		}
		return strings.TrimSpace(string(out))
	}
	sh(`initdb -D db -U postgres -A trust -E UTF8 --locale C.UTF-8 >/dev/null
		echo "listen_addresses = ''
		unix_socket_directories = '$PWD'" >>db/postgresql.conf
		pg_ctl -D db -l log -w start >/dev/null`)
	t.Cleanup(func() {
		c := exec.Command("sh", "-c", `kill -INT "$(head -n 1 db/postmaster.pid)" && while [ -e db/postmaster.pid ]; do sleep 0.05; done`)
		c.Dir = dir
		_ = c.Run()
	})
	sh(`psql -q -c 'CREATE ROLE troop_drill LOGIN CREATEDB' -c 'CREATE ROLE "shop-a" LOGIN' -c 'CREATE ROLE blog LOGIN' \
			-c 'CREATE DATABASE "shop-a" OWNER "shop-a"' -c 'CREATE DATABASE blog OWNER blog'
		psql -q -U shop-a -d shop-a -c 'CREATE TABLE orders (id int PRIMARY KEY)' -c 'INSERT INTO orders SELECT generate_series(1, 50000)' \
			-c 'CREATE SCHEMA "Old Ones"' -c 'CREATE TABLE "Old Ones"."all orders" (note text)' -c 'CREATE EXTENSION hstore' \
			-c 'CREATE TABLE days (day date) PARTITION BY RANGE (day)' \
			-c "CREATE TABLE day_1 PARTITION OF days FOR VALUES FROM ('2026-01-01') TO ('2026-01-02')" \
			-c 'CREATE MATERIALIZED VIEW counted AS SELECT count(*) FROM orders'
		mkdir out redis
		printf 'postgres shop-a\npostgres blog\nredis shop-a\n' >list`)
	if got := sh("touch out/postgres.old.dump.part; sh dump.sh $PWD/list $PWD/out $PWD/redis"); got != "the Redis of shop-a is empty" {
		t.Errorf("a Redis without data: %q", got)
	}
	if got := sh("ls out | sed 's/[0-9]*T[0-9]*Z/TIME/' | tr '\\n' ' '"); got != "postgres.blog.TIME.dump postgres.shop-a.TIME.dump" {
		t.Fatalf("dumps: %s", got)
	}
	for _, c := range []struct{ name, input, want string }{
		{"whole", "cat out/postgres.shop-a.*", "ok: 4 tables"},
		{"empty", "cat out/postgres.blog.*", "ok: 0 tables"},
		{"cut", "head -c -2000 out/postgres.shop-a.*", "could not read from input file: end of file\nit cannot be restored"},
		{"of nothing", "true", "unexpected end of file\nit cannot be restored"},
		{"of something else", "echo hello", "not in gzip format\nit cannot be restored"},
	} {
		if got := sh(c.input + " | PGUSER=troop_drill sh drill.sh"); !strings.HasSuffix(got, c.want) {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
	// The dump of a service that has tables which a restore leaves out: its list says so.
	sh(`mkdir bin && printf '#!/bin/sh\ncase $* in *--list*) exec %s "$@" ;; esac\nexec %s --exclude-schema="Old Ones" "$@"\n' "$(command -v pg_restore)" "$(command -v pg_restore)" >bin/pg_restore && chmod +x bin/pg_restore`)
	if got := sh("PATH=$PWD/bin:$PATH; PGUSER=troop_drill sh drill.sh <$(ls out/postgres.shop-a.*)"); !strings.Contains(got, "were not restored: Old Ones,\nit cannot be restored") {
		t.Errorf("a table that is missing: %q", got)
	}
	if got := sh("psql -XAtc \"SELECT count(*) FROM pg_database WHERE datname = 'troop_drill'\""); got != "0" {
		t.Error("a scratch database is left")
	}
	if got, err := cmd("psql -q -U postgres -c 'ALTER ROLE blog NOLOGIN'; sh dump.sh $PWD/list $PWD/out $PWD/redis").CombinedOutput(); err == nil || !strings.Contains(string(got), "not permitted to log in") {
		t.Errorf("a dump that fails: %v\n%s", err, got)
	}
	if got := sh("rm out/*shop*; for d in 1 2 3 4 5 6 7 8 9; do touch out/postgres.shop-a.2026010${d}T031500Z.dump out/postgres.shop-a-b.2026010${d}T031500Z.dump; done; sh dump.sh $PWD/list $PWD/out $PWD/redis >/dev/null 2>&1 || ls out | grep -c shop"); got != "16" {
		t.Errorf("%s dumps stay, want the newest 7 of the service, and 9 of another", got)
	}
}
