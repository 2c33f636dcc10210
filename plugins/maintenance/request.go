package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path"
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
	To      string    `json:"to,omitempty"`      // empty: read the file back and hash it only
	Search  *search   `json:"search,omitempty"`  // instead: find receipts
	Rebuild bool      `json:"rebuild,omitempty"` // instead: take all receipts from the storage host
}

type answer struct {
	Error string `json:"error,omitempty"`
	Path  string `json:"path,omitempty"`
	Bytes int64  `json:"bytes"`

	Restored string            `json:"restored,omitempty"` // of a dump: what came of it
	Receipts []storage.Receipt `json:"receipts,omitempty"`
	Rebuilt  rebuilt           `json:"rebuilt,omitzero"`
}

const (
	requestLife = 10 * time.Minute // an older request is ignored
	answerWait  = 5 * time.Minute
	searchWait  = time.Minute
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
	defer a.disconnect()
	if r.Search != nil {
		list, err := a.find(ctx, *r.Search)
		if err != nil {
			return answer{Error: err.Error()}
		}
		return answer{Receipts: list}
	}
	if a.connect(ctx); a.remote == nil {
		return answer{Error: a.where() + " cannot be reached from " + string(a.info.Host)}
	}
	if r.Rebuild {
		done, err := a.rebuild()
		if err != nil {
			return answer{Error: err.Error()}
		}
		return answer{Rebuilt: done}
	}
	if err := a.forget(); err != nil {
		return answer{Error: err.Error()}
	}
	rec, ok := a.journal.Receipt(r.Receipt)
	if !ok {
		list, err := a.find(ctx, search{ID: r.Receipt})
		if err != nil {
			return answer{Error: err.Error()}
		}
		if len(list) == 0 {
			return answer{Error: fmt.Sprintf("host %s has no receipt %s, or %s has removed that backup because it was old", a.info.Host, r.Receipt, a.where())}
		}
		rec = list[0]
	}
	if r.To == "" {
		restored, err := a.drill(ctx, rec)
		if err != nil {
			return answer{Error: err.Error()}
		}
		return answer{Bytes: rec.File.Size, Restored: restored}
	}
	if err := a.restoreFile(rec, r.To); err != nil {
		return answer{Error: err.Error()}
	}
	a.emit(sdk.Event{
		Kind: "file.restored", Severity: sdk.Info, Summary: fmt.Sprintf("%s on %s was restored as %s", rec.Path, a.info.Host, r.To),
		Data: map[string]any{"receipt": rec.ID, "path": rec.Path.String(), "to": r.To, "bytes": rec.File.Size, "sha256": rec.SHA256},
	})
	return answer{Path: r.To, Bytes: rec.File.Size}
}

// restorePrefix begins the names of files that are being restored.
const restorePrefix = rule.ClaimPrefix + "restore-"

// restoreFile writes a stored file to a new path below the folders that rules may name, with its owner, mode and time. The
// file appears only when it is complete and its hash is right. It is not moved away again for a day.
func (a *agent) restoreFile(rec storage.Receipt, to string) error {
	if path.Clean(to) != to || !path.IsAbs(to) || !a.places.Hold(path.Dir(to)) {
		return fmt.Errorf("restore to %q: want a path below %s", to, strings.Join(a.places.Folders(), ", "))
	}
	d, err := file.OpenFolder(path.Dir(to), path.Dir(to))
	if err != nil {
		return err
	}
	defer d.Close()
	temp := restorePrefix + ulid.Make().String()
	a.memory.Restoring = file.Name(path.Join(path.Dir(to), temp))
	a.memory.Restored[file.Name(to)] = a.now().Add(leftAlone)
	if err := a.remember(); err != nil {
		return err
	}
	err = a.writeFile(d, temp, rec)
	if err == nil {
		err = d.Rename(temp, path.Base(to))
		if errors.Is(err, unix.EEXIST) {
			err = fmt.Errorf("restore to %s: it exists; name another path with --to", to)
		}
	}
	if err != nil {
		_ = d.Remove(temp) // it is incomplete, or the path is taken
	}
	a.memory.Restoring = ""
	return errors.Join(err, a.remember())
}

func (a *agent) writeFile(d *file.Folder, name string, rec storage.Receipt) error {
	f, err := d.Create(name)
	if err != nil {
		return err
	}
	w := &file.SparseWriter{File: f}
	if err = storage.Fetch(a.remote, rec.Object, w); err == nil {
		err = w.Finish()
	}
	if err == nil {
		own := unix.NsecToTimespec(rec.File.MTime.UnixNano())
		err = errors.Join(
			f.Chown(int(rec.File.UID), int(rec.File.GID)), // clears set-user-ID, so that it comes first
			f.Chmod(os.FileMode(rec.File.Mode&0o777)),
			unix.UtimesNanoAt(unix.AT_FDCWD, fmt.Sprintf("/proc/self/fd/%d", f.Fd()), []unix.Timespec{own, own}, 0),
			f.Sync(),
		)
	}
	return errors.Join(err, f.Close())
}

const (
	drillObjects = 10        // most backups of one drill
	drillBytes   = 256 << 20 // a drill ends when it has read so many bytes of the storage host
)

// draw chooses the backups of one drill: at random, by their size and age, so that no large or old one is left out for long.
// random returns a number of 0 to 1.
func draw(receipts []storage.Receipt, now time.Time, random func() float64) []storage.Receipt {
	weight := func(r *storage.Receipt) float64 {
		return float64(r.StoredSize+1<<10) * (1 + max(0, now.Sub(r.Verified).Hours()/24))
	}
	var total float64
	for i := range receipts {
		total += weight(&receipts[i])
	}
	taken := map[int]bool{}
	var list []storage.Receipt
	var bytes int64
	for len(list) < min(drillObjects, len(receipts)) && bytes < drillBytes {
		at := random() * total
		for i := range receipts {
			if taken[i] {
				continue
			}
			if at -= weight(&receipts[i]); at <= 0 {
				taken[i] = true
				total -= weight(&receipts[i])
				list = append(list, receipts[i])
				bytes += receipts[i].StoredSize
				break
			}
		}
		if at > 0 { // by rounding
			break
		}
	}
	return list
}

// forget drops the receipts of backups that the storage host has removed because they were old.
func (a *agent) forget() error {
	ids, err := a.remote.Removed(a.journal.Receipts())
	if err != nil {
		return fmt.Errorf("forget old backups: %w", err)
	}
	return a.journal.Forget(ids)
}

// drill reads one stored file back, compares it with its receipt, and restores it for a test if it is a dump.
func (a *agent) drill(ctx context.Context, rec storage.Receipt) (restored string, err error) {
	restored, err = a.dumps.drill(ctx, a.remote, rec)
	key := "drill/" + rec.ID
	if err != nil {
		verb := "read back"
		if errors.Is(err, errNotRestored) {
			verb = "restored"
		}
		a.alert("drill.failed", key, fmt.Sprintf("the backup of %s on %s cannot be %s: %v", rec.Path, a.info.Host, verb, err), map[string]any{"receipt": rec.ID})
		return "", err
	}
	a.resolve(key, fmt.Sprintf("the backup of %s on %s can be read back", rec.Path, a.info.Host))
	summary := fmt.Sprintf("the backup of %s on %s was read back and is intact", rec.Path, a.info.Host)
	if restored != "" {
		summary += "; restored for a test, it has " + restored
	}
	a.emit(sdk.Event{
		Kind: "drill.passed", Severity: sdk.Info, Summary: summary, Data: map[string]any{"receipt": rec.ID, "bytes": rec.File.Size},
	})
	return restored, nil
}

// ask sends a request and waits for the answer.
func ask(ctx context.Context, job *sdk.Job, r request, wait time.Duration) (answer, error) {
	r.ID, r.Time = ulid.Make().String(), time.Now().UTC()
	b, err := json.Marshal(r)
	if err != nil {
		return answer{}, err
	}
	if _, err := job.SetState(ctx, requestKey(job, sdk.HostName(r.Host), r.ID), b); err != nil {
		return answer{}, err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, wait, fmt.Errorf("the agent of host %s did not answer within %s", r.Host, wait))
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
