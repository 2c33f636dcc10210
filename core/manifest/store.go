package manifest

import (
	"os"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2/hclsyntax"

	"github.com/seed-b96de936/troop/core"
)

// stores are the types of shared stores.
var stores = []string{"s3"}

func (l *loader) readStore(blocks []*hclsyntax.Block) {
	l.onlyOne(blocks, "store")
	if len(blocks) == 0 || !l.labels(blocks[0], "TYPE") {
		return
	}
	b := blocks[0]
	c := &core.StoreConfig{Type: b.Labels[0], Prefix: l.pipeline.Name, Range: rangeOf(b.DefRange())}
	l.pipeline.Store = c
	if !slices.Contains(stores, c.Type) {
		l.errorf(b.LabelRanges[0], "Unknown type of store", "There is no store %q; there is %s.%s Without a store block, runs are kept beside the manifest.",
			shorten(c.Type), allOf(stores), didYouMean(c.Type, stores))
		return
	}
	l.content(b.Body, &storeGrammar)
	for name, to := range map[string]*string{"bucket": &c.Bucket, "prefix": &c.Prefix, "region": &c.Region, "endpoint": &c.Endpoint, "profile": &c.Profile, "redis": &c.Redis} {
		if a := b.Body.Attributes[name]; a != nil {
			*to, _ = l.str(a, site{})
		}
	}
	if a := b.Body.Attributes["path_style"]; a != nil {
		c.PathStyle, _ = l.boolean(a, site{})
	}
	if a := b.Body.Attributes["bucket"]; a == nil {
		l.missing(b, "bucket", `bucket = "our-troop"`)
	} else if c.Bucket == "" || strings.ContainsAny(c.Bucket, "/ ") {
		l.errorf(a.Expr.Range(), "Invalid bucket", "%q is not the name of a bucket. Folders in it belong in prefix.", shorten(c.Bucket))
		c.Bucket = ""
	}
	if a := b.Body.Attributes["endpoint"]; a != nil && !strings.HasPrefix(c.Endpoint, "https://") && !strings.HasPrefix(c.Endpoint, "http://") {
		l.errorf(a.Expr.Range(), "Invalid endpoint", "%q does not begin with https:// or http://.", shorten(c.Endpoint))
		c.Bucket = ""
	}
	if a := b.Body.Attributes["redis"]; a != nil && c.Redis != "" && !strings.HasPrefix(c.Redis, "redis://") && !strings.HasPrefix(c.Redis, "rediss://") {
		l.errorf(a.Expr.Range(), "Invalid URL of Redis", "It does not begin with redis://, or rediss:// for TLS. Write: redis = env.TROOP_REDIS_URL, and there redis://USER:PASSWORD@HOST:6379.")
	}
}

func (l *loader) readTeam(blocks []*hclsyntax.Block) {
	l.onlyOne(blocks, "team")
	if len(blocks) == 0 {
		return
	}
	l.labels(blocks[0])
	seen := map[string]bool{}
	for _, b := range l.content(blocks[0].Body, &teamGrammar) {
		if !l.labels(b, "NAME") {
			continue
		}
		name := b.Labels[0]
		if seen[name] {
			l.errorf(b.LabelRanges[0], "Duplicate member", "The team has two members %q. Give one of them both keys.", shorten(name))
		}
		seen[name] = true
		l.content(b.Body, &memberGrammar)
		m := core.Member{Name: name, Range: rangeOf(b.DefRange())}
		if a := b.Body.Attributes["keys"]; a == nil {
			l.missing(b, "keys", `keys = ["ssh-ed25519 …"]`)
		} else if m.Keys, _ = l.strs(a, site{}); len(m.Keys) == 0 {
			l.errorf(a.Expr.Range(), "Member without a key", "Without a key %s opens nothing. Write the public one: keys = [\"ssh-ed25519 …\"].", shorten(name))
		}
		l.pipeline.Team = append(l.pipeline.Team, m)
	}
	if a := blocks[0].Body.Attributes["keys_from"]; a != nil {
		l.readKeys(a)
	}
	if len(l.pipeline.Team) == 0 {
		l.errorf(blocks[0].DefRange(), "Empty team", "Nobody could open what is private. Write who may: member \"NAME\" { keys = [\"ssh-ed25519 …\"] }.")
	}
}

// readKeys takes members from a file with a line per key. Lines without a name belong to a member called after the file.
func (l *loader) readKeys(a *hclsyntax.Attribute) {
	path, ok := l.str(a, site{})
	if !ok {
		return
	}
	text, err := os.ReadFile(l.resolve(path))
	if err != nil {
		l.errorf(a.Expr.Range(), "File of keys not found", "There is no file %s. The path starts at the manifest's folder.", display(l.resolve(path)))
		return
	}
	for line := range strings.Lines(string(text)) {
		fields := strings.Fields(line)
		if len(fields) == 0 || strings.HasPrefix(fields[0], "#") {
			continue
		}
		key, name := fields[0], fields[1:]
		if !strings.HasPrefix(key, "age1") && len(fields) > 1 {
			key, name = fields[0]+" "+fields[1], fields[2:]
		}
		member := path
		if len(name) > 0 {
			member = strings.Join(name, " ")
		}
		if i := slices.IndexFunc(l.pipeline.Team, func(m core.Member) bool { return m.Name == member }); i >= 0 {
			l.pipeline.Team[i].Keys = append(l.pipeline.Team[i].Keys, key)
			continue
		}
		l.pipeline.Team = append(l.pipeline.Team, core.Member{Name: member, Keys: []string{key}, Range: rangeOf(a.Expr.Range())})
	}
}
