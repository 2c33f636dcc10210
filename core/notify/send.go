package notify

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nicholas-fedor/shoutrrr"
	"github.com/nicholas-fedor/shoutrrr/pkg/types"
	"github.com/wneessen/go-mail"

	"github.com/seed-b96de936/troop/core"
)

// RefusedError is a message that its receiver will refuse the next time, too.
type RefusedError struct{ Reason string }

func (e *RefusedError) Error() string { return e.Reason }

// Send delivers by the type of a notifier, and by the scheme of its URL:
//
//	smtp://USER:PASSWORD@HOST:PORT/?from=A&to=B        e-mail, with TLS when the server offers it; smtps:// with TLS from the start
//	twilio://SID:TOKEN@HOST/?from=+1…&to=+1…           SMS; HOST is api.twilio.com
//	http://… and https://…                             webhook: the message as JSON; of the types slack, teams, discord,
//	                                                   pagerduty and opsgenie, what these services take
//	telegram://…, matrix://… and so on                 chat, as the shoutrrr library writes it
//
// An error never holds the URL, which may hold a secret.
func Send(ctx context.Context, n core.Notifier, m Message) error {
	u, err := url.Parse(n.URL)
	if err != nil {
		return &RefusedError{fmt.Sprintf("the address of %s %s is no URL", n.Type, n.Name)}
	}
	switch {
	case u.Scheme == "smtp" || u.Scheme == "smtps":
		err = email(ctx, u, m)
	case u.Scheme == "twilio":
		err = sms(ctx, u, m)
	case services[n.Type] != nil:
		err = services[n.Type](ctx, u, m)
	case u.Scheme == "http" || u.Scheme == "https":
		err = webhook(ctx, u, m)
	default:
		err = library(ctx, n.URL, m)
	}
	if err == nil {
		return nil
	}
	text := hide(err.Error(), n.URL, u)
	if _, ok := errors.AsType[*RefusedError](err); ok {
		return &RefusedError{text}
	}
	return errors.New(text)
}

// email sends one whole mail to one receiver, so that a server which refuses one keeps it from no other.
func email(ctx context.Context, u *url.URL, m Message) error {
	q := u.Query()
	msg := mail.NewMsg()
	if err := msg.From(cmp.Or(q.Get("from"), q.Get("fromAddress"))); err != nil {
		return &RefusedError{"the address has no good sender, from=NAME@HOST"}
	}
	if err := msg.To(cmp.Or(q.Get("to"), q.Get("toAddresses"))); err != nil {
		return &RefusedError{"the address has no good receiver, to=NAME@HOST"}
	}
	msg.Subject(m.Subject)
	msg.SetDate()
	msg.SetMessageID()
	msg.SetGenHeader("Auto-Submitted", "auto-generated")
	for _, l := range m.Lines[:min(1, len(m.Lines))] {
		if l.Key != "" { // so that mail programs show an alert and its end as one conversation
			msg.SetGenHeader("References", fmt.Sprintf("<%x@troop>", l.Environment+string(l.Host)+l.Key))
		}
	}
	msg.SetBodyString(mail.TypeTextPlain, m.Body)
	html, files, err := m.html()
	if err != nil {
		return err
	}
	msg.AddAlternativeString(mail.TypeTextHTML, html)
	for _, f := range files {
		if err := msg.EmbedReader(f.name, bytes.NewReader(f.data), mail.WithFileContentID("<"+f.name+">")); err != nil {
			return err
		}
	}
	client, err := mailClient(ctx, u)
	if err != nil {
		return &RefusedError{err.Error()}
	}
	if err := client.DialAndSendWithContext(ctx, msg); err != nil {
		if refused, ok := errors.AsType[*mail.SendError](err); ok && !refused.IsTemp() && refused.ErrorCode() >= 500 {
			return &RefusedError{err.Error()}
		}
		return err
	}
	return nil
}

func mailClient(ctx context.Context, u *url.URL) (*mail.Client, error) {
	host, _ := os.Hostname()
	secure := u.Scheme == "smtps" || u.Port() == "465"
	options := []mail.Option{
		mail.WithTimeout(sendTimeout), mail.WithTLSPolicy(mail.TLSOpportunistic), mail.WithHELO(cmp.Or(host, "localhost")),
		mail.WithDialContextFunc(func(dialing context.Context, network, address string) (net.Conn, error) {
			conn, err := new(net.Dialer).DialContext(dialing, network, address)
			if err != nil {
				return nil, err
			}
			context.AfterFunc(ctx, func() { _ = conn.Close() }) // a server that says nothing ends with the attempt
			if secure {
				conn = tls.Client(conn, &tls.Config{ServerName: u.Hostname(), MinVersion: tls.VersionTLS12})
			}
			return conn, nil
		}),
	}
	if secure {
		options = append(options, mail.WithSSL())
	}
	if port, err := strconv.Atoi(u.Port()); err == nil {
		options = append(options, mail.WithPort(port))
	}
	if password, ok := u.User.Password(); ok {
		auth := mail.SMTPAuthAutoDiscover
		if ip := net.ParseIP(u.Hostname()); ip != nil && ip.IsLoopback() { // a relay on this machine has no certificate
			auth = mail.SMTPAuthPlainNoEnc
			options = append(options, mail.WithTLSConfig(&tls.Config{InsecureSkipVerify: true})) //nolint:gosec // G402: nobody is between
		}
		options = append(options, mail.WithUsername(u.User.Username()), mail.WithPassword(password), mail.WithSMTPAuth(auth))
	}
	return mail.NewClient(u.Hostname(), options...)
}

func library(ctx context.Context, address string, m Message) error {
	sender, err := shoutrrr.CreateSender(address)
	if err != nil {
		return &RefusedError{err.Error()}
	}
	done := make(chan error, 1)
	go func() {
		params := types.Params{"title": m.Subject}
		done <- errors.Join(sender.Send(m.Body, &params)...)
	}()
	select {
	case err := <-done:
		return err
	case <-ctx.Done(): // the library takes no context; its own time-outs end the goroutine
		return ctx.Err()
	}
}

// sms sends the subject by Twilio's Messages resource.
func sms(ctx context.Context, u *url.URL, m Message) error {
	token, _ := u.User.Password()
	sid := u.User.Username()
	q := u.Query()
	if sid == "" || token == "" || q.Get("from") == "" || q.Get("to") == "" {
		return &RefusedError{"want twilio://SID:TOKEN@api.twilio.com/?from=+1…&to=+1…"}
	}
	// "+" in a query is a space to the URL's parser.
	number := func(s string) string { return "+" + strings.TrimLeft(strings.TrimSpace(s), "+ ") }
	form := url.Values{"From": {number(q.Get("from"))}, "To": {number(q.Get("to"))}, "Body": {strings.TrimSpace(m.Subject + "\n" + m.Page)}}
	address := url.URL{Scheme: "https", Host: u.Host, Path: "/2010-04-01/Accounts/" + sid + "/Messages.json"}
	if q.Get("insecure") == "true" { // an endpoint on this machine that stands for Twilio
		address.Scheme = "http"
	}
	return post(ctx, &address, "application/x-www-form-urlencoded", []byte(form.Encode()), func(r *http.Request) { r.SetBasicAuth(sid, token) })
}

// client follows no redirect: the body would be lost on the way, and what is at its end answers 200.
var client = &http.Client{ //nolint:gochecknoglobals // it keeps connections
	CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	Timeout:       sendTimeout,
}

func post(ctx context.Context, u *url.URL, typ string, body []byte, prepare func(*http.Request)) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, u.String(), bytes.NewReader(body))
	if err != nil {
		return &RefusedError{err.Error()}
	}
	req.Header.Set("Content-Type", typ)
	req.Header.Set("User-Agent", "troop")
	if prepare != nil {
		prepare(req)
	}
	res, err := client.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	text, _ := io.ReadAll(io.LimitReader(res.Body, 300))
	switch reason := fmt.Sprintf("%s answered %s: %s", u.Host, res.Status, strings.TrimSpace(string(text))); {
	case res.StatusCode/100 == 2:
		return nil
	case res.StatusCode/100 == 3:
		return &RefusedError{fmt.Sprintf("%s answered %s and names another address: write that one into the manifest", u.Host, res.Status)}
	case res.StatusCode/100 == 4 && !slices.Contains([]int{http.StatusRequestTimeout, http.StatusTooEarly, http.StatusTooManyRequests}, res.StatusCode):
		return &RefusedError{reason}
	default:
		return errors.New(reason)
	}
}

func postJSON(ctx context.Context, u *url.URL, v any, prepare func(*http.Request)) error {
	body, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return post(ctx, u, "application/json", body, prepare)
}

// hide takes an address and its secrets out of a text.
func hide(text, address string, u *url.URL) string {
	parts := []string{address, u.RawQuery, u.User.String()}
	if p, ok := u.User.Password(); ok {
		parts = append(parts, p, url.QueryEscape(p))
	}
	if u.Path != "/" {
		parts = append(parts, u.Path, strings.TrimPrefix(u.Path, "/")) // the secret of most webhooks
	}
	for key, values := range u.Query() {
		if slices.Contains([]string{"key", "token"}, key) {
			parts = append(parts, values...)
		}
	}
	for _, p := range parts {
		if len(p) > 1 {
			text = strings.ReplaceAll(text, p, "***")
		}
	}
	return text
}

// when is the time of an event as services take it.
func when(t time.Time) string { return t.UTC().Format(time.RFC3339) }
