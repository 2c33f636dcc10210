package secret

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/seed-b96de936/troop/core"
)

func TestRead(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "token", "s3cret token\n")
	write(t, dir, "key", "-----BEGIN-----\nabc\n-----END-----\n")
	write(t, dir, "object", `{"user": "shop", "password": "pw-of-the-shop", "port": 5432, "pin": "123", "deep": {}}`)
	write(t, dir, "empty", "\n")
	write(t, dir, "bytes", "\xff\xfe")
	write(t, dir, "large", strings.Repeat("x", 70<<10))
	tests := map[string]struct {
		source  core.SecretSource
		want    string
		wantErr string
	}{
		"file of one line":           {core.SecretSource{File: dir + "/token"}, "s3cret token", ""},
		"file of several lines":      {core.SecretSource{File: dir + "/key"}, "-----BEGIN-----\nabc\n-----END-----\n", ""},
		"no file":                    {core.SecretSource{File: dir + "/none"}, "", "there is no file " + dir + "/none"},
		"empty file":                 {core.SecretSource{File: dir + "/empty"}, "", "empty"},
		"no text":                    {core.SecretSource{File: dir + "/bytes"}, "", "not UTF-8"},
		"too large":                  {core.SecretSource{File: dir + "/large"}, "", "larger than 64 KiB"},
		"member":                     {core.SecretSource{File: dir + "/object", Key: "password"}, "pw-of-the-shop", ""},
		"member that is a number":    {core.SecretSource{File: dir + "/object", Key: "port"}, "5432", ""},
		"too short":                  {core.SecretSource{File: dir + "/object", Key: "pin"}, "", "shorter than 4 characters, so that it cannot be hidden"},
		"member that is an object":   {core.SecretSource{File: dir + "/object", Key: "deep"}, "", "neither a text nor a number"},
		"no such member":             {core.SecretSource{File: dir + "/object", Key: "pass"}, "", `no member "pass"`},
		"member of what is no JSON":  {core.SecretSource{File: dir + "/token", Key: "password"}, "", "not a JSON object"},
		"command":                    {core.SecretSource{Command: []string{"cat", "token"}, Dir: dir}, "s3cret token", ""},
		"command by its path":        {core.SecretSource{Command: []string{"./own.sh"}, Dir: dir}, "from own.sh", ""},
		"command that fails":         {core.SecretSource{Command: []string{"sh", "-c", "echo half; echo locked >&2; exit 3"}, Dir: dir}, "", "run sh: exit status 3: locked"},
		"command that says nothing":  {core.SecretSource{Command: []string{"true"}, Dir: dir}, "", "empty"},
		"command that is not there":  {core.SecretSource{Command: []string{"no-such-command"}, Dir: dir}, "", "not installed"},
		"command that has no secret": {core.SecretSource{Command: []string{"false"}, Dir: dir}, "", "run false: exit status 1"},
	}
	write(t, dir, "own.sh", "#!/bin/sh\necho from own.sh\n")
	if err := os.Chmod(dir+"/own.sh", 0o755); err != nil {
		t.Fatal(err)
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := Read(t.Context(), tt.source)
			check(t, got, err, tt.want, tt.wantErr)
			if err != nil && (strings.Contains(err.Error(), "s3cret") || strings.Contains(err.Error(), "half")) {
				t.Errorf("the error holds the secret: %v", err)
			}
		})
	}
}

func TestReadIsCancelled(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	start := time.Now()
	_, err := Read(ctx, core.SecretSource{Command: []string{"sh", "-c", "sleep 60 & sleep 60"}})
	if err == nil || time.Since(start) > 10*time.Second {
		t.Errorf("got %v after %v", err, time.Since(start))
	}
}

// TestAWS asks an endpoint on this machine that answers as the two services do.
func TestAWS(t *testing.T) {
	asked := services(t)
	tests := map[string]struct {
		source  core.SecretSource
		want    string
		wantErr string
	}{
		"parameter":               {core.SecretSource{Parameter: "/shop/token"}, "value of the parameter", ""},
		"parameter by its region": {core.SecretSource{Parameter: "/shop/token", Region: "eu-west-1"}, "value of the parameter", ""},
		"no parameter":            {core.SecretSource{Parameter: "/shop/none"}, "", "AWS has no parameter /shop/none in us-east-1"},
		"parameter of others":     {core.SecretSource{Parameter: "/other/token"}, "", "ssm:GetParameter"},
		"secret":                  {core.SecretSource{SecretID: "shop/key"}, "line one\nline two\n", ""},
		"secret as JSON":          {core.SecretSource{SecretID: "shop/db", Key: "password"}, "pw in JSON", ""},
		"secret as bytes":         {core.SecretSource{SecretID: "shop/bytes"}, "some bytes", ""},
		"no secret":               {core.SecretSource{SecretID: "shop/none"}, "", "AWS has no secret shop/none in us-east-1"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := Read(t.Context(), tt.source)
			check(t, got, err, tt.want, tt.wantErr)
			region := tt.source.Region
			if region == "" {
				region = "us-east-1"
			}
			if auth := (*asked).Header.Get("Authorization"); !strings.Contains(auth, "/"+region+"/") {
				t.Errorf("signed for another region than %s: %s", region, auth)
			}
		})
	}
	t.Run("no region", func(t *testing.T) {
		t.Setenv("AWS_REGION", "")
		_, err := Read(t.Context(), core.SecretSource{Parameter: "/shop/token"})
		check(t, "", err, "", "set AWS_REGION")
	})
	t.Run("no credentials", func(t *testing.T) {
		t.Setenv("AWS_ACCESS_KEY_ID", "")
		_, err := Read(t.Context(), core.SecretSource{Parameter: "/shop/token"})
		check(t, "", err, "", "no AWS credentials: set AWS_PROFILE")
	})
}

// services serves the answers of the two services and returns the last request.
func services(t *testing.T) **http.Request {
	t.Helper()
	last := new(*http.Request)
	answer := func(w http.ResponseWriter, status int, body any) {
		w.Header().Set("Content-Type", "application/x-amz-json-1.1")
		w.WriteHeader(status)
		_ = json.NewEncoder(w).Encode(body)
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		*last = r
		var in struct {
			Name, SecretId string
			WithDecryption bool
		}
		if err := json.NewDecoder(r.Body).Decode(&in); err != nil {
			t.Errorf("request to %s: %v", r.Header.Get("X-Amz-Target"), err)
		}
		switch target := r.Header.Get("X-Amz-Target"); target + " " + in.Name + in.SecretId {
		case "AmazonSSM.GetParameter /shop/token":
			if !in.WithDecryption {
				t.Error("a SecureString is not decrypted")
			}
			answer(w, 200, map[string]any{"Parameter": map[string]any{"Name": in.Name, "Type": "SecureString", "Value": "value of the parameter", "Version": 1}})
		case "AmazonSSM.GetParameter /shop/none":
			answer(w, 400, map[string]any{"__type": "ParameterNotFound"})
		case "AmazonSSM.GetParameter /other/token":
			answer(w, 400, map[string]any{"__type": "AccessDeniedException", "Message": "User is not authorized"})
		case "secretsmanager.GetSecretValue shop/key":
			answer(w, 200, map[string]any{"Name": in.SecretId, "SecretString": "line one\nline two\n"})
		case "secretsmanager.GetSecretValue shop/db":
			answer(w, 200, map[string]any{"Name": in.SecretId, "SecretString": `{"password":"pw in JSON"}`})
		case "secretsmanager.GetSecretValue shop/bytes":
			answer(w, 200, map[string]any{"Name": in.SecretId, "SecretBinary": []byte("some bytes")})
		case "secretsmanager.GetSecretValue shop/none":
			answer(w, 400, map[string]any{"__type": "ResourceNotFoundException", "Message": "Secrets Manager can't find the specified secret."})
		default:
			t.Errorf("asked for %s %s", target, in.Name+in.SecretId)
			answer(w, 500, map[string]any{})
		}
	}))
	t.Cleanup(server.Close)
	for name, value := range map[string]string{
		"AWS_ENDPOINT_URL_SSM": server.URL, "AWS_ENDPOINT_URL_SECRETS_MANAGER": server.URL, "AWS_REGION": "us-east-1",
		"AWS_ACCESS_KEY_ID": "AKIAEXAMPLE", "AWS_SECRET_ACCESS_KEY": "example", "AWS_SESSION_TOKEN": "", "AWS_PROFILE": "",
		"AWS_CONFIG_FILE": "/dev/null", "AWS_SHARED_CREDENTIALS_FILE": "/dev/null", "AWS_EC2_METADATA_DISABLED": "true",
	} {
		t.Setenv(name, value)
	}
	return last
}

func check(t *testing.T, got string, err error, want, wantErr string) {
	t.Helper()
	switch {
	case wantErr == "" && err != nil:
		t.Errorf("got error %v", err)
	case wantErr != "" && (err == nil || !strings.Contains(err.Error(), wantErr)):
		t.Errorf("got error %v, want one with %q", err, wantErr)
	case got != want:
		t.Errorf("got %q, want %q", got, want)
	}
}

func write(t *testing.T, dir, name, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}
