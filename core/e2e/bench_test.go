//go:build lab

package e2e

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base32"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/seed-b96de936/troop/core/bus"
	"github.com/seed-b96de936/troop/core/remote"
	"github.com/seed-b96de936/troop/plugins/sdk/bucket/buckettest"
	"github.com/seed-b96de936/troop/plugins/sdk/sdktest"
)

// timed runs a command and returns its wall time.
func timed(b *testing.B, dir string, argv ...string) time.Duration {
	b.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute) // Debian's packer sometimes hangs in a busy loop
	defer cancel()
	c := exec.CommandContext(ctx, argv[0], argv[1:]...)
	c.Dir = dir
	c.WaitDelay = time.Second
	start := time.Now()
	if out, err := c.CombinedOutput(); err != nil {
		b.Fatalf("%s: %v\n%s", strings.Join(argv, " "), err, out)
	}
	return time.Since(start)
}

// The secrets of hosts, as core/environment derives them.
func derived(secrets map[string]string, purpose string) []byte {
	m := hmac.New(sha256.New, []byte(secrets["seed"]))
	m.Write([]byte(purpose))
	return m.Sum(nil)
}

func base32Text(b []byte) string {
	return base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(b)
}

func sha256Hex(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:])
}

// noops makes a repository with stages that do nothing; chained stages run in sequence.
func noops(b *testing.B, stages int, chained bool) (troop []string, dir string) {
	b.Helper()
	bin, err := filepath.Abs("../../bin/troop")
	if err != nil {
		b.Fatal(err)
	}
	dir = b.TempDir()
	plugins := filepath.Join(dir, "plugins")
	if err := os.Mkdir(plugins, 0o755); err != nil {
		b.Fatal(err)
	}
	dummy := sdktest.Build(b, "../../plugins/sdk/sdktest/dummy", "dummy")
	var m strings.Builder
	m.WriteString("pipeline \"noops\" {\n  source { path = \".\" }\n}\n")
	for i := range stages {
		fmt.Fprintf(&m, "stage \"dummy\" \"s%d\" {\n", i)
		if chained && i > 0 {
			fmt.Fprintf(&m, "  needs = [stage.dummy.s%d]\n", i-1)
		}
		m.WriteString("}\n")
	}
	if err := os.WriteFile(filepath.Join(dir, "pipeline.hcl"), []byte(m.String()), 0o644); err != nil {
		b.Fatal(err)
	}
	for _, argv := range [][]string{
		{"cp", dummy, plugins},
		{"git", "init", "-q", "."},
		{"git", "add", "pipeline.hcl"},
		{"git", "-c", "user.name=test", "-c", "user.email=test@localhost", "commit", "-qm", "stages"},
	} {
		timed(b, dir, argv...)
	}
	return []string{bin, "--plugin-dir", plugins, "--quiet"}, dir
}

// sixProvisioners makes an equivalent Packer template.
func sixProvisioners(b *testing.B, dir string) string {
	b.Helper()
	b.Setenv("CHECKPOINT_DISABLE", "1")
	template := filepath.Join(dir, "six.pkr.hcl")
	text := "source \"null\" \"n\" {\n  communicator = \"none\"\n}\nbuild {\n  sources = [\"source.null.n\"]\n" +
		strings.Repeat("  provisioner \"shell-local\" {\n    inline = [\"true\"]\n  }\n", 6) + "}\n"
	if err := os.WriteFile(template, []byte(text), 0o644); err != nil {
		b.Fatal(err)
	}
	return template
}

// BenchmarkSixStages runs six stages in sequence, one plugin process each, and compares with six shell-local provisioners
// of Packer. Budget: x/packer at most 0.5.
func BenchmarkSixStages(b *testing.B) {
	troop, dir := noops(b, 6, true)
	template := sixProvisioners(b, dir)
	timed(b, dir, append(troop, "run")...) // warm the caches
	var ours, theirs time.Duration
	for b.Loop() {
		ours += timed(b, dir, append(troop, "run")...)
		theirs += timed(b, dir, "packer", "build", template)
	}
	b.ReportMetric(ours.Seconds()*1000/float64(b.N), "troop-ms")
	b.ReportMetric(theirs.Seconds()*1000/float64(b.N), "packer-ms")
	b.ReportMetric(ours.Seconds()/theirs.Seconds(), "x/packer")
}

// BenchmarkValidate validates the six stages and compares with a bare start of the program and with Packer's validate of
// six provisioners. Budget: extra-ms at most 50.
func BenchmarkValidate(b *testing.B) {
	troop, dir := noops(b, 6, true)
	template := sixProvisioners(b, dir)
	timed(b, dir, append(troop, "validate")...)
	var validate, version, theirs time.Duration
	for b.Loop() {
		validate += timed(b, dir, append(troop, "validate")...)
		version += timed(b, dir, append(troop, "version")...)
		theirs += timed(b, dir, "packer", "validate", template)
	}
	b.ReportMetric((validate-version).Seconds()*1000/float64(b.N), "extra-ms")
	b.ReportMetric(validate.Seconds()*1000/float64(b.N), "troop-ms")
	b.ReportMetric(theirs.Seconds()*1000/float64(b.N), "packer-ms")
	b.ReportMetric(validate.Seconds()/theirs.Seconds(), "x/packer")
}

// BenchmarkManyStages runs 200 and 1,000 independent stages that do nothing, one plugin process each. Nearly all of the
// time is process start; BenchmarkStages in core/engine measures the engine alone. Budget: ms/stage at most 10, x/200 at
// most 1.1.
func BenchmarkManyStages(b *testing.B) {
	few, fewDir := noops(b, 200, false)
	many, manyDir := noops(b, 1000, false)
	timed(b, fewDir, append(few, "run")...) // warm the caches
	timed(b, manyDir, append(many, "validate")...)
	var of200, of1000 time.Duration
	for b.Loop() {
		of200 += timed(b, fewDir, append(few, "run")...)
		of1000 += timed(b, manyDir, append(many, "run")...)
	}
	b.ReportMetric(of1000.Seconds()/float64(b.N), "ms/stage") // seconds per 1,000 stages = ms per stage
	b.ReportMetric(5*of200.Seconds()/float64(b.N), "ms/stage-of-200")
	b.ReportMetric(of1000.Seconds()/of200.Seconds()/5, "x/200")
}

// BenchmarkSecondRun runs the example's pipeline again for the commit in production, and compares with the no-op runs of
// Terraform and Ansible alone. Budget: run-s at most 10.
func BenchmarkSecondRun(b *testing.B) {
	w := newWorld(b, func(manifest string) string { return manifest })
	if out, code := w.run(b); code != 0 {
		b.Fatalf("the first run: exit status %d\n%s", code, tail(out, 40))
	}
	env := filepath.Join(w.dir, ".troop/lab")
	playbooks, err := filepath.Glob(filepath.Join(env, "ansible/playbooks-*"))
	if err != nil || len(playbooks) != 1 {
		b.Fatalf("unpacked playbooks: %v, %v", playbooks, err)
	}
	w.learn(b)
	var secrets map[string]string
	if err := json.Unmarshal([]byte(w.read(b, ".troop/lab/secrets.json")), &secrets); err != nil {
		b.Fatal(err)
	}
	users, keys := map[string][]string{}, map[string][]string{}
	for h := range w.hosts {
		users[h] = []string{sha256Hex(base32Text(derived(secrets, "redis "+h)))}
		_, public, err := remote.KeyOf(derived(secrets, "storage "+h))
		if err != nil {
			b.Fatal(err)
		}
		keys[h] = []string{public}
	}
	certificate, certificateKey, err := bus.Certificate(derived(secrets, "certificate of redis"))
	if err != nil {
		b.Fatal(err)
	}
	vars, err := json.Marshal(map[string]any{
		"troop_redis_certificate": certificate, "troop_redis_certificate_key": certificateKey,
		"troop_environment": "lab", "troop_pipeline": "storefront",
		"troop_redis_address": w.hosts["router-1"].PrivateAddress, "troop_redis_port": 6379,
		"troop_redis_operator": []string{sha256Hex(secrets["redis_password"])}, "troop_redis_hosts": users, "troop_storage_keys": keys, "troop_admitted_keys": []string{}, "troop_retired_keys": []string{},
		"troop_redis_quota_password": base32Text(derived(secrets, "limits in redis")),
		"troop_app_redis_port":       6380, "troop_app_redis_password": base32Text(derived(secrets, "redis of the application")),
		"app_redis_memory": "64mb", "storage_mailbox": true,
	})
	if err != nil {
		b.Fatal(err)
	}
	w.write(b, ".troop/vars.json", string(vars))
	public := strings.TrimSpace(sh(b, w.dir, "ssh-keygen -y -f .troop/lab/ssh_key | cut -d ' ' -f 1,2"))
	w.write(b, ".troop/raw.tfvars", fmt.Sprintf("environment = \"lab\"\nssh_public_key = %q\n", public))
	b.Setenv("TF_CLI_CONFIG_FILE", filepath.Join(env, "terraform/.troop/cli.tfrc"))
	b.Setenv("CHECKPOINT_DISABLE", "1")
	b.Setenv("ANSIBLE_CONFIG", filepath.Join(playbooks[0], "ansible.cfg"))
	plan := []string{
		"terraform", "-chdir=" + env + "/terraform", "plan", "-input=false", "-detailed-exitcode",
		"-var-file=" + w.dir + "/.troop/raw.tfvars",
	}
	play := []string{
		"ansible-playbook", "--inventory", env + "/inventory.yml", "--private-key", env + "/ssh_key",
		"--ssh-common-args", "-o UserKnownHostsFile=" + env + "/known_hosts -o GlobalKnownHostsFile=none",
		"--extra-vars", "@" + w.dir + "/.troop/vars.json", playbooks[0] + "/site.yml",
	}
	if out := sh(b, w.dir, "'"+strings.Join(play, "' '")+"'"); regexp.MustCompile(`changed=[1-9]`).MatchString(out) {
		b.Fatalf("the raw playbook is not the same work:\n%s", out)
	}
	var ours, theirs time.Duration
	for b.Loop() {
		start := time.Now()
		out, code := w.run(b)
		ours += time.Since(start)
		if code != 0 || !strings.Contains(out, "site.yml: skipped, ") {
			b.Fatalf("exit status %d\n%s", code, tail(out, 40))
		}
		theirs += timed(b, w.dir, plan...) + timed(b, w.dir, play...)
	}
	b.ReportMetric(ours.Seconds()/float64(b.N), "run-s")
	b.ReportMetric(theirs.Seconds()/float64(b.N), "raw-s")
	b.ReportMetric(ours.Seconds()/theirs.Seconds(), "x/raw")
}

// BenchmarkSharedRun runs the example's pipeline for new commits, and again for the same ones, with runs and environment in
// a bucket of a real S3 server on this machine, and compares with the same in .troop. One lab serves both: the store was
// taken over. Budget: x/files at most 1.1.
func BenchmarkSharedRun(b *testing.B) {
	gateway := buckettest.Gateway(b)
	env, key := person(b, b.TempDir(), "ops")
	w := makeWorld(b, "The storefront", func(w *world) {
		w.env = env
		w.storefront(b, edit)
		text := shared(w.read(b, "pipeline.hcl"), gateway)
		w.write(b, "shared.hcl", text)
		w.write(b, "pipeline.hcl", regexp.MustCompile(`(?s)  store "s3" \{.*?\n  \}\n`).ReplaceAllString(text, "")) // the same team: hosts stay as they are
		w.write(b, "team.keys", key)
	})
	holders := func(manifest string) int64 {
		var l struct{ Fence int64 }
		if err := json.Unmarshal([]byte(w.results(b, "lock", "show", manifest, "--env", "lab", "--json")), &l); err != nil {
			b.Fatal(err)
		}
		return l.Fence
	}
	run := func(manifest string) time.Duration {
		start := time.Now()
		out, code := w.troop(b, "run", manifest, "--env", "lab")
		if code != 0 {
			b.Fatalf("%s: exit status %d\n%s", manifest, code, tail(out, 40))
		}
		return time.Since(start)
	}
	run("pipeline.hcl")
	var files, filesAgain, bucket, bucketAgain time.Duration
	commits := 0
	both := func() {
		for _, of := range []struct {
			manifest   string
			new, again *time.Duration
		}{{"shared.hcl", &bucket, &bucketAgain}, {"pipeline.hcl", &files, &filesAgain}} {
			w.must(b, "store", "copy", "shared.hcl") // the hosts obey the greater number
			w.write(b, ".troop/lab/fence", fmt.Sprintln(holders("shared.hcl")))
			commits++
			w.write(b, "lib/commits.js", fmt.Sprintf("module.exports = %d;\n", commits))
			w.commit(b, "A commit")
			*of.new += run(of.manifest)
			*of.again += run(of.manifest)
		}
	}
	both() // warms the caches of both
	files, filesAgain, bucket, bucketAgain = 0, 0, 0, 0
	for b.Loop() {
		both()
	}
	b.ReportMetric(bucket.Seconds()/float64(b.N), "bucket-s")
	b.ReportMetric(files.Seconds()/float64(b.N), "files-s")
	b.ReportMetric(bucket.Seconds()/files.Seconds(), "x/files")
	b.ReportMetric(bucketAgain.Seconds()/float64(b.N), "bucket-again-s")
	b.ReportMetric(filesAgain.Seconds()/float64(b.N), "files-again-s")
	b.ReportMetric(bucketAgain.Seconds()/filesAgain.Seconds(), "x/files-again")
}
