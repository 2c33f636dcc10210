package verdict

import (
	"cmp"
	"flag"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/seed-b96de936/troop/plugins/deploy/traffic"
)

// scene is a deploy as it may be: what both pools are like, and how much worse the canary is.
type scene struct {
	name               string
	production, canary int // weights
	perSecond          int // requests to both pools; the verdict is asked after each second
	errors             float64
	moreErrors         float64 // of the canary
	unanswered         bool    // the canary answers nothing
	sigma              float64 // of the logarithm of times; 0: a Pareto distribution without a variance
	middle             float64 // time in milliseconds, without the spread; 0: 20
	tail               float64 // share of the answers of both that take ten times as long
	factor             float64 // of the canary's times
	slow               float64 // share of its answers that take 100 times as long
	requests           int     // of the canary, at most
	most, least        float64 // allowed share of failed canaries
	bound              float64 // standard errors that a test of fixed size would see; it needs 3.97 for 1 % and 95 %
	guard              bool    // an hour of the guard instead of a deploy
	effort             int     // how many times as long as the others it takes: so many times fewer trials
}

func scenes() []scene {
	base := scene{production: 2, canary: 1, perSecond: 30, sigma: 1, factor: 1, requests: 1000, most: 1, effort: 1}
	var all []scene
	add := func(name string, change func(*scene)) {
		s := base
		s.name = name
		change(&s)
		all = append(all, s)
	}
	for _, e := range []float64{0, 0.01, 0.05} {
		add(fmt.Sprintf("equal, %g %% errors", 100*e), func(s *scene) { s.errors, s.most = e, 0.01 })
	}
	add("equal, 5 % errors, weights 1:1", func(s *scene) { s.errors, s.most, s.production = 0.05, 0.01, 1 })
	add("equal, 5 % errors, weights 20:1", func(s *scene) { s.errors, s.most, s.production, s.perSecond, s.requests = 0.05, 0.01, 20, 42, 200 })
	add("equal, 5 % errors, weights 1:20", func(s *scene) {
		s.errors, s.most, s.production, s.canary, s.perSecond, s.requests = 0.05, 0.01, 1, 20, 42, 2000
	})
	add("equal, times without a variance", func(s *scene) { s.errors, s.most, s.sigma = 0.01, 0.01, 0 })
	// 1 % a week is 0.006 % an hour.
	add("equal, 5 % errors, an hour of the guard", func(s *scene) { s.errors, s.most, s.requests, s.guard, s.effort = 0.05, 0.01/168, 36_000, true, 50 })
	// Two hosts are never quite alike.
	add("5 % more time, spread 1: within the limits", func(s *scene) { s.most, s.factor, s.perSecond, s.requests, s.effort = 0.03, 1.05, 300, 10_000, 10 })
	// Which of two very different times a quantile is may be chance.
	for _, tail := range []float64{0.01, 0.05, 0.5} {
		add(fmt.Sprintf("10 %% more of 5 ms, %g %% of both ten times slower: within the limits", 100*tail), func(s *scene) {
			s.most, s.middle, s.sigma, s.factor, s.tail = 0.05, 5, 0.1, 1.1, tail
		})
	}
	worse := func(name string, change func(*scene)) {
		add(name, func(s *scene) { s.least = 0.95; change(s) })
	}
	worse("5 points more errors over 0 %", func(s *scene) { s.moreErrors, s.requests = 0.05, 500 })
	worse("5 points more errors over 0.5 %", func(s *scene) { s.errors, s.moreErrors, s.requests = 0.005, 0.05, 500 })
	worse("5 points more errors over 5 %", func(s *scene) { s.errors, s.moreErrors, s.requests = 0.05, 0.05, 1200 })
	worse("30 % more time, spread 1", func(s *scene) { s.factor, s.requests = 1.3, 600 })
	worse("30 % more time, spread 0.5", func(s *scene) { s.factor, s.requests, s.sigma = 1.3, 600, 0.5 })
	worse("30 % more time, no variance", func(s *scene) { s.factor, s.requests, s.sigma = 1.3, 600, 0 })
	worse("4 % of answers 100 times slower", func(s *scene) { s.slow = 0.04 })
	worse("every request unanswered", func(s *scene) { s.unanswered, s.requests, s.perSecond = true, 20, 6 })
	for i := range all {
		all[i].bound = all[i].fixed()
	}
	return all
}

// fixed is how many standard errors apart a test of fixed size would see the two pools: of the shares of errors, or of the
// means of the logarithms of times. 0: no such figure.
func (s scene) fixed() float64 {
	c := float64(s.requests)
	p := c * float64(s.production) / float64(s.canary)
	switch {
	case s.moreErrors > 0:
		worse := s.errors + s.moreErrors
		return s.moreErrors / math.Sqrt(worse*(1-worse)/c+s.errors*(1-s.errors)/p)
	case s.least > 0 && s.factor > 1 && s.sigma > 0:
		return math.Log(s.factor) / (s.sigma * math.Sqrt(1/c+1/p))
	}
	return 0
}

func (s scene) time(r *rand.Rand, canary bool) time.Duration {
	ms := cmp.Or(s.middle, 20) * math.Exp(s.sigma*r.NormFloat64())
	if s.sigma == 0 {
		ms = 10 * math.Pow(1-r.Float64(), -1/1.2)
	}
	if s.tail > 0 && r.Float64() < s.tail {
		ms *= 10
	}
	if canary {
		ms *= s.factor
		if r.Float64() < s.slow {
			ms *= 100
		}
	}
	return time.Duration(ms * float64(time.Millisecond))
}

// play is one deploy, and returns at how many requests of the canary it was failed, or 0.
func (s scene) play(seed uint64) int {
	r := rand.New(rand.NewPCG(seed, 20))
	l := Limits{MinRequests: 50, MaxErrorRate: 0.02, LatencyFactor: 1.15, LatencySlack: 5 * time.Millisecond}
	judge := New(l.Deploy())
	if s.guard {
		judge = New(l.Guard(time.Hour, 2))
	}
	turn := 0
	for {
		var production, canary traffic.Sample
		for range s.perSecond {
			pool, isCanary, errors := &production, turn%(s.production+s.canary) < s.canary, s.errors
			if isCanary {
				pool, errors = &canary, s.errors+s.moreErrors
			}
			turn++
			pool.Requests++
			switch {
			case isCanary && s.unanswered:
				pool.Unanswered++
			case r.Float64() < errors:
				pool.Errors++
			default:
				first := s.time(r, isCanary)
				pool.First.Add(first)
				pool.Last.Add(first + first/4)
			}
		}
		judge.Observe(both(production, canary))
		seen := judge.Seen()
		if seen.Outcome == Fail {
			return int(seen.Canary)
		}
		if int(seen.Canary) >= s.requests {
			return 0
		}
	}
}

// played is what a number of deploys came to.
type played struct {
	trials, failed int
	first          string // of the first deploys: how many failed, and after how many requests of the canary together
}

// playAll plays deploys with the seeds from 0.
func (s scene) playAll(trials int) played {
	part := func(n int) int { return (n + s.effort - 1) / s.effort }
	trials = part(trials)
	after := make([]int, trials)
	var wg sync.WaitGroup
	const workers = 2
	for w := range workers {
		wg.Go(func() {
			for seed := w; seed < trials; seed += workers {
				after[seed] = s.play(uint64(seed))
			}
		})
	}
	wg.Wait()
	count := func(after []int) (failed, requests int) {
		for _, n := range after {
			if requests += n; n > 0 {
				failed++
			}
		}
		return failed, requests
	}
	failed, _ := count(after)
	f, n := count(after[:min(trials, part(sample))])
	return played{trials, failed, fmt.Sprintf("%d/%d", f, n)}
}

// sample is how many deploys of each row every test plays, fewer of rows with more effort. The page has their results too, in a comment: so a test of a
// few seconds finds that the page is not of this code.
const sample = 20

var trials = flag.Int("trials", sample, "simulated deploys for each row of docs/canary.md")

// TestOperatingCharacteristic plays deploys whose truth is known. The seeds are fixed, so the result is always the same.
// It writes the table in docs/canary.md: UPDATE=1 go test ./plugins/deploy/verdict -run Operating -timeout 1h -trials 2000
func TestOperatingCharacteristic(t *testing.T) {
	t.Parallel()
	var rows, firsts []string
	for _, s := range scenes() {
		got := s.playAll(*trials)
		share := float64(got.failed) / float64(got.trials)
		// What so few trials may add to, or take from, the true share: three standard errors.
		slack := 3 * math.Sqrt(max(s.most*(1-s.most), s.least*(1-s.least), 0)/float64(got.trials))
		if share > s.most+slack || share < s.least-slack {
			t.Errorf("%s: %d of %d failed", s.name, got.failed, got.trials)
		}
		goal, bound := fmt.Sprintf("≤ %.2g %%", 100*s.most), "–"
		if s.least > 0 {
			goal = fmt.Sprintf("≥ %g %%", 100*s.least)
		}
		if s.bound > 0 {
			bound = fmt.Sprintf("%.1f σ", s.bound)
		}
		rows = append(rows, fmt.Sprintf("| %s | %d | %s | %s | %.1f %% of %d |", s.name, s.requests, bound, goal, 100*share, got.trials))
		firsts = append(firsts, got.first)
	}
	const file, begin, end = "../../../docs/canary.md", "<!-- simulation -->\n", "<!-- end -->\n"
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, _ := strings.Cut(string(text), begin)
	old, after, ok := strings.Cut(rest, end)
	if !ok {
		t.Fatalf("%s lacks its marks", file)
	}
	const head = "| the canary | its requests | a fixed test sees | goal | failed |\n|---|---:|---:|---|---:|\n"
	table := head + strings.Join(rows, "\n") + "\n" + fmt.Sprintf("<!-- the first %d: %s -->\n", sample, strings.Join(firsts, " "))
	t.Logf("how often the verdict errs:\n%s", head+strings.Join(rows, "\n"))
	if os.Getenv("UPDATE") != "" {
		if err := os.WriteFile(file, []byte(before+begin+table+end+after), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if withoutShares(old) != withoutShares(table) {
		t.Errorf("%s is not of this code; the comment of this test says how to make it\ngot\n%s\nwant\n%s", file, old, table)
	}
}

// withoutShares cuts the last cell of each row, which depends on the number of trials.
func withoutShares(table string) string {
	var b strings.Builder
	for line := range strings.Lines(table) {
		if cells := strings.Split(line, "|"); len(cells) == 7 {
			line = strings.Join(cells[:5], "|") + "\n"
		}
		b.WriteString(line)
	}
	return b.String()
}
