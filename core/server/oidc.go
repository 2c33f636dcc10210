package server

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"go.etcd.io/bbolt"
	"golang.org/x/oauth2"
)

// OIDC says by which OpenID provider people sign in; no issuer: by none.
type OIDC struct{ Issuer, ClientID, ClientSecret string }

// provider is an OpenID provider.
type provider struct {
	*oidc.Provider
	verifier *oidc.IDTokenVerifier
	config   func() oauth2.Config
}

// flow is a sign-in that has begun, in a cookie of the browser that began it.
type flow struct {
	State    string `json:"state"`
	Nonce    string `json:"nonce"`
	Verifier string `json:"verifier"` // of PKCE, RFC 7636
	To       string `json:"to"`
}

const flowCookie = "troop_sign_in"

func newProvider(ctx context.Context, o OIDC, base func() string) (*provider, error) {
	if o.Issuer == "" {
		return nil, nil //nolint:nilnil // none is wanted
	}
	p, err := oidc.NewProvider(context.WithoutCancel(ctx), o.Issuer)
	if err != nil {
		return nil, fmt.Errorf("ask the OpenID provider %s: %w; its address is that before /.well-known/openid-configuration", o.Issuer, err)
	}
	return &provider{
		Provider: p, verifier: p.Verifier(&oidc.Config{ClientID: o.ClientID}),
		config: func() oauth2.Config {
			return oauth2.Config{
				ClientID: o.ClientID, ClientSecret: o.ClientSecret, Endpoint: p.Endpoint(),
				RedirectURL: base() + "/sign-in/oidc/back", Scopes: []string{oidc.ScopeOpenID, "profile", "email"},
			}
		},
	}, nil
}

// startOIDC leads to the provider.
func (s *Server) startOIDC(w http.ResponseWriter, r *http.Request) error {
	if s.oidc == nil {
		return userError("no OpenID provider is set; start troop serve with --oidc-issuer")
	}
	f := flow{State: secretText(), Nonce: secretText(), Verifier: oauth2.GenerateVerifier(), To: local(r.URL.Query().Get("to"))}
	text, err := json.Marshal(f)
	if err != nil {
		return err
	}
	http.SetCookie(w, &http.Cookie{
		Name: flowCookie, Value: tokenText(text), Path: "/sign-in/oidc", MaxAge: 600, HttpOnly: true, SameSite: http.SameSiteLaxMode, Secure: s.secure(r),
	})
	c := s.oidc.config()
	http.Redirect(w, r, c.AuthCodeURL(f.State, oidc.Nonce(f.Nonce), oauth2.S256ChallengeOption(f.Verifier)), http.StatusSeeOther)
	return nil
}

// endOIDC comes back from the provider. Whoever signs in so for the first time has an account without a role.
func (s *Server) endOIDC(w http.ResponseWriter, r *http.Request) error {
	if s.oidc == nil {
		return userError("no OpenID provider is set")
	}
	cookie, err := r.Cookie(flowCookie)
	if err != nil {
		return userError("this sign-in was begun elsewhere, or too long ago; begin again")
	}
	http.SetCookie(w, &http.Cookie{Name: flowCookie, Path: "/sign-in/oidc", MaxAge: -1})
	var f flow
	if text, err := textOf(cookie.Value); err != nil || json.Unmarshal(text, &f) != nil || f.State == "" || r.URL.Query().Get("state") != f.State {
		return userError("this sign-in does not belong to this browser; begin again")
	}
	if said := r.URL.Query().Get("error"); said != "" {
		return userError("the OpenID provider says: %s", strings.TrimSpace(said+" "+r.URL.Query().Get("error_description")))
	}
	c := s.oidc.config()
	token, err := c.Exchange(r.Context(), r.URL.Query().Get("code"), oauth2.VerifierOption(f.Verifier))
	if err != nil {
		return userError("the OpenID provider does not take its own code: %w", err)
	}
	raw, _ := token.Extra("id_token").(string)
	id, err := s.oidc.verifier.Verify(r.Context(), raw)
	if err != nil {
		return userError("the OpenID provider's token cannot be used: %w", err)
	}
	var claims struct {
		Email    string `json:"email"`
		Verified bool   `json:"email_verified"`
		Name     string `json:"preferred_username"`
	}
	if err := id.Claims(&claims); err != nil || id.Nonce != f.Nonce {
		return userError("the OpenID provider's token belongs to another sign-in; begin again")
	}
	if claims.Email == "" && claims.Name == "" { // some providers tell these only when they are asked
		info, err := s.oidc.UserInfo(r.Context(), oauth2.StaticTokenSource(token))
		if err == nil && info.Subject == id.Subject {
			err = info.Claims(&claims)
		}
		if err != nil {
			return userError("the OpenID provider does not say who this is: %w", err)
		}
	}
	if !claims.Verified {
		claims.Email = ""
	}
	name, err := s.known(id.Issuer+" "+id.Subject, strings.ToLower(cmp.Or(claims.Email, claims.Name, id.Subject)))
	if err != nil {
		return err
	}
	return s.enter(w, r, name, local(f.To))
}

// known returns the account of a person at the provider, who is known by the subject alone: names and addresses change
// hands there. A new one is called name, with a number when another has that name.
func (s *Server) known(subject, name string) (string, error) {
	err := s.db.Update(func(tx *bbolt.Tx) error {
		taken, found := map[string]bool{}, ""
		err := each(tx, accountsBucket, false, func(_ []byte, a Account) bool {
			taken[a.Name] = true
			if a.Subject == subject {
				found = a.Name
			}
			return true
		})
		if err != nil || found != "" {
			name = found
			return err
		}
		if !accountName.MatchString(name) {
			name = "person"
		}
		base := name
		for n := 2; taken[name]; n++ {
			name = fmt.Sprintf("%s-%d", base, n)
		}
		return put(tx, accountsBucket, []byte(name), Account{Name: name, Subject: subject, Roles: map[string]Role{}, Created: time.Now()})
	})
	return name, err
}
