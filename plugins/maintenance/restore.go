package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/oklog/ulid/v2"
	"golang.org/x/sys/unix"

	"github.com/seed-b96de936/troop/plugins/sdk"
)

// request asks the agent of one host for a file. It travels as a value of the state, its answer as another: the
// storage host is reached from the hosts only.
type request struct {
	ID      string    `json:"id"` // ULID of the request
	Host    string    `json:"host"`
	Time    time.Time `json:"time"`
	Receipt string    `json:"receipt"`
	To      string    `json:"to,omitempty"` // empty: the file is read back and hashed only
}

type answer struct {
	Error string `json:"error,omitempty"`
	Path  string `json:"path,omitempty"`
	Bytes int64  `json:"bytes"`
}

const (
	requestLife = 10 * time.Minute // an agent that was away longer ignores it
	answerWait  = 5 * time.Minute
)

// followRequests hands on the requests for this host until ctx ends. Those that have an answer, or are old, are
// left out.
func followRequests(ctx context.Context, job *sdk.Job, to chan<- request) {
	prefix := stateKey("restore", string(job.Info.Stage), string(job.Info.Host)) + "/"
	failed := false
	for ctx.Err() == nil {
		err := job.WatchState(ctx, prefix, func(e sdk.Entry) error {
			var r request
			if err := json.Unmarshal(e.Value, &r); err != nil {
				return nil //nolint:nilerr // not written by this version: not for it
			}
			done, err := job.State(ctx, stateKey("restored", string(job.Info.Stage), string(job.Info.Host), r.ID))
			if err != nil {
				return err
			}
			if done.Version > 0 || time.Since(r.Time) > requestLife {
				return nil
			}
			select {
			case to <- r:
			case <-ctx.Done():
			}
			return nil
		})
		if err != nil && !failed && ctx.Err() == nil { // an outage is logged once
			job.Warnf("follow restore requests: %v", err)
		}
		failed = err != nil
		select {
		case <-ctx.Done():
		case <-time.After(5 * time.Second):
		}
	}
}

func answerRequest(ctx context.Context, job *sdk.Job, r request, a answer) {
	b, err := json.Marshal(a)
	if err == nil {
		_, err = job.SetState(ctx, stateKey("restored", string(job.Info.Stage), string(job.Info.Host), r.ID), b)
	}
	if err != nil && ctx.Err() == nil {
		job.Warnf("answer restore request: %v", err)
	}
}

// Serve does what a request asks for.
func (a *agent) Serve(ctx context.Context, r request) answer {
	i := slices.IndexFunc(a.journal.receipts, func(x receipt) bool { return x.ID == r.Receipt })
	if i < 0 {
		return answer{Error: fmt.Sprintf("host %s has no receipt %s", a.info.Host, r.Receipt)}
	}
	defer a.hangUp()
	if a.call(ctx); a.remote == nil {
		return answer{Error: "the storage host cannot be reached from " + string(a.info.Host)}
	}
	rec := a.journal.receipts[i]
	if r.To == "" {
		if err := a.drill(rec); err != nil {
			return answer{Error: err.Error()}
		}
		return answer{Bytes: rec.File.Size}
	}
	if err := a.bringBack(rec, r.To); err != nil {
		return answer{Error: err.Error()}
	}
	a.publish(sdk.Event{
		Kind: "file.restored", Severity: sdk.Info, Summary: fmt.Sprintf("%s is back on %s as %s", rec.Path, a.info.Host, r.To),
		Data: map[string]any{"receipt": rec.ID, "path": rec.Path, "to": r.To, "bytes": rec.File.Size, "sha256": rec.SHA256},
	})
	return answer{Path: r.To, Bytes: rec.File.Size}
}

// bringBack writes a stored file to a path that nothing has, below the folders of rules. It appears there only
// when it is complete and its hash is right.
func (a *agent) bringBack(rec receipt, to string) error {
	if path.Clean(to) != to || !path.IsAbs(to) || !a.places.hold(path.Dir(to)) {
		return fmt.Errorf("restore to %q: want a path below %s", to, strings.Join(append(slices.Clone(a.places.secondary), a.places.teams...), ", "))
	}
	d, err := openFolder(path.Dir(to), path.Dir(to))
	if err != nil {
		return err
	}
	defer d.Close()
	temp := claimPrefix + "restore-" + ulid.Make().String()
	fd, err := unix.Openat(int(d.Fd()), temp, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return &os.PathError{Op: "create", Path: path.Join(d.path, temp), Err: err}
	}
	f := os.NewFile(uintptr(fd), path.Join(d.path, temp))
	err = fetch(a.remote, rec.sent, f)
	if err == nil {
		err = errors.Join(f.Chmod(os.FileMode(rec.File.Mode&0o777)), f.Chown(int(rec.File.UID), int(rec.File.GID)), f.Sync())
	}
	err = errors.Join(err, f.Close())
	if err == nil {
		err = d.rename(temp, path.Base(to))
		if errors.Is(err, unix.EEXIST) {
			err = fmt.Errorf("restore to %s: it exists; name another path with --to", to)
		}
	}
	if err != nil {
		_ = d.remove(temp) // it is incomplete, or has no name to go to
		return err
	}
	return nil
}

// drill reads one stored file back and compares it with its receipt.
func (a *agent) drill(rec receipt) error {
	err := fetch(a.remote, rec.sent, io.Discard)
	key := "drill/" + rec.ID
	if err != nil {
		a.alert("drill.failed", key, fmt.Sprintf("the backup of %s on %s cannot be read back: %v", rec.Path, a.info.Host, err), map[string]any{"receipt": rec.ID})
		return err
	}
	a.resolve(key, fmt.Sprintf("the backup of %s on %s can be read back", rec.Path, a.info.Host))
	a.publish(sdk.Event{
		Kind: "drill.passed", Severity: sdk.Info, Summary: fmt.Sprintf("the backup of %s on %s was read back and is intact", rec.Path, a.info.Host),
		Data: map[string]any{"receipt": rec.ID, "bytes": rec.File.Size},
	})
	return nil
}

// receipts reads what the agents have told of their receipts, newest first.
func receipts(ctx context.Context, job *sdk.Job, host, file string) ([]receipt, error) {
	hosts, err := job.Hosts(ctx)
	if err != nil {
		return nil, err
	}
	var list []receipt
	for _, h := range hosts {
		if host != "" && string(h.Name) != host {
			continue
		}
		e, err := job.State(ctx, stateKey("receipts", string(job.Info.Stage), string(h.Name)))
		if err != nil {
			return nil, err
		}
		if e.Version == 0 {
			continue
		}
		var some []receipt
		if err := json.Unmarshal(e.Value, &some); err != nil {
			return nil, fmt.Errorf("read receipts of host %s: %w", h.Name, err)
		}
		list = append(list, slices.DeleteFunc(some, func(r receipt) bool { return !strings.Contains(r.Path, file) })...)
	}
	slices.SortFunc(list, func(a, b receipt) int { return b.Verified.Compare(a.Verified) })
	return list, nil
}

// restore lists receipts, or has an agent bring one file back.
func restore(ctx context.Context, _ *config, args sdk.Args, job *sdk.Job) error {
	list, err := receipts(ctx, job, args["host"], args["file"])
	if err != nil {
		return err
	}
	if args["receipt"] == "" {
		t := sdk.Table{Columns: []string{"receipt", "host", "path", "size", "stored", "verified"}}
		for _, r := range list {
			t.Rows = append(t.Rows, []string{
				r.ID, r.Host, r.Path, human(r.File.Size), human(r.StoredSize), r.Verified.Format("2006-01-02 15:04:05"),
			})
		}
		job.Table(t)
		return nil
	}
	i := slices.IndexFunc(list, func(r receipt) bool { return r.ID == args["receipt"] })
	if i < 0 {
		return fmt.Errorf("no receipt %s among the last %d of each host; troop maintenance restore lists them", args["receipt"], shownFiles)
	}
	to := args["to"]
	if to == "" {
		to = list[i].Path + ".restored"
	}
	a, err := ask(ctx, job, request{Host: list[i].Host, Receipt: list[i].ID, To: to})
	if err != nil {
		return err
	}
	job.Logf("%s is back on %s as %s (%s), its hash is that of the receipt", list[i].Path, list[i].Host, a.Path, human(a.Bytes))
	return nil
}

// drill has every host's agent read some of its receipts back.
func drill(ctx context.Context, _ *config, args sdk.Args, job *sdk.Job) error {
	count, err := strconv.Atoi(args["count"])
	if err != nil || count < 1 {
		return fmt.Errorf("want --count of 1 or more, got %q", args["count"])
	}
	list, err := receipts(ctx, job, "", "")
	if err != nil {
		return err
	}
	if len(list) == 0 {
		job.Logf("no file has been moved yet")
		return nil
	}
	rand.Shuffle(len(list), func(i, k int) { list[i], list[k] = list[k], list[i] })
	t := sdk.Table{Columns: []string{"receipt", "host", "path", "size", "result"}}
	taken := map[string]int{}
	bad := 0
	for _, r := range list {
		if taken[r.Host]++; taken[r.Host] > count {
			continue
		}
		result := "intact"
		if _, err := ask(ctx, job, request{Host: r.Host, Receipt: r.ID}); err != nil {
			result = err.Error()
			bad++
		}
		t.Rows = append(t.Rows, []string{r.ID, r.Host, r.Path, human(r.File.Size), result})
	}
	job.Table(t)
	if bad > 0 {
		return sdk.Failf("%d of %d backups cannot be read back", bad, len(t.Rows))
	}
	return nil
}

// ask sends a request and waits for its answer.
func ask(ctx context.Context, job *sdk.Job, r request) (answer, error) {
	r.ID, r.Time = ulid.Make().String(), time.Now().UTC()
	b, err := json.Marshal(r)
	if err != nil {
		return answer{}, err
	}
	if _, err := job.SetState(ctx, stateKey("restore", string(job.Info.Stage), r.Host, r.ID), b); err != nil {
		return answer{}, err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, answerWait, fmt.Errorf("the agent of host %s did not answer within %s", r.Host, answerWait))
	defer cancel()
	var a answer
	done := errors.New("answered")
	key := stateKey("restored", string(job.Info.Stage), r.Host, r.ID)
	err = job.WatchState(ctx, key, func(e sdk.Entry) error {
		if e.Key != key {
			return nil
		}
		if err := json.Unmarshal(e.Value, &a); err != nil {
			return fmt.Errorf("read the answer of host %s: %w", r.Host, err)
		}
		return done
	})
	switch {
	case errors.Is(err, done) && a.Error != "":
		return a, errors.New(a.Error)
	case errors.Is(err, done):
		return a, nil
	case err == nil:
		return a, context.Cause(ctx)
	}
	return a, err
}
