//go:build lab && soak

package e2e

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"net/http"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
)

// TestDuty is somebody's duty in a browser, with a server that has nothing but a git remote: a push starts a run, its plan waits
// for an approval; the next push goes through the canary to production while they watch; an alert is acknowledged; a
// rollback is shown first and then done.
func TestDuty(t *testing.T) {
	w := newWorld(t, func(manifest string) string {
		manifest = strings.Replace(manifest, `terraform { module = "lab" }`, "terraform {\n    module = \"lab\"\n    review { approve = true }\n  }", 1)
		manifest = strings.ReplaceAll(manifest, `, "production"]`, `, "unused"]`)
		return edit(strings.Replace(manifest, "\nenvironment \"production\"", "\nenvironment \"unused\"", 1))
	})
	t.Cleanup(func() { w.replace(t, "pipeline.hcl", "review { approve = true }", "") }) // to remove the hosts needs one, too
	data, remote := t.TempDir(), filepath.Join(t.TempDir(), "storefront.git")
	sh(t, w.dir, "git clone -q --bare . "+remote+" && git remote add origin "+remote)
	w.env = append(w.env, "TROOP_WEBHOOK_SECRET=hush")
	_, at, link := w.startServer(t, remote, data, false)
	sh(t, w.dir, "state=$(echo "+data+"/mirrors/*.git)/troop && mkdir -p $state && ln -s $state .troop && echo .troop >>.git/info/exclude") // where the helpers look
	b := openBrowser(t, at)
	b.do(t, "choose a password", chromedp.Navigate(link),
		chromedp.SendKeys(`input[name=password]`, "correct horse battery"), chromedp.SendKeys(`input[name=again]`, "correct horse battery"),
		chromedp.Submit(`input[name=again]`))
	b.sees(t, "Pipelines")
	pushed := 0
	push := func() (run string) {
		t.Helper()
		sh(t, w.dir, "git push -q origin main")
		pushed++
		body := `{"ref":"refs/heads/main","after":"` + strings.TrimSpace(sh(t, w.dir, "git rev-parse HEAD")) + `"}`
		sum := hmac.New(sha256.New, []byte("hush"))
		sum.Write([]byte(body))
		q, err := http.NewRequest(http.MethodPost, at+"/hooks/github/storefront", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		q.Header.Set("X-GitHub-Event", "push")
		q.Header.Set("X-GitHub-Delivery", strconv.Itoa(pushed))
		q.Header.Set("X-Hub-Signature-256", "sha256="+hex.EncodeToString(sum.Sum(nil)))
		r, err := client.Do(q)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Body.Close()
		said, _ := io.ReadAll(r.Body) // what is missing fails below
		found := regexp.MustCompile(`run (01\w+) waits`).FindSubmatch(said)
		if found == nil {
			t.Fatalf("the webhook answers %s %s", r.Status, said)
		}
		return at + "/p/storefront/runs/" + string(found[1])
	}

	b.do(t, "watch the first run", chromedp.Navigate(push()))
	b.sees(t, "waits for approval")
	b.shot(t, "run-waits")
	b.do(t, "read the plan", chromedp.Navigate(at+"/p/storefront/environments/lab/plan"))
	b.sees(t, "Approve this plan")
	b.shot(t, "plan")
	b.do(t, "deny it without a reason", chromedp.Click(`form[action$="/approve"] button[value=deny]`))
	b.sees(t, "Who made the plan wants to know")
	b.do(t, "read the plan again", chromedp.Navigate(at+"/p/storefront/environments/lab/plan"))
	b.do(t, "approve it", chromedp.SendKeys(`form[action$="/approve"] input[name=reason]`, "five hosts"), chromedp.Submit(`form[action$="/approve"] input[name=reason]`))
	b.sees(t, "is approved by")
	b.do(t, "run again", chromedp.Navigate(push()))
	b.sees(t, "deploy.storefront passed")
	b.sees(t, "Run again")
	w.learn(t)

	// The next commit is watched on its way through the canary.
	stop := w.load()
	w.write(t, "CHANGES", "next\n")
	w.commit(t, "The next one")
	b.do(t, "watch the next run", chromedp.Navigate(push()))
	const line = `(document.querySelector("#deploy-storefront .spark polyline") || {getAttribute: () => ""}).getAttribute("points")`
	shapes := map[string]bool{}
	for end := time.Now().Add(5 * time.Minute); len(shapes) < 4; time.Sleep(100 * time.Millisecond) {
		points := ""
		if err := chromedp.Run(b.ctx, chromedp.Evaluate(line, &points)); err == nil && points != "" {
			shapes[points] = true
		}
		if time.Now().After(end) {
			t.Fatalf("the canary's chart does not move: %d shapes", len(shapes))
		}
	}
	b.shot(t, "run-canary")
	b.sees(t, "deploy.storefront passed")
	b.sees(t, "Run again")
	noneLost(t, stop())

	w.on(t, "web-1", "systemd-run --quiet --unit=loop-root /bin/sh -c 'while :; do :; done'")
	b.do(t, "look at the environment", chromedp.Navigate(at+"/p/storefront/environments/lab"))
	b.sees(t, "process.hog")
	// The panel is drawn again and again, so that what was found may be gone when it is clicked.
	eventually(t, 2*time.Minute, "an alert is acknowledged", func() bool {
		clicked := false
		err := chromedp.Run(b.ctx, chromedp.Evaluate(`(b => { if (b) b.click(); return !!b })(document.querySelector("button[value=acknowledge]"))`, &clicked))
		return err == nil && clicked
	})
	b.sees(t, "owner (troop serve)")
	contains(t, w.must(t, "alerts", "list", w.manifest, "--env", "lab"), `owner \(troop serve\)`)
	b.shot(t, "environment-alert")
	w.on(t, "web-1", "systemctl stop loop-root")

	served := sh(t, "/", "curl -s "+w.url("/version"))
	b.do(t, "ask what a rollback would do", chromedp.Navigate(at+"/p/storefront/environments/lab"), chromedp.Click(`details > summary`, chromedp.NodeVisible),
		chromedp.Click(`form[action$="/action/deploy/rollback"] button`, chromedp.NodeVisible))
	b.sees(t, "nothing was changed")
	b.shot(t, "rollback")
	if now := sh(t, "/", "curl -s "+w.url("/version")); now != served {
		t.Errorf("to ask has rolled back: %s, was %s", now, served)
	}
	b.do(t, "roll back", chromedp.Click(`form[action$="/action/deploy/rollback"] button`, chromedp.NodeVisible))
	eventually(t, 2*time.Minute, "the release before serves", func() bool { return sh(t, "/", "curl -s "+w.url("/version")) != served })
	b.sees(t, "serves on")
}
