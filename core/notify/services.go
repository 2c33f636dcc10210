package notify

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/seed-b96de936/troop/core"
)

// services are the types of notifiers that have a language of their own. Their addresses are those that the services
// hand out; PagerDuty's and Opsgenie's key is the password: https://:KEY@events.pagerduty.com/v2/enqueue.
var services = map[string]func(context.Context, *url.URL, Message) error{
	"slack":     slack,
	"teams":     teams,
	"discord":   discord,
	"pagerduty": pagerduty,
	"opsgenie":  opsgenie,
}

// webhook is for programs: the message, and what it is about.
func webhook(ctx context.Context, u *url.URL, m Message) error {
	type alert struct {
		core.Event
		Count int    `json:"count"`
		Note  string `json:"note,omitempty"`
	}
	events := []alert{}
	for _, l := range m.Lines {
		events = append(events, alert{l.Event, l.Count, l.Note})
	}
	return postJSON(ctx, u, map[string]any{"subject": m.Subject, "body": m.Body, "page": m.Page, "events": events}, nil)
}

// open reports whether a message has an alert or a warning in it.
func (m Message) open() bool {
	for _, l := range m.Lines {
		if l.Severity == core.Alert || l.Severity == core.Warning {
			return true
		}
	}
	return false
}

// cut shortens a text to what a service takes, in runes.
func cut(s string, most int) string {
	if r := []rune(s); len(r) > most {
		return string(r[:most-1]) + "…"
	}
	return s
}

// slack writes blocks for an incoming webhook.
func slack(ctx context.Context, u *url.URL, m Message) error {
	escape := strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;")
	section := func(text string) map[string]any {
		return map[string]any{"type": "section", "text": map[string]any{"type": "mrkdwn", "text": cut(text, 3000)}}
	}
	blocks := []any{
		section("*" + escape.Replace(m.Subject) + "*"),
		section("```" + strings.ReplaceAll(escape.Replace(cut(m.Body, 2500)), "```", "'''") + "```"),
	}
	if m.Page != "" {
		blocks = append(blocks, section("<"+escape.Replace(m.Page)+"|Open>"))
	}
	return postJSON(ctx, u, map[string]any{"text": escape.Replace(m.Subject), "blocks": blocks}, nil)
}

// teams writes an adaptive card for a workflow that takes webhooks.
func teams(ctx context.Context, u *url.URL, m Message) error {
	color := "good"
	if m.open() {
		color = "attention"
	}
	body := []any{map[string]any{"type": "TextBlock", "text": m.Subject, "weight": "bolder", "wrap": true, "color": color}}
	for _, l := range m.Lines[:min(len(m.Lines), 10)] {
		facts := []any{}
		for _, f := range l.fields() {
			facts = append(facts, map[string]any{"title": f[0], "value": f[1]})
		}
		body = append(body, map[string]any{"type": "TextBlock", "text": l.said(), "wrap": true}, map[string]any{"type": "FactSet", "facts": facts})
	}
	card := map[string]any{"$schema": "http://adaptivecards.io/schemas/adaptive-card.json", "type": "AdaptiveCard", "version": "1.4", "body": body}
	if m.Page != "" {
		card["actions"] = []any{map[string]any{"type": "Action.OpenUrl", "title": "Open", "url": m.Page}}
	}
	return postJSON(ctx, u, map[string]any{
		"type":        "message",
		"attachments": []any{map[string]any{"contentType": "application/vnd.microsoft.card.adaptive", "content": card}},
	}, nil)
}

// discord writes an embed for a webhook. Nobody is mentioned, whatever a text holds.
func discord(ctx context.Context, u *url.URL, m Message) error {
	color := 0x1e8449
	if m.open() {
		color = 0xc0392b
	}
	embed := map[string]any{"title": cut(m.Subject, 256), "description": cut("```\n"+strings.ReplaceAll(cut(m.Body, 3900), "```", "'''")+"```", 4096), "color": color}
	if m.Page != "" {
		embed["url"] = m.Page
	}
	return postJSON(ctx, u, map[string]any{"embeds": []any{embed}, "allowed_mentions": map[string]any{"parse": []string{}}}, nil)
}

// keyOf takes the key out of an address.
func keyOf(u *url.URL) (*url.URL, string, error) {
	key, ok := u.User.Password()
	if !ok {
		return nil, "", &RefusedError{"the address has no key: write https://:KEY@HOST/PATH"}
	}
	address := *u
	address.User = nil
	return &address, key, nil
}

// dedup is what ties an alert to its end.
func (l Line) dedup() string {
	if l.Key == "" {
		return l.ID
	}
	return cut(strings.Join([]string{l.Environment, string(l.Host), l.Key}, "/"), 255)
}

// pagerduty opens and closes incidents by the Events API, version 2.
func pagerduty(ctx context.Context, u *url.URL, m Message) error {
	address, key, err := keyOf(u)
	if err != nil {
		return err
	}
	severities := map[core.Severity]string{core.Alert: "critical", core.Warning: "warning", core.Info: "info", core.Resolved: "info"}
	for _, l := range m.Lines {
		event := map[string]any{"routing_key": key, "event_action": "trigger", "dedup_key": l.dedup()}
		if l.Severity == core.Resolved {
			event["event_action"] = "resolve"
		} else {
			source := l.where()
			if source == "" {
				source = "troop"
			}
			event["payload"] = map[string]any{
				"summary": cut(l.said(), 1024), "source": source, "severity": severities[l.Severity], "timestamp": when(l.Time),
				"component": l.Source, "class": l.Kind, "custom_details": l.Data,
			}
			if m.Page != "" {
				event["links"] = []any{map[string]any{"href": m.Page, "text": "troop"}}
			}
		}
		if err := postJSON(ctx, address, event, nil); err != nil {
			return err
		}
	}
	return nil
}

// opsgenie opens and closes alerts by the Alert API.
func opsgenie(ctx context.Context, u *url.URL, m Message) error {
	address, key, err := keyOf(u)
	if err != nil {
		return err
	}
	if address.Path == "" || address.Path == "/" {
		address.Path = "/v2/alerts"
	}
	authorize := func(r *http.Request) { r.Header.Set("Authorization", "GenieKey "+key) }
	priorities := map[core.Severity]string{core.Alert: "P1", core.Warning: "P3", core.Info: "P5"}
	for _, l := range m.Lines {
		to, body := *address, map[string]any{}
		if l.Severity == core.Resolved {
			to = *address.JoinPath(url.PathEscape(l.dedup()), "close")
			to.RawQuery = "identifierType=alias"
			body["source"], body["note"] = "troop", l.said()
		} else {
			details := map[string]string{}
			for _, f := range l.fields() {
				details[f[0]] = f[1]
			}
			body = map[string]any{
				"message": cut(l.said(), 130), "alias": l.dedup(), "description": cut(m.Body, 15000), "priority": priorities[l.Severity],
				"source": "troop", "entity": l.where(), "details": details,
			}
		}
		if err := postJSON(ctx, &to, body, authorize); err != nil {
			return fmt.Errorf("alert %s: %w", l.dedup(), err)
		}
	}
	return nil
}
