package server

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/pflag"
	"golang.org/x/crypto/acme"
	"golang.org/x/crypto/acme/autocert"
)

// Help is the long description of troop serve.
const Help = `Serve shows pipelines to many people and acts for them, with the same checks, locks and records as the commands: runs as they
happen, environments with their hosts, releases, flags and alerts, and who did what. The first start prints a link with
which the first owner chooses a password; owners invite others and give them roles. An API for programs is described at
/api/v1/openapi.json.

A pipeline is a folder or a manifest on this machine, or a git remote that is mirrored: then each run goes by the manifest
of its own commit, pipeline.hcl, and webhooks of GitHub, GitLab, Gitea, Forgejo or any other program start runs at
/hooks/github/PIPELINE and so on. Their secret is TROOP_WEBHOOK_SECRET, or TROOP_WEBHOOK_SECRET_PIPELINE for one pipeline.

Each run is a process of its own: it outlives the server, which finds it again when it is started.

With ` + queueVariable + `, the address of a Redis, workers on other machines take the runs of git remotes that have a store
block: see troop worker.

With --oidc-issuer and --oidc-client-id people sign in by OpenID Connect; the client's secret is TROOP_OIDC_SECRET.`

// The variables that hold the server's secrets; that of webhooks may go on with _ and a pipeline.
const (
	oidcSecret    = "TROOP_OIDC_SECRET"
	webhookSecret = "TROOP_WEBHOOK_SECRET"
)

// serveFlags are the options of Run that are only about the connection.
type serveFlags struct {
	listen, cert, key, acme, email string

	authority *acme.Client // nil: Let's Encrypt; tests have their own
}

// AddFlags adds the options as flags of a command.
func (o *Options) AddFlags(f *pflag.FlagSet) {
	f.StringVar(&o.flags.listen, "listen", "127.0.0.1:8080", "`address` to listen on")
	f.StringVar(&o.Data, "data", "", "`folder` of the server's own files; default: troop/server in the user's state folder")
	f.StringVar(&o.URL, "url", "", "how people reach the server, such as https://troop.example.com behind a proxy")
	f.IntVar(&o.Workers, "workers", 2, "`number` of runs at the same time")
	f.StringVar(&o.flags.cert, "tls-cert", "", "`file` with the certificate and its chain")
	f.StringVar(&o.flags.key, "tls-key", "", "`file` with its key")
	f.StringVar(&o.flags.acme, "acme-domain", "", "get a certificate for this `domain` by ACME, on port 443 of this machine")
	f.StringVar(&o.flags.email, "acme-email", "", "`address` that the certificate authority may write to")
	f.StringVar(&o.OIDC.Issuer, "oidc-issuer", "", "`address` of the OpenID provider")
	f.StringVar(&o.OIDC.ClientID, "oidc-client-id", "", "`name` of this server at the provider")
}

// Run serves until ctx ends. Secrets come from the environment, so that no list of processes shows them.
func Run(ctx context.Context, o Options) error {
	if len(o.Pipelines) == 0 {
		o.Pipelines = []string{"."}
	}
	var err error
	if o.Data == "" {
		if o.Data, err = stateFolder("server"); err != nil {
			return err
		}
	}
	o.Secrets, o.Tokens, o.APIs = byPipeline(webhookSecret), byPipeline(forgeToken), byPipeline(forgeAPI)
	o.OIDC.ClientSecret = os.Getenv(oidcSecret)
	o.Queue = os.Getenv(queueVariable)
	for _, token := range o.Tokens {
		o.Project.Mask.Add(token)
	}
	l, err := o.flags.open(ctx, &o)
	if err != nil {
		return err
	}
	s, err := Open(ctx, o)
	if err != nil {
		return errors.Join(err, l.Close())
	}
	s.listens = l.Addr().String()
	link, err := s.FirstLink()
	if err != nil {
		return errors.Join(err, l.Close(), s.Close())
	}
	o.Note(fmt.Sprintf("troop serves %s at %s; Ctrl-C ends it, and leaves runs to themselves", strings.Join(s.names, ", "), s.base()))
	if link != "" {
		o.Note("nobody owns this server yet: choose the first owner's password at " + link)
	}
	return errors.Join(s.Serve(ctx, l), s.Close())
}

// open opens the listener, with the certificate that the flags name.
func (f serveFlags) open(ctx context.Context, o *Options) (net.Listener, error) {
	var conf *tls.Config
	switch {
	case (f.cert == "") != (f.key == ""):
		return nil, userError("--tls-cert and --tls-key go together")
	case f.cert != "" && f.acme != "":
		return nil, userError("--tls-cert and --acme-domain: choose one")
	case f.cert != "":
		pair, err := tls.LoadX509KeyPair(f.cert, f.key)
		if err != nil {
			return nil, userError("the certificate: %w", err)
		}
		conf = &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12, NextProtos: []string{"http/1.1"}}
	case f.acme != "":
		m := autocert.Manager{
			Prompt: autocert.AcceptTOS, HostPolicy: autocert.HostWhitelist(f.acme), Email: f.email,
			Cache: autocert.DirCache(filepath.Join(o.Data, "certificates")), Client: f.authority,
		}
		conf = m.TLSConfig()
		conf.MinVersion = tls.VersionTLS12
		if o.URL == "" {
			o.URL = "https://" + f.acme
		}
	}
	var c net.ListenConfig
	l, err := c.Listen(ctx, "tcp", f.listen)
	if err != nil {
		return nil, userError("cannot listen on %s: %w; choose another address with --listen", f.listen, err)
	}
	if conf == nil {
		return l, nil
	}
	if o.URL == "" {
		o.URL = "https://" + l.Addr().String()
	}
	return tls.NewListener(l, conf), nil
}

// stateFolder is where the own files of a server or a worker are when nobody says otherwise. systemd names one for a unit.
func stateFolder(name string) (string, error) {
	if dir := os.Getenv("STATE_DIRECTORY"); dir != "" {
		return dir, nil
	}
	if dir := os.Getenv("XDG_STATE_HOME"); dir != "" {
		return filepath.Join(dir, "troop", name), nil
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return "", userError("%w; name a folder with --data", err)
	}
	return filepath.Join(home, ".local", "state", "troop", name), nil
}

// of is the value for a pipeline, or for all.
func of(values map[string]string, pipeline string) string {
	return cmp.Or(values[variable(pipeline)], values[Everywhere])
}

// byPipeline reads an environment variable, of which each pipeline may have its own.
func byPipeline(variableName string) map[string]string {
	values := map[string]string{}
	for _, kv := range os.Environ() {
		name, value, _ := strings.Cut(kv, "=")
		rest, ok := strings.CutPrefix(name, variableName)
		switch {
		case !ok || value == "":
		case rest == "":
			values[Everywhere] = value
		case rest[0] == '_':
			values[variable(rest[1:])] = value
		}
	}
	return values
}

// variable is the name of a pipeline as a part of a variable's name.
func variable(pipeline string) string { return strings.ToUpper(strings.ReplaceAll(pipeline, "-", "_")) }
