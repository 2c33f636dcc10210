//go:build aws

// Package moto runs the real provider hashicorp/aws against moto, a server on loopback that answers like EC2, IAM, STS and
// S3. Only tests with the tag aws import it; make test-aws says what they need.
package moto

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// Config is the environment variable with the CLI configuration that finds the provider.
const Config = "TROOP_TEST_AWS_CONFIG"

// Region is where the images are.
const Region = "eu-central-1"

// images are what moto offers, by ID: name, owner and architecture. moto sets their dates.
var images = map[string][3]string{
	"ami-0aaaaaaaaaaaaaaa1": {"debian-12-amd64-20260901-1", "136693071363", "x86_64"},
	"ami-0aaaaaaaaaaaaaaa2": {"debian-12-arm64-20260901-1", "136693071363", "arm64"},
	"ami-0aaaaaaaaaaaaaaa4": {"ubuntu/images/hvm-ssd/ubuntu-jammy-22.04-amd64-server-20260901", "099720109477", "x86_64"},
	"ami-0aaaaaaaaaaaaaaa3": {"ubuntu/images/hvm-ssd-gp3/ubuntu-noble-24.04-amd64-server-20260901", "099720109477", "x86_64"},
}

// offer is the images as moto reads them.
func offer(t *testing.T) []byte {
	t.Helper()
	var all []map[string]any
	for id, image := range images {
		all = append(all, map[string]any{
			"ami_id": id, "name": image[0], "description": image[0], "owner_id": image[1], "architecture": image[2], "public": true,
			"virtualization_type": "hvm", "state": "available", "platform": nil, "image_type": "machine", "hypervisor": "xen",
			"root_device_name": "/dev/xvda", "root_device_type": "ebs", "sriov": "simple",
		})
	}
	b, err := json.Marshal(all)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// Start starts a server of its own for a test and sets the environment so that Terraform, the AWS command line and the SDK
// use it.
func Start(t *testing.T) (endpoint string) {
	t.Helper()
	dir := t.TempDir()
	amis := filepath.Join(dir, "amis.json")
	if err := os.WriteFile(amis, offer(t), 0o600); err != nil {
		t.Fatal(err)
	}
	port := free(t)
	endpoint = fmt.Sprintf("http://127.0.0.1:%d", port)
	for name, value := range map[string]string{
		"AWS_ENDPOINT_URL": endpoint, "AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_REGION": Region, "AWS_DEFAULT_REGION": Region,
		"AWS_EC2_METADATA_DISABLED": "true", "AWS_CONFIG_FILE": filepath.Join(dir, "none"), "AWS_SHARED_CREDENTIALS_FILE": filepath.Join(dir, "none"),
		"TF_CLI_CONFIG_FILE": os.Getenv(Config), "CHECKPOINT_DISABLE": "1",
		"GOGC": "400", // every command loads the provider's schema of 13 MB; collecting less often takes a sixth off its time
	} {
		t.Setenv(name, value)
	}
	log, err := os.Create(filepath.Join(dir, "moto.log"))
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(context.WithoutCancel(t.Context()), "python3", "-m", "moto.server", "-p", fmt.Sprint(port))
	cmd.Env = append(os.Environ(), "MOTO_AMIS_PATH="+amis)
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		_ = cmd.Wait()
		close(ended)
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-ended
		_ = log.Close()
	})
	for {
		answer, err := ask(t, endpoint+"/moto-api/")
		if err == nil {
			_ = answer.Body.Close()
			return endpoint
		}
		select {
		case <-ended:
			text, _ := os.ReadFile(log.Name())
			t.Fatalf("moto ended: %s", text)
		case <-time.After(100 * time.Millisecond):
		}
	}
}

func ask(t *testing.T, url string) (*http.Response, error) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	return http.DefaultClient.Do(r)
}

func free(t *testing.T) int {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().(*net.TCPAddr).Port
}

// Describe asks EC2 for what exists and returns the texts of an element of the answer, without duplicates. It is
// much cheaper than the AWS command line. filters are pairs of a name and a value. moto answers with status 500 while what
// it lists changes, as by a provider that outlives its killed Terraform for a moment.
func Describe(t *testing.T, action, element string, filters ...string) []string {
	t.Helper()
	query := url.Values{"Action": {action}, "Version": {"2016-11-15"}}
	for i := 0; i+1 < len(filters); i += 2 {
		query.Set(fmt.Sprintf("Filter.%d.Name", i/2+1), filters[i])
		for j, v := range strings.Split(filters[i+1], ",") {
			query.Set(fmt.Sprintf("Filter.%d.Value.%d", i/2+1, j+1), v)
		}
	}
	status, text := get(t, "ec2", query.Encode())
	for tries := 10; tries > 0 && status == http.StatusInternalServerError; tries-- {
		time.Sleep(100 * time.Millisecond)
		status, text = get(t, "ec2", query.Encode())
	}
	if status != http.StatusOK {
		t.Fatalf("%s: status %d\n%s", action, status, text)
	}
	return texts(text, element)
}

// Names returns the texts of an element in an answer of S3, which needs no query, or of IAM.
func Names(t *testing.T, service, query, element string) []string {
	t.Helper()
	status, text := get(t, service, query)
	if status != http.StatusOK {
		t.Fatalf("%s %s: status %d\n%s", service, query, status, text)
	}
	return texts(text, element)
}

// texts are those of the elements of a name, without duplicates.
func texts(xml, element string) (found []string) {
	for _, m := range regexp.MustCompile("<"+element+">([^<]*)</").FindAllStringSubmatch(xml, -1) {
		if !slices.Contains(found, m[1]) {
			found = append(found, m[1])
		}
	}
	return found
}

func get(t *testing.T, service, query string) (status int, text string) {
	t.Helper()
	r, err := http.NewRequestWithContext(context.WithoutCancel(t.Context()), http.MethodGet, os.Getenv("AWS_ENDPOINT_URL")+"/?"+query, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "AWS4-HMAC-SHA256 Credential=test/20260101/"+Region+"/"+service+"/aws4_request, SignedHeaders=host, Signature=0")
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = answer.Body.Close() }()
	b, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer.StatusCode, string(b)
}

// AWS runs the AWS command line and returns its output without the last newline.
func AWS(t *testing.T, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(context.WithoutCancel(t.Context()), "aws", append(args, "--output", "text")...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("aws %v: %v\n%s", args, err, out)
	}
	for len(out) > 0 && out[len(out)-1] == '\n' {
		out = out[:len(out)-1]
	}
	return string(out)
}
