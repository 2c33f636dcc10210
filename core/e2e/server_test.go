//go:build lab

package e2e

import (
	"bufio"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
)

// browser is one in which somebody works on the pages of a server.
type browser struct {
	ctx   context.Context
	at    string // the server's address
	shots string // folder for pictures of the pages; empty: none are taken
}

// openBrowser starts Chromium without a window. A mistake in a page's script, or one that its policy refuses, fails the test.
func openBrowser(t *testing.T, at string) *browser {
	t.Helper()
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.NoSandbox, chromedp.WindowSize(1200, 800))
	ctx, stop := chromedp.NewExecAllocator(t.Context(), options...)
	t.Cleanup(stop)
	ctx, stop = chromedp.NewContext(ctx)
	t.Cleanup(stop)
	ctx, stop = context.WithTimeout(ctx, 30*time.Minute)
	t.Cleanup(stop)
	chromedp.ListenTarget(ctx, func(e any) {
		if e, ok := e.(*runtime.EventExceptionThrown); ok {
			t.Errorf("a script: %s", e.ExceptionDetails.Error())
		}
	})
	return &browser{ctx, at, os.Getenv("TROOP_SCREENSHOTS")}
}

func (b *browser) do(t *testing.T, what string, actions ...chromedp.Action) {
	t.Helper()
	if err := chromedp.Run(b.ctx, actions...); err != nil {
		t.Fatalf("%s: %v", what, err)
	}
}

// sees waits until the page shows a text.
func (b *browser) sees(t *testing.T, text string) {
	t.Helper()
	page := ""
	for end := time.Now().Add(5 * time.Minute); !strings.Contains(page, text); time.Sleep(100 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%q did not come; the page shows\n%s", text, page)
		}
		if err := chromedp.Run(b.ctx, chromedp.Evaluate("document.body ? document.body.innerText : ''", &page)); err != nil && b.ctx.Err() != nil {
			t.Fatal(err) // else the page is being exchanged
		}
	}
}

// shot takes a picture of the page, wide and at the width of a telephone.
func (b *browser) shot(t *testing.T, name string) {
	t.Helper()
	if b.shots == "" {
		return
	}
	for width, suffix := range map[int64]string{1200: "", 360: "-small"} {
		var png []byte
		b.do(t, "picture", chromedp.EmulateViewport(width, 800), chromedp.FullScreenshot(&png, 100))
		if err := os.WriteFile(filepath.Join(b.shots, name+suffix+".png"), png, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	b.do(t, "the width as before", chromedp.EmulateViewport(1200, 800))
}

// startServer serves a pipeline with the server's own files in a folder, and returns its address. While nobody owns it, it
// says a link for the first owner, too. It must end well, unless it is killed.
func (w *world) startServer(t testing.TB, pipeline, data string, owned bool) (server *os.Process, at, link string) {
	t.Helper()
	c := exec.Command(filepath.Join(w.bin, "troop"), "serve", pipeline, "--listen", "127.0.0.1:0", "--data", data)
	c.Dir, c.Env = w.dir, append(environ(), w.env...)
	out, err := c.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = c.Process.Signal(syscall.SIGTERM)
		if err := c.Wait(); err != nil && !strings.Contains(err.Error(), "signal: killed") {
			t.Errorf("the server ends with %v", err)
		}
	})
	lines := bufio.NewScanner(out)
	say := func(pattern string) string {
		t.Helper()
		if !lines.Scan() {
			t.Fatal("the server ended at once")
		}
		m := regexp.MustCompile(pattern).FindStringSubmatch(lines.Text())
		if m == nil {
			t.Fatalf("the server says %q, want %s", lines.Text(), pattern)
		}
		return m[1]
	}
	at = say(`^troop serves \S+ at (http://\S+);`)
	if !owned {
		link = say(`password at (http://\S+)$`)
	}
	go func() {
		for lines.Scan() { // so that it is not kept waiting
		}
	}()
	return c.Process, at, link
}

// pages is a person's work on the pages of a server: from the first link over a run, the environment and a flag to what a
// rollback would do.
func pages(t *testing.T, w *world) {
	data := t.TempDir()
	server, at, link := w.startServer(t, w.dir, data, false)
	b := openBrowser(t, at)
	b.do(t, "choose a password", chromedp.Navigate(link),
		chromedp.SendKeys(`input[name=password]`, "correct horse battery"), chromedp.SendKeys(`input[name=again]`, "correct horse battery"),
		chromedp.Submit(`input[name=again]`))
	b.sees(t, "Pipelines")
	b.shot(t, "home")

	b.do(t, "open the pipeline", chromedp.Navigate(at+"/p/storefront"), chromedp.Click(`details > summary`, chromedp.NodeVisible),
		chromedp.SetValue(`select[name=environment]`, "lab"), chromedp.SendKeys(`form[action$="/run"] input[name=reason]`, "look"), chromedp.Submit(`form[action$="/run"] input[name=reason]`))
	b.sees(t, "run 0")
	b.sees(t, "deploy.storefront passed") // by its stream: the page was asked for once
	b.sees(t, "Run again")
	b.shot(t, "run")

	b.do(t, "open the environment", chromedp.Navigate(at+"/p/storefront/environments/lab"))
	b.sees(t, "canary-1")
	b.sees(t, "weights 2:1")
	b.shot(t, "environment")
	page := func() bool {
		return sh(t, "/", "curl -s -o /dev/null -w '%{http_code}' "+w.url("/feature")) == "200"
	}
	was := page()
	value := "true"
	if was {
		value = "false"
	}
	b.do(t, "set a flag", chromedp.WaitVisible(`form[action$="/flag"] input[name=name]:not([type=hidden])`),
		chromedp.SendKeys(`form[action$="/flag"].row input[name=name]`, "new-feature"), chromedp.SendKeys(`form[action$="/flag"].row input[name=value]`, value),
		chromedp.SendKeys(`form[action$="/flag"].row input[name=reason]`, "by the page"), chromedp.Submit(`form[action$="/flag"].row input[name=reason]`))
	eventually(t, time.Minute, "the application changes", func() bool { return page() != was })
	contains(t, w.must(t, "flag", "audit", w.manifest, "--env", "lab"), `owner \(troop serve\)`, "by the page")

	b.do(t, "ask what a rollback would do", chromedp.Navigate(at+"/p/storefront/environments/lab"), chromedp.Click(`details > summary`, chromedp.NodeVisible),
		chromedp.Click(`form[action$="/action/deploy/rollback"] button`, chromedp.NodeVisible))
	b.sees(t, "deploy rollback")
	b.do(t, "who did what", chromedp.Navigate(at+"/audit"))
	b.sees(t, "flag set")
	b.sees(t, "look")
	b.shot(t, "audit")

	// What a stage shows may need a secret of its block, which the server itself does not know.
	w.replace(t, "pipeline.hcl", "service {", "service {\n    environment = { KEY = secret.key }")
	w.write(t, "pipeline.hcl", w.read(t, "pipeline.hcl")+"\nsecret \"key\" { file = \"case-key.hcl\" }\n")
	w.write(t, "case-key.hcl", "sentinel-of-the-page")
	b.do(t, "open the environment again", chromedp.Navigate(at+"/p/storefront/environments/lab"))
	b.sees(t, "weights 2:1")
	sh(t, w.dir, "git checkout -q pipeline.hcl && rm case-key.hcl")

	// The server dies in the middle of a run. The next one knows the person and finds the run, which has gone on.
	b.do(t, "start a run", chromedp.Navigate(at+"/p/storefront"), chromedp.Click(`details > summary`, chromedp.NodeVisible),
		chromedp.SetValue(`select[name=environment]`, "lab"), chromedp.SendKeys(`input[name=until]`, "test"),
		chromedp.Click(`input[name=force]`), chromedp.Submit(`input[name=until]`))
	b.sees(t, "build.app running")
	var run string
	b.do(t, "where it is shown", chromedp.Evaluate("location.pathname", &run))
	if err := server.Kill(); err != nil {
		t.Fatal(err)
	}
	_, at, _ = w.startServer(t, w.dir, data, true)
	b.do(t, "the run at the next server", chromedp.Navigate(at+run))
	b.sees(t, "test.unit passed")
	b.sees(t, "Run again")
	b.do(t, "the queue", chromedp.Navigate(at+"/queue"))
	b.sees(t, "No run waits or goes on.")
}
