// Package tail merges what the services of an environment log on all hosts, in order of time: what they print, which is in
// the journals, and what they write into their log folders. A program of its own on each host reads both. Called by
// core/environment for troop tail.
package tail

import (
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/seed-b96de936/troop/core"
)

//go:embed follow.py
var program string

// Line is one line of a log.
type Line struct {
	Time    time.Time     `json:"time"`
	Host    core.HostName `json:"host"`
	Service string        `json:"service"`
	Program string        `json:"program,omitempty"` // of the service; empty: the one that answers requests, or a log file
	Text    string        `json:"text"`
}

func (l Line) String() string {
	name := l.Service
	if l.Program != "" {
		name += "/" + l.Program
	}
	return fmt.Sprintf("%s %s %s %s", l.Time.Local().Format("15:04:05.000"), l.Host, name, l.Text)
}

// Options say which lines are wanted.
type Options struct {
	Hosts   []core.Host
	Service string // empty: all
	Program string // a process, task or schedule of it; the service's own name: what answers requests; empty: all
	Grep    *regexp.Regexp
	Since   time.Time
	Follow  bool
}

// wants reports whether a line is one of them.
func (o Options) wants(l Line) bool {
	own := o.Program == l.Service && l.Program == ""
	return (o.Program == "" || own || o.Program == l.Program) && (o.Grep == nil || o.Grep.MatchString(l.Text))
}

// Remote runs a command on a host as root, and calls each with every line that it prints until it ends.
type Remote interface {
	Stream(ctx context.Context, h core.Host, command string, each func(line []byte)) error
}

const (
	hold  = 300 * time.Millisecond // a line waits for earlier ones of other hosts
	again = 2 * time.Second        // until a host that has gone is tried again
	most  = 10 * time.Second       // lines of hosts that answer do not wait longer for the others
)

// item is what a host sends.
type item struct {
	host    core.HostName
	line    *Line
	arrived time.Time
	ready   bool  // all lines from before have come
	gone    error // the host is away, and will be tried again
	over    bool  // nothing more comes
}

// Run calls each with the lines in order of time, until ctx ends or there are no more. It calls say when a host goes away
// and when it is back. It fails when no host has the service.
func Run(ctx context.Context, r Remote, o Options, each func(Line), say func(string)) error {
	items := make(chan item)
	for _, h := range o.Hosts {
		go watch(ctx, r, o, h, items)
	}
	m := merge{waiting: map[core.HostName]bool{}, away: map[core.HostName]bool{}, say: say, began: time.Now()}
	for _, h := range o.Hosts {
		m.waiting[h.Name] = true
	}
	tick := time.NewTicker(hold / 3)
	defer tick.Stop()
	for left := len(o.Hosts); left > 0; {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case i := <-items:
			m.take(i)
			if i.over {
				left--
			}
		case now := <-tick.C:
			m.flush(now.Add(-hold), each)
		}
	}
	m.waiting = nil
	m.flush(time.Now(), each)
	switch {
	case m.served > 0:
		return nil
	case o.Service != "":
		return fmt.Errorf("no host has the service %s", o.Service)
	}
	return errors.New("no host has a service yet; troop run deploys one")
}

// merge puts lines in order.
type merge struct {
	pending []item
	waiting map[core.HostName]bool // hosts whose lines from before have not all come
	away    map[core.HostName]bool
	served  int // times that a host had the service
	began   time.Time
	say     func(string)
}

func (m *merge) take(i item) {
	switch {
	case i.line != nil:
		m.pending = append(m.pending, i)
	case i.ready:
		m.served++
		if m.away[i.host] {
			m.say(fmt.Sprintf("%s is back", i.host))
		}
		delete(m.away, i.host)
	case i.gone != nil && !m.away[i.host]:
		m.away[i.host] = true
		m.say(fmt.Sprintf("%s is away: %v; trying again", i.host, i.gone))
	}
	if i.line == nil {
		delete(m.waiting, i.host)
	}
}

// flush gives the lines that arrived before a time to each.
func (m *merge) flush(before time.Time, each func(Line)) {
	if len(m.waiting) > 0 && time.Since(m.began) < most {
		return
	}
	var now []item
	m.pending = slices.DeleteFunc(m.pending, func(i item) bool {
		if i.arrived.After(before) {
			return false
		}
		now = append(now, i)
		return true
	})
	slices.SortStableFunc(now, func(a, b item) int { return a.line.Time.Compare(b.line.Time) })
	for _, i := range now {
		each(*i.line)
	}
}

// message is a line that the program on a host prints.
type message struct {
	Time    float64 `json:"time"`
	Service string  `json:"service"`
	Program string  `json:"program"`
	Text    string  `json:"text"`
	Cursor  string  `json:"cursor"` // behind it in the journal
	Ready   bool    `json:"ready"`
	None    bool    `json:"none"` // the host does not have the service
}

// watch sends what one host logs, and begins again behind the last line when the host was away.
func watch(ctx context.Context, r Remote, o Options, h core.Host, items chan<- item) {
	send := func(i item) {
		i.host, i.arrived = h.Name, time.Now()
		select {
		case items <- i:
		case <-ctx.Done():
		}
	}
	services := []string{}
	if o.Service != "" {
		services = append(services, o.Service)
	}
	since, cursor := float64(o.Since.UnixMicro())/1e6, ""
	for {
		none := false
		arguments, err := json.Marshal(map[string]any{"services": services, "since": since, "cursor": cursor, "follow": o.Follow})
		if err != nil {
			panic(err) // of texts and numbers
		}
		err = r.Stream(ctx, h, "exec python3 -c "+quote(program)+" "+quote(string(arguments)), func(text []byte) {
			var m message
			switch err := json.Unmarshal(text, &m); {
			case err != nil:
				return // of something else that prints
			case m.None:
				none = true
			case m.Ready:
				send(item{ready: true})
			default:
				since = max(since, m.Time)
				if m.Cursor != "" {
					cursor = m.Cursor
				}
				whole, part := math.Modf(m.Time)
				l := Line{Time: time.Unix(int64(whole), int64(part*1e9)), Host: h.Name, Service: m.Service, Program: m.Program, Text: m.Text}
				if o.wants(l) {
					send(item{line: &l})
				}
			}
		})
		if ctx.Err() != nil || err == nil && (none || !o.Follow) {
			send(item{over: true})
			return
		}
		if err == nil {
			err = errors.New("the connection has ended")
		}
		send(item{gone: err})
		select {
		case <-ctx.Done():
			return
		case <-time.After(again):
		}
	}
}

// quote makes a word of the shell.
func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }
