package notify

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/nicholas-fedor/shoutrrr"
	"github.com/nicholas-fedor/shoutrrr/pkg/types"

	"github.com/seed-b96de936/troop/core"
)

// sendTimeout bounds one attempt to deliver.
const sendTimeout = 20 * time.Second

// Send delivers by the scheme of the notifier's URL:
//
//	smtp://USER:PASSWORD@HOST:PORT/?from=A&to=B,C      e-mail; TLS when the server offers it
//	twilio://SID:TOKEN@HOST/?from=+1…&to=+1…           SMS; HOST is api.twilio.com
//	http://… and https://…                             webhook: the message as JSON {"subject","body"}
//	slack://…, discord://…, teams://… and so on        chat, as the shoutrrr library writes it
//
// An error never holds the URL, which may hold a secret.
func Send(ctx context.Context, n core.Notifier, m Message) error {
	ctx, cancel := context.WithTimeout(ctx, sendTimeout)
	defer cancel()
	u, err := url.Parse(n.URL)
	if err != nil {
		return fmt.Errorf("address of %s %s is no URL", n.Type, n.Name)
	}
	switch u.Scheme {
	case "twilio":
		err = sms(ctx, u, m)
	case "http", "https":
		err = webhook(ctx, n.URL, m)
	default:
		err = library(ctx, n.URL, m)
	}
	if err != nil {
		return fmt.Errorf("%s", hide(err.Error(), n.URL, u))
	}
	return nil
}

func library(ctx context.Context, address string, m Message) error {
	sender, err := shoutrrr.CreateSender(address)
	if err != nil {
		return err
	}
	done := make(chan error, 1)
	go func() {
		params := types.Params{"title": m.Subject}
		var first error
		for _, err := range sender.Send(m.Body, &params) {
			if err != nil && first == nil {
				first = err
			}
		}
		done <- first
	}()
	select {
	case err := <-done:
		return err
	case <-ctx.Done(): // the library takes no context; its own time-outs end the goroutine
		return ctx.Err()
	}
}

func webhook(ctx context.Context, address string, m Message) error {
	body, err := json.Marshal(map[string]string{"subject": m.Subject, "body": m.Body})
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, address, strings.NewReader(string(body)))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	return post(req)
}

// sms sends the subject by Twilio's Messages resource, to each receiver.
func sms(ctx context.Context, u *url.URL, m Message) error {
	token, _ := u.User.Password()
	sid := u.User.Username()
	q := u.Query()
	if sid == "" || token == "" || q.Get("from") == "" || q.Get("to") == "" {
		return fmt.Errorf("want twilio://SID:TOKEN@api.twilio.com/?from=+1…&to=+1…")
	}
	scheme := "https"
	if q.Get("insecure") == "true" { // an endpoint on this machine that stands for Twilio
		scheme = "http"
	}
	for to := range strings.SplitSeq(q.Get("to"), ",") {
		// "+" in a query is a space to the URL's parser.
		number := func(s string) string { return "+" + strings.TrimLeft(strings.TrimSpace(s), "+ ") }
		form := url.Values{"From": {number(q.Get("from"))}, "To": {number(to)}, "Body": {m.Subject}}
		address := fmt.Sprintf("%s://%s/2010-04-01/Accounts/%s/Messages.json", scheme, u.Host, url.PathEscape(sid))
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, address, strings.NewReader(form.Encode()))
		if err != nil {
			return err
		}
		req.SetBasicAuth(sid, token)
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		if err := post(req); err != nil {
			return err
		}
	}
	return nil
}

func post(req *http.Request) error {
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if res.StatusCode/100 != 2 {
		text, _ := io.ReadAll(io.LimitReader(res.Body, 300))
		return fmt.Errorf("%s answered %s: %s", req.URL.Host, res.Status, strings.TrimSpace(string(text)))
	}
	return nil
}

// hide takes an address and its secrets out of a text.
func hide(text, address string, u *url.URL) string {
	parts := []string{address, u.RawQuery, u.User.String()}
	if p, ok := u.User.Password(); ok {
		parts = append(parts, p, url.QueryEscape(p))
	}
	if u.Path != "/" {
		parts = append(parts, u.Path) // the secret of most webhooks
	}
	for _, p := range parts {
		if len(p) > 1 {
			text = strings.ReplaceAll(text, p, "***")
		}
	}
	return text
}
