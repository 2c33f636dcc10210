package queue

import (
	"strings"
	"testing"
	"time"

	"github.com/seed-b96de936/troop/core/bus/redistest"
)

type work struct{ N int }

func open(t *testing.T, r *redistest.Server) *Queue {
	t.Helper()
	q, err := Open(t.Context(), r.URL())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = q.Close() })
	return q
}

// TestQueue hands work from one side to the other, with labels, an order to end it, and a Redis that loses everything.
func TestQueue(t *testing.T) {
	redis := redistest.Start(t)
	q, other := open(t, redis), open(t, redis)
	ctx := t.Context()
	offer := func(l Lane, n int) Ticket {
		t.Helper()
		ticket, err := q.Offer(ctx, l, work{n})
		if err != nil {
			t.Fatal(err)
		}
		return ticket
	}
	take := func(w Worker, want int) Ticket {
		t.Helper()
		var got work
		ticket, ok, err := other.Take(ctx, w.Name, w.Fits, &got)
		if err != nil || ok != (want > 0) || got.N != want {
			t.Fatalf("%s took %+v, %v, %v; want %d", w.Name, got, ok, err, want)
		}
		return ticket
	}
	look := func(ticket Ticket) Standing {
		t.Helper()
		s, err := q.Look(ctx, ticket)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	keep := func(w Worker, ticket Ticket, want Order) {
		t.Helper()
		if got, err := other.Keep(ctx, w.Name, ticket); err != nil || got != want {
			t.Fatalf("keep: %q, %v; want %q", got, err, want)
		}
	}
	small := Worker{Name: "small", Pipelines: []string{"shop"}, Labels: []string{"amd64"}}
	large := Worker{Name: "large", Pipelines: []string{"shop"}, Labels: []string{"amd64", "arm64", "gpu"}}
	blog := Worker{Name: "blog", Pipelines: []string{"blog"}, Labels: large.Labels}
	one := offer(Lane{Pipeline: "shop", Labels: []string{"gpu", "arm64"}}, 1)
	if s := look(one); s != (Standing{}) {
		t.Errorf("offered: %+v", s)
	}
	take(small, 0)
	take(blog, 0)
	drains := large
	drains.Drains = true
	take(drains, 0)
	if got := take(large, 1); got.Entry != one.Entry || got.Lane.name() != one.Lane.name() {
		t.Errorf("took %+v, want %+v", got, one)
	}
	take(large, 0)
	if s := look(one); s.Worker != "large" || s.Ended || s.Lost {
		t.Errorf("taken: %+v", s)
	}
	before := look(one).Silent
	for before < 50*time.Millisecond {
		time.Sleep(10 * time.Millisecond)
		before = look(one).Silent
	}
	for end := time.Now().Add(2 * time.Minute); look(one).Silent >= before; {
		keep(large, one, GoOn)
		if time.Now().After(end) {
			t.Fatal("that the worker is at work is not seen")
		}
	}
	if err := q.Cancel(ctx, one); err != nil {
		t.Fatal(err)
	}
	keep(large, one, Cancelled)
	if err := other.End(ctx, "large", one, "why"); err != nil {
		t.Fatal(err)
	}
	if s := look(one); !s.Ended || s.Problem != "why" || s.Worker != "large" {
		t.Errorf("ended: %+v", s)
	}
	if err := q.Withdraw(ctx, one); err != nil {
		t.Fatal(err)
	}
	keep(large, one, GivenUp)
	if s := look(one); !s.Lost {
		t.Errorf("taken back: %+v", s)
	}

	two := offer(Lane{Pipeline: "shop"}, 2)
	take(small, 2)
	if err := q.client.FlushAll(ctx).Err(); err != nil {
		t.Fatal(err)
	}
	if s := look(two); !s.Lost {
		t.Errorf("lost: %+v", s)
	}
	keep(small, two, GoOn)
	three := offer(Lane{Pipeline: "shop"}, 3)
	keep(small, two, GoOn)
	if err := other.End(ctx, "small", two, ""); err != nil {
		t.Fatal(err)
	}
	if s := look(two); !s.Ended {
		t.Errorf("ended after the loss: %+v", s)
	}
	if got := take(large, 3); got.Entry != three.Entry {
		t.Errorf("took %+v, want %+v", got, three)
	}
}

// TestWorkers lists who is there, and who is gone without having said so.
func TestWorkers(t *testing.T) {
	q := open(t, redistest.Start(t))
	for _, name := range []string{"w2", "w1"} {
		if err := q.Beat(t.Context(), Worker{Name: name, Slots: 1}); err != nil {
			t.Fatal(err)
		}
	}
	all, err := q.Workers(t.Context())
	if err != nil || len(all) != 2 || all[0].Name != "w1" {
		t.Fatalf("%+v, %v", all, err)
	}
	if all[0].Gone() || all[0].Silent < 0 {
		t.Errorf("just heard of, and %+v", all[0])
	}
	if err := q.Leave(t.Context(), "w1"); err != nil {
		t.Fatal(err)
	}
	// As if its last word were older.
	if err := q.client.PExpire(t.Context(), prefix+"worker:w2", Missed-Present-time.Second).Err(); err != nil {
		t.Fatal(err)
	}
	if all, err = q.Workers(t.Context()); err != nil || len(all) != 1 || !all[0].Gone() {
		t.Errorf("one has left, one is gone: %+v, %v", all, err)
	}
}

// TestNews hears of an offer, and no password is told of an address that is none.
func TestNews(t *testing.T) {
	q := open(t, redistest.Start(t))
	heard := q.News(t.Context())
	for got := false; !got; {
		if _, err := q.Offer(t.Context(), Lane{Pipeline: "shop"}, work{1}); err != nil {
			t.Fatal(err)
		}
		select {
		case <-heard:
			got = true
		case <-time.After(100 * time.Millisecond): // it has not subscribed yet
		}
	}
	if _, err := Open(t.Context(), "redis://:hush hush@x:y"); err == nil || strings.Contains(err.Error(), "hush") {
		t.Errorf("%v", err)
	}
}
