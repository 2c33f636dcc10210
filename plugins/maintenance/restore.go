package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"time"

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
		list = append(list, slices.DeleteFunc(some, func(r storage.Receipt) bool { return !strings.Contains(r.Path.String(), file) })...)
	}
	slices.SortFunc(list, func(a, b storage.Receipt) int { return b.Verified.Compare(a.Verified) })
	return list, nil
}

// restore lists receipts, or has an agent restore one file.
func restore(ctx context.Context, _ *config, args sdk.Args, job *sdk.Job) error {
	want, err := parseSearch(args)
	if err != nil {
		return err
	}
	list, err := receipts(ctx, job, args["host"], args["file"])
	if err != nil {
		return err
	}
	known := slices.ContainsFunc(list, func(r storage.Receipt) bool { return r.ID == want.ID })
	if want != (search{}) && !known { // the agents report the newest only, and know all
		if list, err = searchHosts(ctx, job, args["host"], want); err != nil {
			return err
		}
	}
	if want.ID == "" {
		t := sdk.Table{Columns: []string{"receipt", "host", "path", "size", "stored", "verified"}}
		for _, r := range list {
			t.Rows = append(t.Rows, []string{
				r.ID, r.Host, r.Path.String(), human(r.File.Size), human(r.StoredSize), r.Verified.Format("2006-01-02 15:04:05"),
			})
		}
		job.Table(t)
		return nil
	}
	i := slices.IndexFunc(list, func(r storage.Receipt) bool { return r.ID == want.ID })
	if i < 0 {
		return fmt.Errorf("no host has receipt %s; troop maintenance restore lists them", want.ID)
	}
	to := args["to"]
	if to == "" {
		to = string(list[i].Path) + ".restored"
	}
	a, err := ask(ctx, job, request{Host: list[i].Host, Receipt: list[i].ID, To: to}, answerWait)
	if err != nil {
		return err
	}
	job.Logf("%s on %s was restored as %s (%s); its hash matches the receipt", list[i].Path, list[i].Host, a.Path, human(a.Bytes))
	return nil
}

// parseSearch reads the arguments that say which receipts are wanted.
func parseSearch(args sdk.Args) (search, error) {
	s := search{ID: args["receipt"], File: args["file"]}
	for name, to := range map[string]*time.Time{"since": &s.Since, "until": &s.Until} {
		if args[name] == "" {
			continue
		}
		at, err := time.Parse(time.RFC3339, args[name])
		if err != nil {
			at, err = time.Parse(time.DateOnly, args[name])
		}
		if err != nil {
			return s, fmt.Errorf("want --%s as 2006-01-02 or 2006-01-02T15:04:05Z, got %q", name, args[name])
		}
		*to = at
	}
	return s, nil
}

// searchHosts has the agents search all their receipts. An agent that does not answer is named, and the others count.
func searchHosts(ctx context.Context, job *sdk.Job, host string, want search) ([]storage.Receipt, error) {
	hosts, err := job.Hosts(ctx)
	if err != nil {
		return nil, err
	}
	var list []storage.Receipt
	for _, h := range hosts {
		if !hasAgent(h) || host != "" && string(h.Name) != host {
			continue
		}
		a, err := ask(ctx, job, request{Host: string(h.Name), Search: &want}, searchWait)
		if err != nil {
			job.Warnf("search on %s: %v", h.Name, err)
			continue
		}
		list = append(list, a.Receipts...)
	}
	slices.SortFunc(list, func(a, b storage.Receipt) int { return b.Verified.Compare(a.Verified) })
	return list, nil
}

// rebuildJournals has the agents take all receipts from the storage host.
func rebuildJournals(ctx context.Context, _ *config, args sdk.Args, job *sdk.Job) error {
	hosts, err := job.Hosts(ctx)
	if err != nil {
		return err
	}
	t := sdk.Table{Columns: []string{"host", "receipts", "new", "not receipts", "result"}}
	bad := 0
	for _, h := range hosts {
		if !hasAgent(h) || args["host"] != "" && string(h.Name) != args["host"] {
			continue
		}
		a, err := ask(ctx, job, request{Host: string(h.Name), Rebuild: true}, answerWait)
		result := "done"
		if err != nil {
			result = err.Error()
			bad++
		}
		t.Rows = append(t.Rows, []string{string(h.Name), fmt.Sprint(a.Rebuilt.Found), fmt.Sprint(a.Rebuilt.New), fmt.Sprint(a.Rebuilt.Bad), result})
	}
	job.Table(t)
	if bad > 0 {
		return sdk.Failf("%d of %d journals could not be rebuilt", bad, len(t.Rows))
	}
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
		switch a, err := ask(ctx, job, request{Host: r.Host, Receipt: r.ID}, answerWait); {
		case err != nil:
			result = err.Error()
			bad++
		case a.Restored != "":
			result = "restored: " + a.Restored
		}
		t.Rows = append(t.Rows, []string{r.ID, r.Host, r.Path.String(), human(r.File.Size), result})
	}
	job.Table(t)
	if bad > 0 {
		return sdk.Failf("%d of %d backups cannot be read back or restored", bad, len(t.Rows))
	}
	return nil
}
