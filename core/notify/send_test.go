package notify

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"image/png"
	"io"
	"mime"
	"mime/multipart"
	"mime/quotedprintable"
	"net"
	"net/http"
	"net/http/httptest"
	"net/mail"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/emersion/go-smtp"

	"github.com/seed-b96de936/troop/core"
)

// mailbox is the backend of a real SMTP server, which knows some receivers and may hang.
type mailbox struct {
	mu    sync.Mutex
	mails map[string][]string // by receiver
	busy  int                 // how often it asks to come again
}

func (m *mailbox) NewSession(*smtp.Conn) (smtp.Session, error) { return &session{box: m}, nil }

type session struct {
	box *mailbox
	to  []string
}

func (s *session) Mail(string, *smtp.MailOptions) error { return nil }
func (s *session) Rcpt(to string, _ *smtp.RcptOptions) error {
	if strings.HasPrefix(to, "nobody@") {
		return &smtp.SMTPError{Code: 550, EnhancedCode: smtp.EnhancedCode{5, 1, 1}, Message: "no such user"}
	}
	s.box.mu.Lock()
	defer s.box.mu.Unlock()
	if s.box.busy > 0 {
		s.box.busy--
		return &smtp.SMTPError{Code: 451, EnhancedCode: smtp.EnhancedCode{4, 7, 1}, Message: "come again later"}
	}
	s.to = append(s.to, to)
	return nil
}
func (s *session) Reset()        { s.to = nil }
func (s *session) Logout() error { return nil }
func (s *session) Data(r io.Reader) error {
	data, err := io.ReadAll(r)
	s.box.mu.Lock()
	defer s.box.mu.Unlock()
	for _, to := range s.to {
		s.box.mails[to] = append(s.box.mails[to], string(data))
	}
	return err
}

func (m *mailbox) of(to string) []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.mails[to])
}

// mailServer runs a real SMTP server and returns its address.
func mailServer(t *testing.T) (*mailbox, string) {
	t.Helper()
	box := &mailbox{mails: map[string][]string{}}
	srv := smtp.NewServer(box)
	srv.Domain = "localhost"
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go func() { _ = srv.Serve(l) }()
	t.Cleanup(func() { _ = srv.Close() })
	return box, l.Addr().String()
}

// silent accepts connections and never says a word, as a mail server that hangs does.
func silent(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l.Addr().String()
}

var hog = core.Event{
	ID: "01", Severity: core.Alert, Environment: "lab", Host: "web-1", Key: "process.hog/7", Kind: "process.hog", Time: time.Unix(0, 0),
	Summary: "größer als erlaubt: a loop\r\nBcc: x@y",
	Data:    map[string]any{"user": "guest", "cpu": 180.0, "cpu_limit": 80.0, "samples": []any{10.0, 90.0, 180.0}, "command": "<b>\x1b[2J&"},
}

func messageOf(n core.Notifier, events ...core.Event) Message {
	var lines []Line
	for _, e := range events {
		lines = append(lines, Line{Event: e, Count: 1})
	}
	return compose(n, lines)
}

// A mail is a whole one: date, identity, encoded subject, text, HTML, and a picture that the HTML shows.
func TestMail(t *testing.T) {
	box, addr := mailServer(t)
	n := core.Notifier{Type: "email", Name: "ops", URL: "smtp://" + addr + "/?from=troop@localhost&to=ops@localhost", Page: "https://troop.example/"}
	if err := Send(t.Context(), n, messageOf(n, hog)); err != nil {
		t.Fatal(err)
	}
	raw := box.of("ops@localhost")
	if len(raw) != 1 {
		t.Fatalf("%d mails", len(raw))
	}
	m, err := mail.ReadMessage(strings.NewReader(raw[0]))
	if err != nil {
		t.Fatal(err)
	}
	subject, err := new(mime.WordDecoder).DecodeHeader(m.Header.Get("Subject"))
	if err != nil || subject != "[troop] ALERT lab/web-1: größer als erlaubt: a loop Bcc: x@y" || strings.Contains(m.Header.Get("Subject"), "ö") {
		t.Errorf("subject %q, %v", m.Header.Get("Subject"), err)
	}
	if _, err := m.Header.Date(); err != nil {
		t.Error("date:", err)
	}
	if id := m.Header.Get("Message-ID"); !strings.HasPrefix(id, "<") || !strings.Contains(id, "@") {
		t.Errorf("Message-ID %q", id)
	}
	if m.Header.Get("Bcc") != "" || m.Header.Get("Auto-Submitted") != "auto-generated" {
		t.Errorf("headers %v", m.Header)
	}
	parts := map[string]string{}
	collect(t, m.Header.Get("Content-Type"), m.Body, parts)
	for part, wants := range map[string][]string{
		"text/plain": {"user:        guest", "process.hog", "cpu_limit:   80", "https://troop.example/environments/lab"},
		"text/html":  {`src="cid:figure1.png"`, "&lt;b&gt;&amp;", `width="100%"`, `href="https://troop.example/environments/lab"`},
	} {
		for _, want := range wants {
			if !strings.Contains(parts[part], want) {
				t.Errorf("%s: no %q in\n%s", part, want, parts[part])
			}
		}
		if strings.Contains(parts[part], "\x1b") {
			t.Errorf("%s holds a control code", part)
		}
	}
	if img, err := png.Decode(strings.NewReader(parts["image/png"])); err != nil || img.Bounds().Dx() != 360 {
		t.Errorf("picture: %v", err)
	}
}

// collect reads the parts of a mail by their type.
func collect(t *testing.T, contentType string, body io.Reader, parts map[string]string) {
	t.Helper()
	typ, params, err := mime.ParseMediaType(contentType)
	if err != nil {
		t.Fatal(err)
	}
	for r := multipart.NewReader(body, params["boundary"]); strings.HasPrefix(typ, "multipart/"); {
		p, err := r.NextRawPart()
		if err != nil {
			return
		}
		var inner io.Reader = p
		switch strings.ToLower(p.Header.Get("Content-Transfer-Encoding")) {
		case "quoted-printable":
			inner = quotedprintable.NewReader(p)
		case "base64":
			inner = base64.NewDecoder(base64.StdEncoding, p)
			if id := p.Header.Get("Content-ID"); id != "<figure1.png>" {
				t.Errorf("Content-ID %s", id)
			}
		}
		collect(t, p.Header.Get("Content-Type"), inner, parts)
	}
	data, err := io.ReadAll(body)
	if err != nil {
		t.Fatal(err)
	}
	parts[typ] = string(data)
}

// One refused receiver keeps the mail from nobody else, and is not tried again.
func TestMailToSeveral(t *testing.T) {
	box, addr := mailServer(t)
	box.busy = 1 // as a server with a grey list does
	var mu sync.Mutex
	reports := map[string][]string{}
	r := &Router{
		Notifiers: []core.Notifier{{Type: "email", Name: "ops", On: []string{"alert"}, URL: "smtp://" + addr + "/?from=troop@localhost&to=one@x,nobody@x,two@x"}},
		Send:      Send,
		Report: func(e core.Event) {
			time.Sleep(20 * time.Millisecond) // so that a report which Handle does not wait for comes too late
			mu.Lock()
			defer mu.Unlock()
			to, _ := e.Data["receiver"].(string)
			reports[to] = append(reports[to], e.Kind)
		},
	}
	err := r.Handle(t.Context(), hog)
	if err == nil || !strings.Contains(err.Error(), "no such user") {
		t.Errorf("got %v", err)
	}
	if len(box.of("one@x")) != 1 || len(box.of("two@x")) != 1 {
		t.Errorf("%d and %d mails", len(box.of("one@x")), len(box.of("two@x")))
	}
	retried := slices.Concat(reports["one@x"], reports["two@x"])
	slices.Sort(retried)
	if !slices.Equal(reports["nobody@x"], []string{"notify.failed"}) || !slices.Equal(retried, []string{"notify.retrying", "notify.sent", "notify.sent"}) {
		t.Errorf("reports %v", reports)
	}
}

// A mail server that hangs holds no SMS back.
func TestHangingMailServer(t *testing.T) {
	told := make(chan string, 10)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		told <- r.FormValue("Body")
		w.WriteHeader(http.StatusCreated)
	}))
	t.Cleanup(srv.Close)
	r := &Router{Send: Send, Notifiers: []core.Notifier{
		{Type: "email", Name: "ops", On: []string{"alert"}, URL: "smtp://" + silent(t) + "/?from=a@b&to=c@d"},
		{Type: "sms", Name: "duty", On: []string{"alert"}, Limit: 6000, URL: "twilio://AC1:s3cret@" + strings.TrimPrefix(srv.URL, "http://") + "/?from=%2B15550001&to=%2B15550002&insecure=true"},
	}}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 20)
	for i := range 20 {
		e := hog
		e.Key += string(rune('a' + i))
		r.Take(ctx, e, func(err error) { done <- err })
		if i%10 == 9 {
			select {
			case <-told:
			case <-time.After(15 * time.Second):
				t.Fatal("the SMS waits for the mail")
			}
		}
	}
	cancel()
	for range 20 {
		if err := <-done; err == nil {
			t.Error("an alert counts as delivered though nobody got the mail")
		}
	}
}

// request is what a fake of a service got.
type request struct {
	path, query, auth string
	body              map[string]any
}

// fake answers as a service does.
func fake(t *testing.T, status int, answer string) (host string, got func() []request) {
	t.Helper()
	var mu sync.Mutex
	var all []request
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		q := request{path: r.URL.EscapedPath(), query: r.URL.RawQuery, auth: r.Header.Get("Authorization")}
		data, _ := io.ReadAll(r.Body)
		_ = json.Unmarshal(data, &q.body)
		all = append(all, q)
		w.Header().Set("Location", "/elsewhere")
		w.WriteHeader(status)
		_, _ = io.WriteString(w, answer)
	}))
	t.Cleanup(srv.Close)
	return strings.TrimPrefix(srv.URL, "http://"), func() []request {
		mu.Lock()
		defer mu.Unlock()
		return all
	}
}

// dig follows keys and indexes into JSON.
func dig(v any, path ...any) any {
	for _, p := range path {
		switch p := p.(type) {
		case string:
			m, _ := v.(map[string]any)
			v = m[p]
		case int:
			l, _ := v.([]any)
			if p >= len(l) {
				return nil
			}
			v = l[p]
		}
	}
	return v
}

func TestServices(t *testing.T) {
	end := hog
	end.Severity, end.Summary = core.Resolved, "over"
	const subject = "[troop] ALERT lab/web-1: größer als erlaubt: a loop Bcc: x@y"
	for name, c := range map[string]struct {
		status   int
		answer   string
		address  string // after the host
		user     string
		requests int
		check    func(t *testing.T, got []request)
	}{
		"slack": {200, "ok", "/services/T0/B0/s3cret", "", 1, func(t *testing.T, got []request) {
			t.Helper()
			if got[0].path != "/services/T0/B0/s3cret" || !strings.Contains(dig(got[0].body, "text").(string), "1 ALERT, 1 RESOLVED on lab/web-1") ||
				dig(got[0].body, "blocks", 0, "text", "type") != "mrkdwn" || !strings.Contains(dig(got[0].body, "blocks", 1, "text", "text").(string), "&lt;b&gt;&amp;") {
				t.Errorf("%v", got[0])
			}
		}},
		"teams": {202, "", "/workflows/1?sig=s3cret", "", 1, func(t *testing.T, got []request) {
			t.Helper()
			if got[0].query != "sig=s3cret" || dig(got[0].body, "attachments", 0, "content", "body", 0, "color") != "attention" ||
				dig(got[0].body, "attachments", 0, "contentType") != "application/vnd.microsoft.card.adaptive" {
				t.Errorf("%v", got[0])
			}
		}},
		"discord": {204, "", "/api/webhooks/1/s3cret", "", 1, func(t *testing.T, got []request) {
			t.Helper()
			mentions, ok := dig(got[0].body, "allowed_mentions", "parse").([]any)
			if !ok || len(mentions) > 0 || dig(got[0].body, "embeds", 0, "color") != float64(0xc0392b) {
				t.Errorf("%v", got[0])
			}
		}},
		"pagerduty": {202, `{"status":"success"}`, "/v2/enqueue", ":s3cret@", 2, func(t *testing.T, got []request) {
			t.Helper()
			const key = "lab/web-1/process.hog/7"
			if b := got[0].body; b["routing_key"] != "s3cret" || b["event_action"] != "trigger" || b["dedup_key"] != key ||
				dig(b, "payload", "severity") != "critical" || dig(b, "payload", "source") != "lab/web-1" || dig(b, "payload", "custom_details", "user") != "guest" {
				t.Errorf("%v", b)
			}
			if b := got[1].body; b["event_action"] != "resolve" || b["dedup_key"] != key || b["payload"] != nil {
				t.Errorf("%v", b)
			}
		}},
		"opsgenie": {202, `{"result":"Request will be processed"}`, "/v2/alerts", ":s3cret@", 2, func(t *testing.T, got []request) {
			t.Helper()
			if got[0].auth != "GenieKey s3cret" || got[0].path != "/v2/alerts" || got[0].body["alias"] != "lab/web-1/process.hog/7" || got[0].body["priority"] != "P1" {
				t.Errorf("%v", got[0])
			}
			if got[1].path != "/v2/alerts/lab%2Fweb-1%2Fprocess.hog%2F7/close" || got[1].query != "identifierType=alias" || got[1].auth != "GenieKey s3cret" {
				t.Errorf("%v", got[1])
			}
		}},
		"webhook": {200, "", "/hooks/s3cret", "", 1, func(t *testing.T, got []request) {
			t.Helper()
			if b := got[0].body; dig(b, "events", 0, "kind") != "process.hog" || dig(b, "events", 1, "severity") != "resolved" || b["body"] == "" {
				t.Errorf("%v", b)
			}
		}},
	} {
		t.Run(name, func(t *testing.T) {
			host, got := fake(t, c.status, c.answer)
			n := core.Notifier{Type: name, Name: "ops", URL: "http://" + c.user + host + c.address}
			if err := Send(t.Context(), n, messageOf(n, hog, end)); err != nil {
				t.Fatal(err)
			}
			if len(got()) != c.requests {
				t.Fatalf("%d requests", len(got()))
			}
			c.check(t, got())
			one := messageOf(n, hog)
			if one.Subject != subject {
				t.Errorf("subject %s", one.Subject)
			}
			// What is refused, moved or broken is no delivery, and no error holds the secret.
			for status, again := range map[int]bool{400: false, 403: false, 429: true, 503: true, 302: false, 307: false} {
				host, got := fake(t, status, "no: "+c.address)
				n.URL = "http://" + c.user + host + c.address
				err := Send(t.Context(), n, one)
				_, refused := errors.AsType[*RefusedError](err)
				if err == nil || refused == again || strings.Contains(err.Error(), "s3cret") || len(got()) != 1 {
					t.Errorf("%d: refused %v, %d requests, %v", status, refused, len(got()), err)
				}
			}
		})
	}
}

func TestSMS(t *testing.T) {
	var path, auth, body string
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		data, _ := io.ReadAll(r.Body)
		path, body = r.URL.Path, string(data)
		_, auth, _ = r.BasicAuth()
		w.WriteHeader(http.StatusCreated)
	}))
	t.Cleanup(srv.Close)
	n := core.Notifier{Type: "sms", URL: "twilio://AC1:s3cret@" + strings.TrimPrefix(srv.URL, "http://") + "/?from=+15550001&to=+15550002,+15550003&insecure=true"}
	all := receivers(n)
	if len(all) != 2 {
		t.Fatalf("%d receivers", len(all))
	}
	if err := Send(t.Context(), all[1], Message{Subject: "busy", Body: "very"}); err != nil {
		t.Fatal(err)
	}
	if path != "/2010-04-01/Accounts/AC1/Messages.json" || auth != "s3cret" || body != "Body=busy&From=%2B15550001&To=%2B15550003" {
		t.Errorf("path %s, password %s, body %s", path, auth, body)
	}
}

func TestErrorsHoldNoSecret(t *testing.T) {
	for _, u := range []string{
		"http://127.0.0.1:1/s3cret", "smtp://u:s3cret@127.0.0.1:1/?from=a@b&to=c@d", "twilio://u:s3cret@127.0.0.1:1/?from=1&to=2&insecure=true",
		"http://127.0.0.1:1/?token=s3cret", "nothing://s3cret/", "smtp://u:s3cret@127.0.0.1:1/",
	} {
		err := Send(t.Context(), core.Notifier{Type: "chat", URL: u}, Message{Subject: "a", Body: "b"})
		if err == nil || strings.Contains(err.Error(), "s3cret") {
			t.Errorf("%s: error %v; want one without the secret", u, err)
		}
	}
}
