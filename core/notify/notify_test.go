package notify

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/emersion/go-smtp"

	"github.com/seed-b96de936/troop/core"
)

func TestWants(t *testing.T) {
	alert := core.Event{Kind: "host.cpu", Severity: core.Alert}
	for _, c := range []struct {
		on   string
		e    core.Event
		want bool
	}{
		{"alert", alert, true},
		{"warning", alert, false},
		{"host.cpu", alert, true},
		{"host", alert, true},
		{"hos", alert, false},
		{"alert", core.Event{Kind: "host.cpu", Severity: core.Resolved}, true},
		{"run.failed", core.Event{Kind: "run.failed", Severity: core.Warning}, true},
		{"run.failed", core.Event{Kind: "run.passed", Severity: core.Info}, false},
	} {
		if got := Wants(core.Notifier{On: []string{c.on}}, c.e); got != c.want {
			t.Errorf("on %s, event %s %s: got %v", c.on, c.e.Severity, c.e.Kind, got)
		}
	}
}

// book records what was sent, and fails the first so many attempts.
type book struct {
	mu    sync.Mutex
	fails int
	got   []string
}

func (b *book) send(_ context.Context, n core.Notifier, m Message) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.fails > 0 {
		b.fails--
		return errors.New("server is away")
	}
	b.got = append(b.got, n.Name+": "+m.Subject+"\n"+m.Body)
	return nil
}

func TestCooldownGroupsAndRecovers(t *testing.T) {
	b := &book{}
	now := time.Unix(0, 0)
	r := &Router{
		Notifiers: []core.Notifier{{Type: "email", Name: "ops", On: []string{"alert"}, Cooldown: time.Minute}},
		Send:      b.send, now: func() time.Time { return now },
	}
	handle := func(after time.Duration, s core.Severity, key string) int {
		t.Helper()
		now = now.Add(after)
		if err := r.Handle(t.Context(), core.Event{Severity: s, Kind: "host.cpu", Summary: "busy", Key: key}); err != nil {
			t.Fatal(err)
		}
		return len(b.got)
	}
	steps := []struct {
		name  string
		after time.Duration
		s     core.Severity
		key   string
		want  int // messages so far
	}{
		{"first", 0, core.Alert, "cpu", 1},
		{"again within the cool-down", time.Second, core.Alert, "cpu", 1},
		{"another key", time.Second, core.Alert, "memory", 2},
		{"after the cool-down", time.Hour, core.Alert, "cpu", 3},
		{"recovery", time.Second, core.Resolved, "cpu", 4},
		{"recovery of what was not told", time.Second, core.Resolved, "cpu", 4},
		{"alert after the recovery", time.Second, core.Alert, "cpu", 5},
	}
	for _, s := range steps {
		if got := handle(s.after, s.s, s.key); got != s.want {
			t.Fatalf("%s: %d messages, want %d", s.name, got, s.want)
		}
	}
	if !strings.Contains(b.got[2], "1 more times") {
		t.Errorf("the held-back alert is not counted in:\n%s", b.got[2])
	}
}

func TestRetryThenReport(t *testing.T) {
	for _, c := range []struct {
		name  string
		fails int
		kind  string
	}{{"comes through", 2, "notify.sent"}, {"is given up", 3, "notify.failed"}} {
		t.Run(c.name, func(t *testing.T) {
			b := &book{fails: c.fails}
			var kinds []string
			r := &Router{
				Notifiers: []core.Notifier{{Type: "email", Name: "ops", On: []string{"alert"}}},
				Send:      b.send, Retries: []time.Duration{1, 1},
				Report: func(e core.Event) { kinds = append(kinds, e.Kind) },
			}
			err := r.Handle(t.Context(), core.Event{Severity: core.Alert, Kind: "host.cpu"})
			if (err != nil) != (c.kind == "notify.failed") || !slices.Equal(kinds, []string{c.kind}) {
				t.Fatalf("error %v, reports %v", err, kinds)
			}
		})
	}
}

// mailbox is a real SMTP server's backend.
type mailbox struct{ mails chan string }

func (m mailbox) NewSession(*smtp.Conn) (smtp.Session, error) { return session{m}, nil }

type session struct{ mailbox }

func (session) Mail(string, *smtp.MailOptions) error { return nil }
func (session) Rcpt(string, *smtp.RcptOptions) error { return nil }
func (session) Reset()                               {}
func (session) Logout() error                        { return nil }
func (s session) Data(r io.Reader) error {
	data, err := io.ReadAll(r)
	s.mails <- string(data)
	return err
}

func TestSendEmail(t *testing.T) {
	box := mailbox{make(chan string, 1)}
	srv := smtp.NewServer(box)
	srv.Domain = "localhost"
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go func() { _ = srv.Serve(l) }()
	t.Cleanup(func() { _ = srv.Close() })
	n := core.Notifier{Type: "email", Name: "ops", URL: "smtp://" + l.Addr().String() + "/?from=troop@localhost&to=ops@localhost"}
	e := core.Event{Severity: core.Alert, Environment: "lab", Host: "web-1", Summary: "a loop\r\nBcc: x@y", Kind: "process.hog", Data: map[string]any{"user": "guest"}}
	if err := Send(t.Context(), n, compose(e, 0)); err != nil {
		t.Fatal(err)
	}
	mail := <-box.mails
	for _, want := range []string{"Subject: [troop] ALERT lab/web-1: a loop Bcc: x@y\r\n", "user:        guest", "process.hog"} {
		if !strings.Contains(mail, want) {
			t.Errorf("no %q in\n%s", want, mail)
		}
	}
}

func TestSendOverHTTP(t *testing.T) {
	var path, auth, body string
	status := http.StatusCreated
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		data, _ := io.ReadAll(r.Body)
		path, body = r.URL.Path, string(data)
		_, auth, _ = r.BasicAuth()
		w.WriteHeader(status)
	}))
	t.Cleanup(srv.Close)
	host := strings.TrimPrefix(srv.URL, "http://")
	sms := "twilio://AC1:s3cret@" + host + "/?from=+15550001&to=+15550002&insecure=true"
	hook := "http://" + host + "/hooks/s3cret"
	m := Message{Subject: "busy", Body: "very"}

	if err := Send(t.Context(), core.Notifier{URL: sms}, m); err != nil {
		t.Fatal(err)
	}
	if path != "/2010-04-01/Accounts/AC1/Messages.json" || auth != "s3cret" || body != "Body=busy&From=%2B15550001&To=%2B15550002" {
		t.Errorf("sms: path %s, password %s, body %s", path, auth, body)
	}
	if err := Send(t.Context(), core.Notifier{URL: hook}, m); err != nil {
		t.Fatal(err)
	}
	if path != "/hooks/s3cret" || body != `{"body":"very","subject":"busy"}` {
		t.Errorf("webhook: path %s, body %s", path, body)
	}
	status = http.StatusForbidden
	for _, u := range []string{sms, hook, "http://127.0.0.1:1/s3cret", "smtp://u:s3cret@127.0.0.1:1/?from=a@b&to=c@d"} {
		err := Send(t.Context(), core.Notifier{URL: u}, m)
		if err == nil || strings.Contains(err.Error(), "s3cret") {
			t.Errorf("%s: error %v; want one without the secret", u, err)
		}
	}
}
