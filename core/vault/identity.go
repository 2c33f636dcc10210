package vault

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"filippo.io/age"
	"filippo.io/age/agessh"
	"golang.org/x/crypto/ssh"

	"github.com/seed-b96de936/troop/core"
)

// Variable names the environment variable with a member's identity: an age identity, an SSH private key, or the path of a
// file with one.
const Variable = "TROOP_IDENTITY"

// Identities are the private keys of this process's user. They are read when a vault is first opened.
type Identities struct {
	Env        func(string) string               // looks up an environment variable
	Home       string                            // with the folder .ssh
	Passphrase func(file string) ([]byte, error) // asks for that of a key; nil: nobody can be asked

	read   bool
	ids    []age.Identity
	names  []string // what was read
	locked []string // keys with a passphrase that nobody was asked for
	public string   // the first public key
	files  []sshKey
	err    error
}

// sshKey is a file with an SSH private key.
type sshKey struct{ file, public string }

// IdentityError says that an identity cannot be used.
type IdentityError struct {
	what   string
	err    error
	remedy string
}

func (e *IdentityError) Error() string { return e.what + ": " + e.err.Error() + e.remedy }
func (e *IdentityError) Unwrap() error { return e.err }

// Unusable returns the part of an error that a person has to mend before a vault can be opened; nil: there is none.
func Unusable(err error) error {
	if e, ok := errors.AsType[*StrangerError](err); ok {
		return e
	}
	if e, ok := errors.AsType[*NewerError](err); ok {
		return e
	}
	if e, ok := errors.AsType[*IdentityError](err); ok {
		return e
	}
	return nil
}

// all reads the identities once.
func (x *Identities) all() ([]age.Identity, error) {
	if x.read {
		return x.ids, x.err
	}
	x.read = true
	if text := x.Env(Variable); text != "" {
		name := Variable
		if !strings.Contains(text, "\n") && !strings.HasPrefix(strings.TrimSpace(text), "AGE-") {
			b, err := os.ReadFile(text)
			if err != nil {
				x.err = &IdentityError{Variable + " is neither an age identity, nor an SSH private key, nor a file that can be read", plainPath(err), ""}
				return nil, x.err
			}
			text, name = string(b), text
		}
		x.err = x.add(name, []byte(text))
		if x.err != nil {
			x.err = &IdentityError{Variable + " holds no identity", x.err, "; want AGE-SECRET-KEY-1… or an SSH private key"}
		}
		return x.ids, x.err
	}
	for _, name := range []string{"id_ed25519", "id_rsa"} {
		file := filepath.Join(x.Home, ".ssh", name)
		b, err := os.ReadFile(file)
		if err != nil {
			continue
		}
		if err := x.add(file, b); err != nil {
			x.err = fmt.Errorf("read %s: %w", file, err)
			return nil, x.err
		}
	}
	return x.ids, nil
}

// plainPath leaves out what was tried to be opened: it may be an identity with a slip of the pen.
func plainPath(err error) error {
	if bad := (*os.PathError)(nil); errors.As(err, &bad) {
		return bad.Err
	}
	return err
}

func (x *Identities) add(name string, text []byte) error {
	if strings.Contains(string(text), "AGE-SECRET-KEY-") || strings.Contains(string(text), "AGE-PLUGIN-") {
		ids, err := age.ParseIdentities(strings.NewReader(string(text)))
		if err != nil {
			return errors.New("the age identity cannot be read") // the error may quote it
		}
		x.ids, x.names = append(x.ids, ids...), append(x.names, name)
		if id, ok := ids[0].(*age.X25519Identity); ok && x.public == "" {
			x.public = id.Recipient().String()
		}
		return nil
	}
	id, err := agessh.ParseIdentity(text)
	if missing := (*ssh.PassphraseMissingError)(nil); errors.As(err, &missing) {
		return x.addLocked(name, text, missing.PublicKey)
	}
	if err != nil {
		return err
	}
	x.ids, x.names = append(x.ids, id), append(x.names, name)
	x.addSSH(name, publicOf(text))
	return nil
}

// addSSH notes the public half of an SSH key.
func (x *Identities) addSSH(name, public string) {
	if x.public == "" {
		x.public = public
	}
	if name != Variable {
		x.files = append(x.files, sshKey{name, public})
	}
}

// KeyFiles returns the files with SSH keys of this user with which a member of the team logs in to hosts.
func (x *Identities) KeyFiles(team []core.Member) []string {
	_, _ = x.all() // a vault that is opened with them tells what is wrong
	var files []string
	for _, k := range x.files {
		if Holds(team, k.public) {
			files = append(files, k.file)
		}
	}
	return files
}

// Authorized returns the SSH keys of a team as lines of authorized_keys, each with the name of its member.
func Authorized(team []core.Member) []string {
	lines := []string{}
	for _, m := range team {
		for _, k := range m.Keys {
			if key := keyOnly(k); strings.HasPrefix(key, "ssh-") {
				lines = append(lines, key+" "+strings.Join(strings.Fields(m.Name), "-"))
			}
		}
	}
	return lines
}

// addLocked adds a key with a passphrase. Only the key itself opens a vault: an agent signs, and cannot decrypt.
func (x *Identities) addLocked(name string, text []byte, public ssh.PublicKey) error {
	if public != nil {
		x.addSSH(name, strings.TrimSpace(string(ssh.MarshalAuthorizedKey(public))))
	}
	if x.Passphrase == nil || public == nil {
		x.locked = append(x.locked, name)
		return nil
	}
	id, err := agessh.NewEncryptedSSHIdentity(public, text, func() ([]byte, error) { return x.Passphrase(name) })
	if err != nil {
		return err
	}
	x.ids, x.names = append(x.ids, id), append(x.names, name)
	return nil
}

func publicOf(private []byte) string {
	key, err := ssh.ParsePrivateKey(private)
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(ssh.MarshalAuthorizedKey(key.PublicKey())))
}

func (x *Identities) own() string { return x.public }

// tried says what was tried to open a vault.
func (x *Identities) tried() string {
	switch {
	case len(x.names) > 0 && len(x.locked) == 0:
		return "neither " + strings.Join(x.names, " nor ")
	case len(x.locked) > 0:
		return strings.Join(x.locked, " and ") + " has a passphrase that nobody can be asked for here, an SSH agent cannot decrypt, and nothing else"
	}
	agent := ""
	if x.Env("SSH_AUTH_SOCK") != "" {
		agent = "; an SSH agent signs, and cannot decrypt"
	}
	return "there is no identity (set " + Variable + ", or have ~/.ssh/id_ed25519" + agent + "), so that nothing"
}

// recipients are the keys of a team.
func recipients(team []core.Member) ([]age.Recipient, error) {
	var all []age.Recipient
	for _, m := range team {
		for _, k := range m.Keys {
			r, err := ParseKey(k)
			if err != nil {
				return nil, fmt.Errorf("key of member %s: %w", m.Name, err)
			}
			all = append(all, r)
		}
	}
	if len(all) == 0 {
		return nil, errors.New("the team has no member: nobody could open what is private")
	}
	return all, nil
}

// keyOnly is a key without its comment.
func keyOnly(key string) string {
	fields := strings.Fields(key)
	return strings.Join(fields[:min(2, len(fields))], " ")
}

// ParseKey reads the public key of a member.
func ParseKey(key string) (age.Recipient, error) {
	key = strings.TrimSpace(key)
	if strings.HasPrefix(key, "age1") {
		rs, err := age.ParseRecipients(strings.NewReader(key))
		if err != nil {
			return nil, errors.New("is no age recipient; age-keygen -y prints one")
		}
		return rs[0], nil
	}
	if strings.Contains(key, "PRIVATE KEY") || strings.HasPrefix(key, "AGE-") {
		return nil, errors.New("is a private key; write the public one, and make a new pair: this one is known now")
	}
	r, err := agessh.ParseRecipient(key)
	if err != nil {
		return nil, errors.New("is neither an SSH key of the types ssh-ed25519 and ssh-rsa, nor an age recipient (age1…)")
	}
	return r, nil
}

// NewIdentity makes an age identity, such as for a CI system, and its recipient.
func NewIdentity() (identity, recipient string, err error) {
	id, err := age.GenerateX25519Identity()
	if err != nil {
		return "", "", err
	}
	return id.String(), id.Recipient().String(), nil
}

// ThisUser returns the identities of the user of this process. ask asks for the passphrase of a key; nil: nobody can be
// asked.
func ThisUser(ask func(question string) ([]byte, error)) *Identities {
	home, _ := os.UserHomeDir() // without one there is no .ssh
	x := &Identities{Env: os.Getenv, Home: home}
	if ask != nil {
		x.Passphrase = func(file string) ([]byte, error) { return ask("Passphrase of " + file + ":") }
	}
	return x
}
