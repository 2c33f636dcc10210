package server

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"time"

	"go.etcd.io/bbolt"
	"golang.org/x/crypto/bcrypt"

	"github.com/seed-b96de936/troop/core"
)

// Role is what somebody may do in a place. Each role includes those before it.
type Role string

// The roles, from the least to the most.
const (
	Nobody   Role = ""         // may see that there is a server
	Viewer   Role = "viewer"   // sees everything but secrets
	Operator Role = "operator" // starts and cancels runs, acts on hosts, changes flags
	Approver Role = "approver" // approves plans, too
	Owner    Role = "owner"    // makes accounts and gives roles, too
)

var roles = []Role{Nobody, Viewer, Operator, Approver, Owner}

// atLeast reports whether a role includes another.
func (r Role) atLeast(other Role) bool { return slices.Index(roles, r) >= slices.Index(roles, other) }

// Everywhere is the place that holds all pipelines and environments.
const Everywhere = "*"

// Account is a person, or a program, that may sign in.
type Account struct {
	Name     string          `json:"name"`
	Password []byte          `json:"password,omitempty"` // bcrypt; empty: signs in elsewhere, or not yet
	Subject  string          `json:"subject,omitempty"`  // of the OpenID provider
	Roles    map[string]Role `json:"roles"`              // by place: Everywhere, PIPELINE or PIPELINE/ENVIRONMENT
	Created  time.Time       `json:"created"`
}

// Places lists where the account has a role, in order.
func (a Account) Places() []string { return slices.Sorted(maps.Keys(a.Roles)) }

// in is the role of the account in an environment of a pipeline; an empty environment is the pipeline itself.
func (a Account) in(pipeline, environment string) Role {
	best := Nobody
	for _, place := range []string{Everywhere, pipeline, pipeline + "/" + environment} {
		if r := a.Roles[place]; r.atLeast(best) {
			best = r
		}
	}
	return best
}

// anywhere is the best role that the account has in any place of a pipeline.
func (a Account) anywhere(pipeline string) Role {
	best := a.in(pipeline, "")
	for place, r := range a.Roles {
		if strings.HasPrefix(place, pipeline+"/") && r.atLeast(best) {
			best = r
		}
	}
	return best
}

// Token lets a program act for an account, with a role that is no better than Most.
type Token struct {
	Account string    `json:"account"`
	Label   string    `json:"label"`
	Most    Role      `json:"most"`
	Ends    time.Time `json:"ends"`
	Made    time.Time `json:"made"`
}

type session struct {
	Account string    `json:"account"`
	Ends    time.Time `json:"ends"`
}

// invite lets whoever has its link choose the password of an account, once.
type invite struct {
	Account string    `json:"account"`
	Ends    time.Time `json:"ends"`
}

const (
	sessionLength = 12 * time.Hour
	inviteLength  = 72 * time.Hour
	sessionCookie = "troop_session"
	tokenPrefix   = "troop_"
)

// secretText is 32 random bytes as text. Only its hash is kept.
func secretText() string {
	b := make([]byte, 32)
	_, _ = rand.Read(b) // never fails
	return base64.RawURLEncoding.EncodeToString(b)
}

func hashed(secret string) []byte {
	sum := sha256.Sum256([]byte(secret))
	return sum[:]
}

var accountName = regexp.MustCompile(`^[a-z0-9][a-z0-9._@+-]{0,62}$`)

// invite makes a link for an account, which is made when there is none of its name.
func (s *Server) invite(name string, roles map[string]Role) (link string, err error) {
	if !accountName.MatchString(name) {
		return "", userError("the name %q is not usable: small letters, digits and . _ @ + -, 63 at most", name)
	}
	secret := secretText()
	err = s.db.Update(func(tx *bbolt.Tx) error {
		_, known, err := get[Account](tx, accountsBucket, []byte(name))
		if err == nil && !known {
			err = put(tx, accountsBucket, []byte(name), Account{Name: name, Roles: roles, Created: time.Now()})
		}
		if err != nil {
			return err
		}
		return put(tx, invitesBucket, hashed(secret), invite{name, time.Now().Add(inviteLength)})
	})
	return s.base() + "/invite/" + secret, err
}

// FirstLink returns a link with which the first owner chooses a password; empty: there is an owner who can sign in.
func (s *Server) FirstLink() (string, error) {
	owned := false
	err := s.db.View(func(tx *bbolt.Tx) error {
		return each(tx, accountsBucket, false, func(_ []byte, a Account) bool {
			owned = owned || a.Roles[Everywhere] == Owner && (len(a.Password) > 0 || a.Subject != "")
			return !owned
		})
	})
	if err != nil || owned {
		return "", err
	}
	return s.invite("owner", map[string]Role{Everywhere: Owner})
}

// minPassword follows NIST SP 800-63B, section 3.1.1.2, for passwords that are the only factor.
const minPassword = 15

// accept sets the password of an invited account, and ends the invitation.
func (s *Server) accept(secret, password string) (name string, err error) {
	if n := len([]rune(password)); n < minPassword || len(password) > 72 { // bcrypt takes 72 bytes
		return "", userError("choose a password of %d to 72 characters", minPassword)
	}
	hash, err := bcrypt.GenerateFromPassword([]byte(password), bcrypt.DefaultCost)
	if err != nil {
		return "", err
	}
	err = s.db.Update(func(tx *bbolt.Tx) error {
		i, ok, err := get[invite](tx, invitesBucket, hashed(secret))
		if err != nil {
			return err
		}
		if !ok || time.Now().After(i.Ends) {
			return errInvite
		}
		a, _, err := get[Account](tx, accountsBucket, []byte(i.Account))
		if err != nil {
			return err
		}
		a.Password, name = hash, a.Name
		if err := put(tx, accountsBucket, []byte(a.Name), a); err != nil {
			return err
		}
		return put(tx, invitesBucket, hashed(secret), nil)
	})
	return name, err
}

var errInvite = userError("this link was used already, or is too old; ask an owner for another")

// signIn checks a password. It takes the same time whether or not there is such an account.
func (s *Server) signIn(name, password string) error {
	hash := s.noPassword
	err := s.db.View(func(tx *bbolt.Tx) error {
		a, ok, err := get[Account](tx, accountsBucket, []byte(name))
		if ok && len(a.Password) > 0 {
			hash = a.Password
		}
		return err
	})
	if err != nil {
		return err
	}
	if bcrypt.CompareHashAndPassword(hash, []byte(password)) != nil {
		return userError("this name and password do not go together")
	}
	return nil
}

// open begins a session of an account.
func (s *Server) open(w http.ResponseWriter, r *http.Request, name string) error {
	secret := secretText()
	ends := time.Now().Add(sessionLength)
	err := s.db.Update(func(tx *bbolt.Tx) error {
		err := drop(tx, sessionsBucket, func(v session) bool { return time.Now().After(v.Ends) })
		return cmp.Or(err, put(tx, sessionsBucket, hashed(secret), session{name, ends}))
	})
	if err != nil {
		return err
	}
	http.SetCookie(w, &http.Cookie{
		Name: sessionCookie, Value: secret, Path: "/", Expires: ends, HttpOnly: true, SameSite: http.SameSiteLaxMode, Secure: s.secure(r),
	})
	return nil
}

// signOut ends the session of a request.
func (s *Server) signOut(w http.ResponseWriter, r *http.Request) error {
	http.SetCookie(w, &http.Cookie{Name: sessionCookie, Path: "/", MaxAge: -1, HttpOnly: true, SameSite: http.SameSiteLaxMode, Secure: s.secure(r)})
	c, err := r.Cookie(sessionCookie)
	if err != nil {
		return nil //nolint:nilerr // there is no session to end
	}
	return s.db.Update(func(tx *bbolt.Tx) error { return put(tx, sessionsBucket, hashed(c.Value), nil) })
}

// caller is who makes a request.
type caller struct {
	Account
	most Role // of the token; Owner for a session
}

func (c caller) in(pipeline, environment string) Role {
	return c.capped(c.Account.in(pipeline, environment))
}

func (c caller) anywhere(pipeline string) Role { return c.capped(c.Account.anywhere(pipeline)) }

func (c caller) capped(r Role) Role {
	if r.atLeast(c.most) {
		return c.most
	}
	return r
}

// Owns reports whether the caller may make accounts.
func (c caller) Owns() bool { return c.in("", "").atLeast(Owner) }

type callerKey struct{}

// callerOf returns who makes a request; nobody has no name.
func callerOf(ctx context.Context) caller {
	c, _ := ctx.Value(callerKey{}).(caller)
	return c
}

// identify finds out who makes a request, by its token or its session.
func (s *Server) identify(r *http.Request) (c caller, err error) {
	name := ""
	err = s.db.View(func(tx *bbolt.Tx) error {
		if bearer, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer "); ok {
			t, ok, err := get[Token](tx, tokensBucket, hashed(bearer))
			if ok && time.Now().Before(t.Ends) {
				name, c.most = t.Account, t.Most
			}
			if err != nil {
				return err
			}
		} else if cookie, err := r.Cookie(sessionCookie); err == nil {
			v, ok, err := get[session](tx, sessionsBucket, hashed(cookie.Value))
			if ok && time.Now().Before(v.Ends) {
				name, c.most = v.Account, Owner
			}
			if err != nil {
				return err
			}
		}
		if name == "" {
			return nil
		}
		var err error
		c.Account, _, err = get[Account](tx, accountsBucket, []byte(name))
		return err
	})
	return c, err
}

// accounts lists all accounts by name.
func (s *Server) accounts() (list []Account, err error) {
	err = s.db.View(func(tx *bbolt.Tx) error {
		return each(tx, accountsBucket, false, func(_ []byte, a Account) bool {
			list = append(list, a)
			return true
		})
	})
	return list, err
}

// give sets the role of an account in a place; Nobody takes it away. Somebody always stays who owns everything.
func (s *Server) give(name, place string, role Role) error {
	if !slices.Contains(roles, role) || place == "" || role == Owner && place != Everywhere {
		return userError("the role is one of viewer, operator, approver in a place, or owner everywhere (%s)", Everywhere)
	}
	return s.db.Update(func(tx *bbolt.Tx) error {
		a, ok, err := get[Account](tx, accountsBucket, []byte(name))
		if err != nil {
			return err
		}
		if !ok {
			return &core.NotFoundError{What: "account", Name: name}
		}
		a.Roles = maps.Clone(a.Roles)
		if a.Roles == nil {
			a.Roles = map[string]Role{}
		}
		if a.Roles[place] = role; role == Nobody {
			delete(a.Roles, place)
		}
		if err := put(tx, accountsBucket, []byte(name), a); err != nil {
			return err
		}
		owners := 0
		err = each(tx, accountsBucket, false, func(_ []byte, a Account) bool {
			if a.Roles[Everywhere] == Owner {
				owners++
			}
			return true
		})
		if err == nil && owners == 0 {
			err = userError("%s is the only owner; make another one first", name)
		}
		return err
	})
}

// remove ends an account with its sessions and tokens.
func (s *Server) remove(name string) error {
	if err := s.give(name, Everywhere, Nobody); err != nil {
		return err
	}
	return s.db.Update(func(tx *bbolt.Tx) error {
		err := put(tx, accountsBucket, []byte(name), nil)
		for _, bucket := range [][]byte{sessionsBucket, tokensBucket, invitesBucket} { // all three name their account so
			err = cmp.Or(err, drop(tx, bucket, func(v session) bool { return v.Account == name }))
		}
		return err
	})
}

// maxTokenLength is the longest time for which a token may be made.
const maxTokenLength = 366 * 24 * time.Hour

// token makes a token for an account.
func (s *Server) token(name, label string, most Role, length time.Duration) (string, error) {
	if length <= 0 || length > maxTokenLength {
		return "", userError("a token lasts for a day to a year")
	}
	if label == "" || !slices.Contains(roles, most) || most == Nobody {
		return "", userError("a token needs a label, and the most that it may do: viewer, operator, approver or owner")
	}
	secret := tokenPrefix + secretText()
	now := time.Now()
	return secret, s.db.Update(func(tx *bbolt.Tx) error {
		return put(tx, tokensBucket, hashed(secret), Token{Account: name, Label: label, Most: most, Made: now, Ends: now.Add(length)})
	})
}

// tokens lists the tokens of an account.
func (s *Server) tokens(name string) (list []Token, err error) {
	err = s.db.View(func(tx *bbolt.Tx) error {
		return each(tx, tokensBucket, false, func(_ []byte, t Token) bool {
			if t.Account == name {
				list = append(list, t)
			}
			return true
		})
	})
	slices.SortFunc(list, func(a, b Token) int { return b.Made.Compare(a.Made) })
	return list, err
}

// revoke ends the tokens of an account that have a label.
func (s *Server) revoke(name, label string) error {
	return s.db.Update(func(tx *bbolt.Tx) error {
		return drop(tx, tokensBucket, func(t Token) bool { return t.Account == name && t.Label == label })
	})
}

// userError is a mistake in what a person asked for.
func userError(format string, args ...any) error {
	return &core.UsageError{Err: fmt.Errorf(format, args...)}
}
