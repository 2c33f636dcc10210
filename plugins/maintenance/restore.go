package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/seed-b96de936/troop/plugins/maintenance/journal"
	"github.com/seed-b96de936/troop/plugins/maintenance/storage"
	"github.com/seed-b96de936/troop/plugins/sdk"
)

// receipts reads the receipts that the agents have reported, newest first.
func receipts(ctx context.Context, job *sdk.Job, host, file string) ([]storage.Receipt, error) {
	hosts, err := job.Hosts(ctx)
	if err != nil {
		return nil, err
	}
	var list []storage.Receipt
	for _, h := range hosts {
		if host != "" && string(h.Name) != host {
			continue
		}
		var some []storage.Receipt
		if _, err := sdk.ReadReport(ctx, job, receiptsName, h.Name, &some); err != nil {
			return nil, err
		}
		list = append(list, slices.DeleteFunc(some, func(r storage.Receipt) bool { return !strings.Contains(r.Path, file) })...)
	}
	slices.SortFunc(list, func(a, b storage.Receipt) int { return b.Verified.Compare(a.Verified) })
	return list, nil
}

// restore lists receipts, or has an agent restore one file.
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
	i := slices.IndexFunc(list, func(r storage.Receipt) bool { return r.ID == args["receipt"] })
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
	job.Logf("%s on %s was restored as %s (%s); its hash matches the receipt", list[i].Path, list[i].Host, a.Path, human(a.Bytes))
	return nil
}

// drill has the agent of every host read some of its backups back.
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

// learned is how many receipts an agent without any reads from the storage host.
const learned = 1000

// learn gives a journal without receipts those on the storage host: this host may replace another one of its name, whose
// backups are to be restored here.
func (a *agent) learn(ctx context.Context) {
	if a.learned || len(a.journal.Receipts()) > 0 {
		return
	}
	names, err := a.remote.Names()
	if err != nil {
		a.warn("look for earlier backups: %v", err)
		return
	}
	a.learned = true
	names = slices.DeleteFunc(names, func(n string) bool { return !strings.HasSuffix(n, storage.ReceiptSuffix) })
	last := map[string]storage.Receipt{}
	for _, n := range names {
		if ctx.Err() != nil {
			return
		}
		var b bytes.Buffer
		var r storage.Receipt
		if a.remote.Get(n, &limited{&b, 64 << 10}) != nil || json.Unmarshal(b.Bytes(), &r) != nil {
			continue // it was cut off, and is there once more
		}
		if r.Host == string(a.info.Host) && path.Base(r.Remote) == r.Remote && r.Verified.After(last[r.ID].Verified) {
			last[r.ID] = r
		}
	}
	ids := slices.Sorted(maps.Keys(last))
	for _, id := range ids[max(0, len(ids)-learned):] {
		r := last[id]
		if err := a.journal.Append(journal.Record{ID: r.ID, Op: journal.OpReceipt, Receipt: &r}); err != nil {
			a.warn("remember an earlier backup: %v", err)
			return
		}
	}
}

// limited is a writer that takes a number of bytes.
type limited struct {
	io.Writer
	left int
}

func (l *limited) Write(p []byte) (int, error) {
	if l.left -= len(p); l.left < 0 {
		return 0, errors.New("too long")
	}
	return l.Writer.Write(p)
}
