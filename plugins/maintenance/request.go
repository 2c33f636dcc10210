package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/oklog/ulid/v2"
	"golang.org/x/sys/unix"

	"github.com/seed-b96de936/troop/plugins/maintenance/file"
	"github.com/seed-b96de936/troop/plugins/maintenance/rule"
	"github.com/seed-b96de936/troop/plugins/maintenance/storage"
	"github.com/seed-b96de936/troop/plugins/sdk"
)

// request asks the agent of one host to restore or to read back a file. Request and answer are values of the shared
// state: only the hosts can reach the storage host.
type request struct {
	ID      string    `json:"id"` // ULID of the request
	Host    string    `json:"host"`
	Time    time.Time `json:"time"`
	Receipt string    `json:"receipt"`
	To      string    `json:"to,omitempty"` // empty: read the file back and hash it only
}

type answer struct {
	Error string `json:"error,omitempty"`
	Path  string `json:"path,omitempty"`
	Bytes int64  `json:"bytes"`
}

const (
	requestLife = 10 * time.Minute // an older request is ignored
	answerWait  = 5 * time.Minute
)

// requestKey is the key of the requests to a host; with an empty ID, what all of them begin with.
func requestKey(job *sdk.Job, host sdk.HostName, id string) string {
	return strings.Join([]string{"restore", string(job.Info.Stage), string(host), id}, "/")
}

// answerKey is the key of a host's answer.
func answerKey(job *sdk.Job, host sdk.HostName, id string) string {
	return sdk.HostKey(host, strings.Join([]string{"restored", string(job.Info.Stage), id}, "/"))
}

// followRequests passes on the requests for this host until ctx ends, without old and answered ones.
func followRequests(ctx context.Context, job *sdk.Job, to chan<- request) {
	prefix := requestKey(job, job.Info.Host, "")
	failed := false
	for ctx.Err() == nil {
		err := job.WatchState(ctx, prefix, func(e sdk.Entry) error {
			var r request
			if err := json.Unmarshal(e.Value, &r); err != nil {
				return nil //nolint:nilerr // written by another version
			}
			done, err := job.State(ctx, answerKey(job, job.Info.Host, r.ID))
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
		_, err = job.SetState(ctx, answerKey(job, job.Info.Host, r.ID), b)
	}
	if err != nil && ctx.Err() == nil {
		job.Warnf("answer restore request: %v", err)
	}
}

// Serve handles a request.
func (a *agent) Serve(ctx context.Context, r request) answer {
	i := slices.IndexFunc(a.journal.Receipts(), func(x storage.Receipt) bool { return x.ID == r.Receipt })
	if i < 0 {
		return answer{Error: fmt.Sprintf("host %s has no receipt %s", a.info.Host, r.Receipt)}
	}
	defer a.disconnect()
	if a.connect(ctx); a.remote == nil {
		return answer{Error: "the storage host cannot be reached from " + string(a.info.Host)}
	}
	rec := a.journal.Receipts()[i]
	if r.To == "" {
		if err := a.drill(rec); err != nil {
			return answer{Error: err.Error()}
		}
		return answer{Bytes: rec.File.Size}
	}
	if err := a.restoreFile(rec, r.To); err != nil {
		return answer{Error: err.Error()}
	}
	a.emit(sdk.Event{
		Kind: "file.restored", Severity: sdk.Info, Summary: fmt.Sprintf("%s on %s was restored as %s", rec.Path, a.info.Host, r.To),
		Data: map[string]any{"receipt": rec.ID, "path": rec.Path, "to": r.To, "bytes": rec.File.Size, "sha256": rec.SHA256},
	})
	return answer{Path: r.To, Bytes: rec.File.Size}
}

// restoreFile writes a stored file to a new path below the folders that rules may name. The file appears only when it is
// complete and its hash is right.
func (a *agent) restoreFile(rec storage.Receipt, to string) error {
	if path.Clean(to) != to || !path.IsAbs(to) || !a.places.Hold(path.Dir(to)) {
		return fmt.Errorf("restore to %q: want a path below %s", to, strings.Join(a.places.Folders(), ", "))
	}
	d, err := file.OpenFolder(path.Dir(to), path.Dir(to))
	if err != nil {
		return err
	}
	defer d.Close()
	temp := rule.ClaimPrefix + "restore-" + ulid.Make().String()
	f, err := d.Create(temp)
	if err != nil {
		return err
	}
	err = storage.Fetch(a.remote, rec.Object, f)
	if err == nil {
		err = errors.Join(f.Chmod(os.FileMode(rec.File.Mode&0o777)), f.Chown(int(rec.File.UID), int(rec.File.GID)), f.Sync())
	}
	err = errors.Join(err, f.Close())
	if err == nil {
		err = d.Rename(temp, path.Base(to))
		if errors.Is(err, unix.EEXIST) {
			err = fmt.Errorf("restore to %s: it exists; name another path with --to", to)
		}
	}
	if err != nil {
		_ = d.Remove(temp) // it is incomplete, or the path is taken
		return err
	}
	return nil
}

// drill reads one stored file back and compares it with its receipt.
func (a *agent) drill(rec storage.Receipt) error {
	err := storage.Fetch(a.remote, rec.Object, io.Discard)
	key := "drill/" + rec.ID
	if err != nil {
		a.alert("drill.failed", key, fmt.Sprintf("the backup of %s on %s cannot be read back: %v", rec.Path, a.info.Host, err), map[string]any{"receipt": rec.ID})
		return err
	}
	a.resolve(key, fmt.Sprintf("the backup of %s on %s can be read back", rec.Path, a.info.Host))
	a.emit(sdk.Event{
		Kind: "drill.passed", Severity: sdk.Info, Summary: fmt.Sprintf("the backup of %s on %s was read back and is intact", rec.Path, a.info.Host),
		Data: map[string]any{"receipt": rec.ID, "bytes": rec.File.Size},
	})
	return nil
}

// ask sends a request and waits for the answer.
func ask(ctx context.Context, job *sdk.Job, r request) (answer, error) {
	r.ID, r.Time = ulid.Make().String(), time.Now().UTC()
	b, err := json.Marshal(r)
	if err != nil {
		return answer{}, err
	}
	if _, err := job.SetState(ctx, requestKey(job, sdk.HostName(r.Host), r.ID), b); err != nil {
		return answer{}, err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, answerWait, fmt.Errorf("the agent of host %s did not answer within %s", r.Host, answerWait))
	defer cancel()
	var a answer
	done := errors.New("answered")
	key := answerKey(job, sdk.HostName(r.Host), r.ID)
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
