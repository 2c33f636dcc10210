package main

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/seed-b96de936/troop/plugins/deploy/state"
)

// inService adds a line to the manifest's block service.
func (s *site) inService(lines string) {
	const service = `service { command = ["node", "start.js"] }`
	s.manifest = strings.Replace(s.manifest, service, "service {\n command = [\"node\", \"start.js\"]\n"+lines+"\n}", 1)
}

// TestSilentConnectionsLive holds a WebSocket and a stream of events that are silent for longer than a request may be.
func TestSilentConnectionsLive(t *testing.T) {
	t.Parallel()
	s := newSite(t, oneEach)
	s.inService("timeouts {\n request = \"1s\"\n idle = \"1s\"\n}")
	s.mustDeploy(artifact1)
	client := &http.Client{Timeout: time.Minute, Transport: &http.Transport{DisableKeepAlives: true}}

	socket, err := net.Dial("tcp", strings.TrimPrefix(s.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = socket.Close() })
	if err := socket.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	_, _ = io.WriteString(socket, "GET /socket HTTP/1.1\r\nHost: shop\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"+
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")
	head := bufio.NewReader(socket)
	resp, err := http.ReadResponse(head, nil)
	if err != nil || resp.StatusCode != http.StatusSwitchingProtocols {
		t.Fatalf("the socket: %v, %v", resp, err)
	}
	t.Cleanup(func() { _ = resp.Body.Close() })
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.url+"/events", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Accept", "text/event-stream")
	events, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = events.Body.Close() })

	for range 3 { // each is cut after a second
		resp, err := client.Get(s.url + "/hang")
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		expect(t, "a request without an answer", resp.StatusCode, http.StatusGatewayTimeout)
	}
	if _, err := io.WriteString(socket, "still there\n"); err != nil {
		t.Error(err)
	}
	if line, err := head.ReadString('\n'); err != nil || line != "still there\n" {
		t.Errorf("the socket says %q, %v", line, err)
	}
	close(s.hanging)
	if b, err := io.ReadAll(events.Body); err != nil || string(b) != "data: late\n\n" {
		t.Errorf("the stream says %q, %v", b, err)
	}
}

func TestBodiesAreLimited(t *testing.T) {
	t.Parallel()
	s := newSite(t, oneEach)
	s.inService(`max_body = "1K"`)
	s.mustDeploy(artifact1)
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, ExpectContinueTimeout: time.Minute}}
	for name, tt := range map[string]struct {
		body io.Reader
		want int
	}{
		"small":      {strings.NewReader(strings.Repeat("x", 1024)), http.StatusOK},
		"large":      {strings.NewReader(strings.Repeat("x", 1025)), http.StatusRequestEntityTooLarge},
		"any length": {io.MultiReader(strings.NewReader("x")), http.StatusLengthRequired},
	} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.url+"/", tt.body)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Expect", "100-continue") // else a refusal may break off the sending
		resp, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		expect(t, name, resp.StatusCode, tt.want)
	}
}

// TestForwardedHeaders has a client that claims to be somebody else's proxy. Only a known proxy is believed.
func TestForwardedHeaders(t *testing.T) {
	t.Parallel()
	s := newSite(t, oneEach)
	s.mustDeploy(artifact1)
	ask := func() string {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.url+"/forwarded", nil)
		if err != nil {
			t.Fatal(err)
		}
		for name, value := range map[string]string{
			"X-Forwarded-For": "203.0.113.1, 203.0.113.2", "X-Forwarded-Proto": "https", "X-Forwarded-Host": "shop.example.com",
			"X-Forwarded-Port": "443", "X-Real-IP": "203.0.113.1", "Forwarded": "for=203.0.113.1",
		} {
			req.Header.Set(name, value)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = resp.Body.Close() }()
		b, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	host := strings.TrimPrefix(s.url, "http://")
	expect(t, "of an unknown client", ask(), "X-Forwarded-For=127.0.0.1;X-Forwarded-Proto=http;X-Forwarded-Host="+host+";X-Forwarded-Port=;X-Real-Ip=;Forwarded=;")
	s.vars["router_proxies"] = []string{"127.0.0.0/8"}
	s.configure()
	s.eventually("the router is back", func() bool { return s.actual().Settled })
	expect(t, "of a known proxy", ask(), "X-Forwarded-For=203.0.113.1, 203.0.113.2+127.0.0.1;X-Forwarded-Proto=https;X-Forwarded-Host=shop.example.com;X-Forwarded-Port=443;X-Real-Ip=203.0.113.1;Forwarded=for=203.0.113.1;")
}

// TestSettingsAreWrittenOnce deploys twice with the same settings: the router is configured once.
func TestSettingsAreWrittenOnce(t *testing.T) {
	t.Parallel()
	s := newSite(t, oneEach)
	s.inService("timeouts { request = \"90s\" }\n max_body = \"2M\"")
	s.mustDeploy(artifact1)
	s.mustDeploy(artifact2)
	n := 0
	for _, p := range s.fake.Playbooks() {
		if p.Name == "router.yml" {
			n++
		}
	}
	expect(t, "how often the router was configured", n, 1)
	if got := s.actual().Settings; got == nil || got.Request != 90_000 || got.Body != 2<<20 || got.Tunnel != state.DefaultSettings().Tunnel {
		t.Errorf("settings: %+v", got)
	}
}
