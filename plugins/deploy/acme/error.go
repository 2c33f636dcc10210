package acme

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"golang.org/x/crypto/acme"

	"github.com/seed-b96de936/troop/plugins/deploy/state"
)

// Error says in one sentence why there is no certificate, and what to do.
type Error struct {
	Reason string
	After  time.Duration // before which the authority does not want to be asked again; 0: it did not say
}

func (e *Error) Error() string { return e.Reason }

// explain makes an Error of what the authority answered.
func (c *Client) explain(s state.ACME, err error) error {
	said := &acme.Error{}
	var refused *acme.AuthorizationError
	var failed *acme.OrderError
	var known *Error
	switch {
	case errors.As(err, &known):
		return known
	case errors.As(err, &refused):
		return &Error{Reason: fmt.Sprintf(
			"the authority does not find this router under %s (%s); its DNS record must point here, and port 80 be open to everybody", refused.Identifier, detail(refused.Errors...))}
	case errors.As(err, &failed) && failed.Problem != nil:
		return c.explain(s, failed.Problem)
	case !errors.As(err, &said):
		return &Error{Reason: fmt.Sprintf("the authority at %s does not answer: %v", s.Directory, err)}
	}
	if after, limited := acme.RateLimit(said); limited {
		return &Error{Reason: "the authority's rate limit is reached: " + detail(err), After: after}
	}
	switch {
	case strings.HasSuffix(said.ProblemType, ":rejectedIdentifier"):
		return &Error{Reason: fmt.Sprintf("the authority gives no certificate for %s: %s", strings.Join(s.Domains, ", "), detail(err))}
	case said.StatusCode == http.StatusUnauthorized, said.StatusCode == http.StatusForbidden, strings.HasSuffix(said.ProblemType, ":accountDoesNotExist"):
		return &Error{Reason: fmt.Sprintf("the authority refuses the account: %s; remove %s on the router for a new one", detail(err), c.Account())}
	}
	return &Error{Reason: "the authority refuses: " + detail(err)}
}

// detail is what the authority says, without what is only for programs.
func detail(errs ...error) string {
	var all []string
	for _, err := range errs {
		said := &acme.Error{}
		if !errors.As(err, &said) {
			all = append(all, err.Error())
			continue
		}
		all = append(all, said.Detail)
		for _, sub := range said.Subproblems {
			all = append(all, sub.Detail)
		}
	}
	return strings.Join(all, "; ")
}
