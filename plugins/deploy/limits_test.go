package main

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/seed-b96de936/troop/plugins/deploy/haproxy"
	"github.com/seed-b96de936/troop/plugins/deploy/state"
)

// inService adds a line to the manifest's block service.
func (s *site) inService(lines string) {
	const service = `service { command = ["node", "start.js"] }`
	s.manifest = strings.Replace(s.manifest, service, "service {\n command = [\"node\", \"start.js\"]\n"+lines+"\n}", 1)
}

// socket is an open WebSocket. Each end says lines instead of frames, until the last one.
type socket struct {
	net.Conn
	in            *bufio.Reader
	pool, release string
}

func (s *site) socket(t *testing.T) *socket {
	t.Helper()
	c, err := net.Dial("tcp", strings.TrimPrefix(s.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	if err := c.SetDeadline(time.Now().Add(2 * time.Minute)); err != nil {
		t.Fatal(err)
	}
	_, _ = io.WriteString(c, "GET /socket HTTP/1.1\r\nHost: shop\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"+
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")
	head := bufio.NewReader(c)
	resp, err := http.ReadResponse(head, nil)
	if err != nil || resp.StatusCode != http.StatusSwitchingProtocols {
		t.Fatalf("the socket: %v, %v", resp, err)
	}
	t.Cleanup(func() { _ = resp.Body.Close() })
	release, err := head.ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	return &socket{Conn: c, in: head, pool: resp.Header.Get("X-Troop-Pool"), release: strings.TrimSpace(release)}
}

func (c *socket) echoes(t *testing.T) {
	t.Helper()
	if _, err := io.WriteString(c.Conn, "still there\n"); err != nil {
		t.Error(err)
	}
	if line, err := c.in.ReadString('\n'); err != nil || line != "still there\n" {
		t.Errorf("a socket of %s says %q, %v", c.pool, line, err)
	}
}

// draining waits until a slot of a pool finishes what it has, and gets nothing new.
func (s *site) draining(t *testing.T, pool string) {
	t.Helper()
	s.eventually("a slot of "+pool+" drains", func() bool {
		servers, _, err := haproxy.New(s.setting.paths.Socket, "").Servers(t.Context())
		for name, server := range servers {
			if err == nil && strings.HasPrefix(name, pool+"/") && server.Admin == haproxy.Drain {
				return true
			}
		}
		return false
	})
}

// TestSocketsEndWithTheDrain has silent WebSockets open while both pools get another release. They outlive the request
// and idle timeouts, hold up the deploy no longer than the drain, and end with it: by the close frame that the former release sends when
// it is told to end.
func TestSocketsEndWithTheDrain(t *testing.T) {
	t.Parallel()
	s := newSite(t, oneEach)
	s.inService("timeouts {\n request = \"1s\"\n idle = \"1s\"\n}")
	s.manifest += "production { drain = \"3s\" }\n"
	s.mustDeploy(artifact1)
	s.stopAgent() // it has the drain of the former manifest
	s.startAgent()
	sockets := map[string]*socket{}
	for len(sockets) < 2 {
		c := s.socket(t)
		sockets[c.pool] = c
	}
	stop, ended := s.load(), make(chan error, 1)
	go func() { ended <- s.deploy(artifact2).Err }()
	for _, pool := range []string{state.PoolCanary, state.PoolProduction} {
		c := sockets[pool]
		s.draining(t, pool)
		c.echoes(t)
	}
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	for pool, c := range sockets {
		if rest, err := io.ReadAll(c.in); err != nil || string(rest) != closeFrame {
			t.Errorf("a socket of %s ends with %q, %v; want a close frame", pool, rest, err)
		}
		expect(t, "the release of a socket", c.release, artifact1)
	}
	if a := stop(); len(a.failed) > 0 {
		t.Errorf("failed: %q", a.failed)
	}
	expect(t, "the release of a new socket", s.socket(t).release, artifact2)
}

// transfer is an upload, and a stream of events, that are in flight in one pool.
type transfer struct {
	body   *io.PipeWriter
	answer chan string
	events *bufio.Reader
	end    func() error // of the stream
}

func (s *site) transfer(t *testing.T, pool string) *transfer {
	t.Helper()
	r, w := io.Pipe()
	x := &transfer{body: w, answer: make(chan string, 1)}
	request := func(method, path string, body io.Reader) *http.Request {
		req, err := http.NewRequestWithContext(t.Context(), method, s.url+path, body)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("X-Pool", pool)
		return req
	}
	upload := request(http.MethodPost, "/upload", r)
	go func() {
		resp, err := http.DefaultClient.Do(upload)
		if err != nil {
			_ = r.CloseWithError(err)
			x.answer <- err.Error()
			return
		}
		b, err := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		x.answer <- fmt.Sprintf("%s, %v", b, err)
	}()
	stream := request(http.MethodGet, "/ticks", nil)
	stream.Header.Set("Accept", "text/event-stream")
	resp, err := http.DefaultClient.Do(stream)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = resp.Body.Close() })
	x.end, x.events = resp.Body.Close, bufio.NewReader(resp.Body)
	return x
}

// send sends a part of the upload, and reads some events meanwhile.
func (x *transfer) send(t *testing.T, bytes int) {
	t.Helper()
	chunk := make([]byte, 1<<20)
	for range bytes / len(chunk) {
		if _, err := x.body.Write(chunk); err != nil {
			t.Fatal(err)
		}
	}
	for range 20 {
		if line, err := x.events.ReadString('\n'); err != nil || line != "data: "+artifact1+"\n" && line != "\n" {
			t.Fatalf("the stream says %q, %v", line, err)
		}
	}
}

// TestTransfersSurviveAPromotion has an upload of 200 MiB in chunks and a stream of events in flight in each pool while it gets another
// release.
func TestTransfersSurviveAPromotion(t *testing.T) {
	t.Parallel()
	s := newSite(t, oneEach)
	s.vars["router_tester_header"] = "X-Pool"
	s.configure()
	s.mustDeploy(artifact1)
	const half = 100 << 20
	pools := []string{state.PoolCanary, state.PoolProduction}
	transfers := map[string]*transfer{}
	for _, pool := range pools {
		transfers[pool] = s.transfer(t, pool)
		transfers[pool].send(t, half)
	}
	stop, ended := s.load(), make(chan error, 1)
	go func() { ended <- s.deploy(artifact2).Err }()
	for _, pool := range pools {
		x := transfers[pool]
		s.draining(t, pool)
		x.send(t, half)
		_ = x.body.Close()
		expect(t, "the answer to the upload in "+pool, <-x.answer, fmt.Sprintf("%s: %d bytes, <nil>, <nil>", artifact1, 2*half))
		_ = x.end()
	}
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	if a := stop(); len(a.failed) > 0 || a.release[artifact2] == 0 {
		t.Errorf("%v, failed: %q", a.release, a.failed)
	}
}

// TestSilentConnectionsLive holds a WebSocket and a stream of events that are silent for longer than a request may be.
func TestSilentConnectionsLive(t *testing.T) {
	t.Parallel()
	s := newSite(t, oneEach)
	s.inService("timeouts {\n request = \"1s\"\n idle = \"1s\"\n}")
	s.mustDeploy(artifact1)
	client := &http.Client{Timeout: time.Minute, Transport: &http.Transport{DisableKeepAlives: true}}

	socket := s.socket(t)
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
	socket.echoes(t)
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
