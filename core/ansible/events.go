package ansible

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/seed-b96de936/troop/core"
)

// event is a line written by playbooks/callback_plugins/troop.py.
type event struct {
	Event   string                    `json:"event"` // result or stats; we write end ourselves
	Host    string                    `json:"host"`
	Status  string                    `json:"status"`
	Task    string                    `json:"task"`
	Path    string                    `json:"path"`
	Result  details                   `json:"result"`
	Facts   map[string]any            `json:"facts"`
	Item    any                       `json:"item"`
	Files   []string                  `json:"files"`   // that a task changed or would change
	Elapsed float64                   `json:"elapsed"` // seconds
	Ignored bool                      `json:"ignored"`
	Hosts   map[string]map[string]int `json:"hosts"`
}

// details holds the fields of a module's result that are meant for people.
type details struct {
	Msg          any    `json:"msg"`
	Stdout       string `json:"stdout"`
	Stderr       string `json:"stderr"`
	ModuleStdout string `json:"module_stdout"`
	ModuleStderr string `json:"module_stderr"`
	RC           *int   `json:"rc"`
	SkipReason   string `json:"skip_reason"`
	Censored     string `json:"censored"`
}

// outcome accumulates the events of a run.
type outcome struct {
	results []core.TaskResult         // failed and unreachable
	stats   map[string]map[string]int // nil: Ansible did not finish
	counts  map[core.HostName]*Counts // counted here, for runs without stats
}

func (o *outcome) recap() Recap {
	r := Recap{}
	for host, c := range o.counts {
		r[host] = *c
	}
	for host, s := range o.stats {
		r[core.HostName(host)] = Counts{OK: s["ok"] - s["changed"], Changed: s["changed"], Failed: s["failures"], Skipped: s["skipped"], Unreachable: s["unreachable"]}
	}
	return r
}

// listener reads events from a FIFO until finish.
type listener struct {
	fifo *os.File
	done chan outcome
}

// listen reads events. It calls first at the first event, when Ansible has read its variables. place shortens the path
// of a task.
func listen(fifo string, place func(string) string, first func(), each func(core.TaskResult)) (*listener, error) {
	// Opened for writing, too, so that reads never see EOF and opening does not wait for Ansible.
	f, err := os.OpenFile(fifo, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	l := &listener{fifo: f, done: make(chan outcome, 1)}
	go func() {
		o := outcome{counts: map[core.HostName]*Counts{}}
		for in := bufio.NewReader(f); ; {
			line, err := in.ReadBytes('\n')
			if err != nil {
				break
			}
			var e event
			if json.Unmarshal(line, &e) != nil {
				continue // truncated when Ansible was killed
			}
			if e.Event == "end" {
				break
			}
			if first != nil {
				first()
				first = nil
			}
			o.take(e, place, each)
		}
		l.done <- o
	}()
	return l, nil
}

// finish returns once all events written before the call are handled. Ansible must have ended.
func (l *listener) finish() outcome {
	_, _ = l.fifo.WriteString("\n{\"event\":\"end\"}\n") // the leading newline ends a line that a killed Ansible left
	o := <-l.done
	_ = l.fifo.Close()
	return o
}

func (o *outcome) take(e event, place func(string) string, each func(core.TaskResult)) {
	switch e.Event {
	case "stats":
		o.stats = e.Hosts
	case "result":
		r := e.taskResult(place)
		c := o.counts[r.Host]
		if c == nil {
			c = &Counts{}
			o.counts[r.Host] = c
		}
		switch r.Status {
		case "ok":
			c.OK++
		case "changed":
			c.Changed++
		case "skipped":
			c.Skipped++
		case "failed":
			c.Failed++
			o.results = append(o.results, r)
		case "unreachable":
			c.Unreachable++
			o.results = append(o.results, r)
		}
		each(r)
	}
}

func (e event) taskResult(place func(string) string) core.TaskResult {
	r := core.TaskResult{
		Host: core.HostName(e.Host), Task: e.Task, Status: e.Status, Message: e.Result.message(e.Status),
		Path: place(e.Path), Facts: e.Facts, Elapsed: time.Duration(e.Elapsed * float64(time.Second)),
	}
	if e.Item != nil {
		r.Message = fmt.Sprintf("%v: %s", e.Item, r.Message)
	}
	if len(e.Files) > 0 {
		r.Message = strings.Join(e.Files, ", ")
	}
	if e.Ignored {
		r.Status, r.Message = "ok", "ignored: "+r.Message
	}
	return r
}

// message puts the reason first: the output of a failed command says more than Ansible's own message.
func (s details) message(status string) string {
	if s.Censored != "" {
		return "the result is hidden, since it may hold a secret (no_log)"
	}
	var msg string
	switch m := s.Msg.(type) {
	case nil:
	case string:
		msg = strings.TrimSpace(m)
	default:
		b, _ := json.Marshal(m)
		msg = string(b)
	}
	switch status {
	case "skipped":
		return s.SkipReason
	case "failed":
	default:
		return msg
	}
	var detail string
	for _, text := range []string{s.Stderr, s.ModuleStderr, s.Stdout, s.ModuleStdout} {
		if detail = lastLines(text, 5); detail != "" {
			break
		}
	}
	if s.RC != nil && (msg == "non-zero return code" || msg == "") {
		msg = fmt.Sprintf("exit status %d", *s.RC)
	}
	switch {
	case detail == "" || strings.Contains(msg, detail):
		return msg
	case msg == "" || strings.HasPrefix(msg, "MODULE FAILURE"):
		return detail
	}
	return msg + ": " + detail
}

func lastLines(s string, n int) string {
	var kept []string
	for line := range strings.Lines(s) {
		if line = strings.TrimSpace(line); line != "" {
			kept = append(kept, line)
		}
	}
	return strings.Join(kept[max(0, len(kept)-n):], "\n")
}
