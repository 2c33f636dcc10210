package server

import (
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/zitadel/oidc/v3/example/server/exampleop"
	"github.com/zitadel/oidc/v3/example/server/storage"
	"github.com/zitadel/oidc/v3/pkg/op"
)

// TestOIDC signs in by a real OpenID provider, as a browser does.
func TestOIDC(t *testing.T) {
	w := newWorld(t, false)
	owner := w.person("o", Owner)
	provided := httptest.NewUnstartedServer(nil)
	issuer := "http://" + provided.Listener.Addr().String()
	storage.RegisterClients(storage.WebClient("troop", "s3cret", w.url+"/sign-in/oidc/back"))
	provided.Config.Handler = exampleop.SetupServer(issuer, storage.NewStorage(storage.NewUserStore(issuer)), slog.New(slog.DiscardHandler), false, op.WithAllowInsecure())
	provided.Start()
	defer provided.Close()
	var err error
	if w.oidc, err = newProvider(t.Context(), OIDC{issuer, "troop", "s3cret"}, w.base); err != nil {
		t.Fatal(err)
	}

	p := w.nobody()
	if r := p.get("/sign-in"); !strings.Contains(r.text, "/sign-in/oidc") {
		t.Errorf("the page does not offer it: %s", r.text)
	}
	back := p.atProvider(p.get("/sign-in/oidc?to=/account").header.Get("Location"))
	at, err := url.Parse(back)
	if err != nil {
		t.Fatal(err)
	}
	if r := w.nobody().get(at.RequestURI()); r.status != http.StatusUnprocessableEntity {
		t.Errorf("another browser with the same answer: %d", r.status)
	}
	forged := at.Query()
	forged.Set("state", "guess")
	stranger := w.nobody()
	stranger.get("/sign-in/oidc")
	if r := stranger.get("/sign-in/oidc/back?" + forged.Encode()); r.status != http.StatusUnprocessableEntity {
		t.Errorf("an answer with another state: %d", r.status)
	}
	if r := p.get(at.RequestURI()); r.status != http.StatusSeeOther || r.header.Get("Location") != "/account" {
		t.Fatalf("the sign-in: %d %s", r.status, r.text)
	}
	if r := p.get("/account"); !strings.Contains(r.text, "test-user@zitadel.ch") || !strings.Contains(r.text, "None yet") {
		t.Errorf("a new account without a role: %s", r.text)
	}
	if r := p.get("/p/shop"); r.status != http.StatusNotFound {
		t.Errorf("without a role: %d", r.status)
	}
	owner.post("/people", url.Values{"act": {"give"}, "name": {"test-user@zitadel.ch"}, "place": {"shop"}, "role": {"viewer"}})
	if r := p.get("/p/shop"); r.status != http.StatusOK {
		t.Errorf("with a role: %d", r.status)
	}
	// The same person again is the same account.
	again := w.nobody()
	at, err = url.Parse(again.atProvider(again.get("/sign-in/oidc").header.Get("Location")))
	if err != nil {
		t.Fatal(err)
	}
	again.get(at.RequestURI())
	if r := again.get("/p/shop"); r.status != http.StatusOK {
		t.Errorf("the same person again: %d", r.status)
	}
}

// atProvider signs in there, and returns where the provider leads back to.
func (p *person) atProvider(authorize string) string {
	p.Helper()
	base, err := url.Parse(authorize)
	if err != nil {
		p.Fatal(err)
	}
	there := &person{world: &world{TB: p.TB, url: base.Scheme + "://" + base.Host}, client: p.client}
	login := there.get(base.RequestURI()).header.Get("Location")
	at, err := url.Parse(login)
	if err != nil {
		p.Fatal(err)
	}
	id := at.Query().Get("authRequestID")
	done := there.post("/login/username", url.Values{"id": {id}, "username": {"test-user@" + base.Hostname()}, "password": {"verysecure"}})
	next, err := url.Parse(done.header.Get("Location"))
	if err != nil || done.status != http.StatusFound {
		p.Fatalf("the provider's sign-in: %d %s, %v", done.status, done.text, err)
	}
	return there.get(next.RequestURI()).header.Get("Location")
}
