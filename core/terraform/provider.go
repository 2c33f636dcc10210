package terraform

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/hashicorp/hcl/v2/hclwrite"
	"github.com/zclconf/go-cty/cty"

	"github.com/seed-b96de936/troop/core"
)

// providerVersion is the version that Terraform sees for every binary of Options.Providers; the digest tells them apart.
const providerVersion = "0.1.0"

// mirror copies the providers into a mirror for Terraform, one folder per digest, and returns the digests by source
// address.
func (w *Workspace) mirror() (map[string]core.Digest, error) {
	digests := map[string]core.Digest{}
	for _, source := range slices.Sorted(maps.Keys(w.Providers)) {
		d, err := w.mirrorOne(source, w.Providers[source])
		if err != nil {
			return nil, fmt.Errorf("provide %s: %w", source, err)
		}
		digests[source] = d
	}
	return digests, nil
}

func (w *Workspace) mirrorOne(source, binary string) (core.Digest, error) {
	from, err := os.Open(binary)
	if err != nil {
		return "", err
	}
	defer func() { _ = from.Close() }()
	digest, err := core.DigestReader(from)
	if err != nil {
		return "", err
	}
	if _, err := os.Stat(w.mirrored(digest, source)); err == nil {
		return digest, nil
	}
	to, err := os.CreateTemp(w.path(), "provider-*")
	if err != nil {
		return "", err
	}
	defer func() {
		_ = to.Close()
		_ = os.Remove(to.Name())
	}()
	if _, err := from.Seek(0, io.SeekStart); err != nil {
		return "", err
	}
	// The digest is that of the copy, which is what gets executed.
	if digest, err = core.DigestReader(io.TeeReader(from, to)); err != nil {
		return "", err
	}
	if err := to.Chmod(0o700); err != nil {
		return "", err
	}
	if err := to.Close(); err != nil {
		return "", err
	}
	target := w.mirrored(digest, source)
	if err := os.MkdirAll(filepath.Dir(target), 0o700); err != nil {
		return "", err
	}
	return digest, os.Rename(to.Name(), target)
}

// mirrored is the path that Terraform expects for a provider in a mirror.
func (w *Workspace) mirrored(d core.Digest, source string) string {
	return filepath.Join(w.mirrorDir(d), filepath.FromSlash(source), providerVersion,
		runtime.GOOS+"_"+runtime.GOARCH, "terraform-provider-"+filepath.Base(source)+"_v"+providerVersion)
}

func (w *Workspace) mirrorDir(d core.Digest) string { return w.path("mirror", d.Hex()[:16]) }

// writeCLIConfig writes the CLI configuration that Terraform reads while it uses our providers, and returns what its init
// depends on. A module without our providers gets the user's set-up as it is: see env.
//
// Ours need a mirror. Where the user says how to install providers, it is one more method there. Where the user says
// nothing, it is the folder that Terraform searches by itself beside the module, since a block provider_installation would
// end all other folders of that kind, such as ~/.terraform.d/plugins.
func (w *Workspace) writeCLIConfig(digests map[string]core.Digest) ([]byte, error) {
	user, err := userCLIConfig()
	if err != nil {
		return nil, fmt.Errorf("read Terraform's CLI configuration: %w", err)
	}
	if len(digests) == 0 {
		return append(user, os.Getenv("TF_PLUGIN_CACHE_DIR")...), errors.Join(os.RemoveAll(w.beside()), writeFile(w.path("cli.tfrc"), nil))
	}
	mirrors := map[string]string{}
	for source, d := range digests {
		mirrors[source] = w.mirrorDir(d)
	}
	config, installs, err := cliConfig(user, mirrors)
	if err != nil {
		return nil, fmt.Errorf("read Terraform's CLI configuration: %w", err)
	}
	if err := os.RemoveAll(w.beside()); err != nil {
		return nil, err
	}
	for source, d := range digests {
		if installs {
			break
		}
		from := w.mirrored(d, source)
		rel, err := filepath.Rel(w.mirrorDir(d), from)
		if err != nil {
			return nil, err
		}
		to := filepath.Join(w.beside(), rel)
		if err := os.MkdirAll(filepath.Dir(to), 0o700); err != nil {
			return nil, err
		}
		if err := os.Link(from, to); err != nil {
			return nil, err
		}
	}
	return config, writeFile(w.path("cli.tfrc"), config)
}

// beside is the folder of providers that Terraform searches by itself.
func (w *Workspace) beside() string { return filepath.Join(w.Dir, "terraform.d", "plugins") }

// userCLIConfig returns the CLI configuration that Terraform would read. The environment may name a missing file.
func userCLIConfig() ([]byte, error) {
	files := []string{userCLIFile()}
	if files[0] == "" {
		home, err := os.UserHomeDir()
		if err != nil {
			return nil, nil //nolint:nilerr // without a home there is no configuration
		}
		more, err := filepath.Glob(filepath.Join(home, ".terraform.d", "*.tfrc"))
		if err != nil {
			return nil, err
		}
		files = append([]string{filepath.Join(home, ".terraformrc")}, more...)
	}
	var all []byte
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		if len(b) > 0 {
			all = append(append(all, b...), '\n')
		}
	}
	return all, nil
}

// userCLIFile is the file that the environment names; empty: none.
func userCLIFile() string {
	return cmp.Or(os.Getenv("TF_CLI_CONFIG_FILE"), os.Getenv("TERRAFORM_CONFIG"))
}

// cliConfig adds a mirror per source address to the block provider_installation of a configuration, if it has one, and
// excludes these sources from all other methods. Our providers are not cached in the user's folder: all their binaries have
// the same version.
func cliConfig(user []byte, mirrors map[string]string) (config []byte, installs bool, err error) {
	user, overrides, err := cutOverrides(user)
	if err != nil {
		return nil, false, err
	}
	file, diags := hclwrite.ParseConfig(user, "CLI configuration", hcl.InitialPos)
	if diags.HasErrors() {
		return nil, false, diags
	}
	body := file.Body()
	body.RemoveAttribute("plugin_cache_dir")
	installation := body.FirstMatchingBlock("provider_installation", nil)
	if installation == nil {
		return file.Bytes(), false, nil
	}
	sources := slices.Sorted(maps.Keys(mirrors))
	for _, method := range installation.Body().Blocks() {
		excluded, err := stringsOf(method.Body().GetAttribute("exclude"))
		if err != nil {
			return nil, false, err
		}
		if excluded = append(excluded, sources...); len(excluded) > 0 {
			method.Body().SetAttributeValue("exclude", listOf(excluded))
		}
	}
	for _, source := range sources {
		block := installation.Body().AppendNewBlock("filesystem_mirror", nil)
		block.Body().SetAttributeValue("path", cty.StringVal(mirrors[source]))
		block.Body().SetAttributeValue("include", listOf([]string{source}))
	}
	methods := installation.Body().BuildTokens(nil)
	installation.Body().Clear()
	for _, text := range overrides { // Terraform wants them first
		installation.Body().AppendUnstructuredTokens(hclwrite.Tokens{{Type: hclsyntax.TokenIdent, Bytes: append([]byte("\n"), text...)}})
	}
	installation.Body().AppendUnstructuredTokens(methods)
	return hclwrite.Format(file.Bytes()), true, nil
}

// cutOverrides takes the blocks dev_overrides out of a configuration. Their syntax is older than that of the library here:
// names in quotes.
func cutOverrides(user []byte) (rest []byte, overrides [][]byte, err error) {
	tokens, diags := hclsyntax.LexConfig(user, "CLI configuration", hcl.InitialPos)
	if diags.HasErrors() {
		return nil, nil, diags
	}
	kept := 0
	for i := 0; i+1 < len(tokens); i++ {
		if string(tokens[i].Bytes) != "dev_overrides" || tokens[i+1].Type != hclsyntax.TokenOBrace {
			continue
		}
		begin, depth := tokens[i].Range.Start.Byte, 0
		for ; i < len(tokens); i++ {
			switch tokens[i].Type {
			case hclsyntax.TokenOBrace:
				depth++
			case hclsyntax.TokenCBrace:
				depth--
			}
			if tokens[i].Type == hclsyntax.TokenCBrace && depth == 0 {
				break
			}
		}
		if i == len(tokens) {
			return nil, nil, errors.New("dev_overrides has no end")
		}
		end := tokens[i].Range.End.Byte
		rest = append(rest, user[kept:begin]...)
		overrides = append(overrides, slices.Clone(user[begin:end]))
		kept = end
	}
	return append(rest, user[kept:]...), overrides, nil
}

func listOf(values []string) cty.Value {
	list := make([]cty.Value, len(values))
	for i, v := range values {
		list[i] = cty.StringVal(v)
	}
	return cty.ListVal(list)
}

// stringsOf evaluates an attribute that is a list of literal strings; nil if missing.
func stringsOf(attribute *hclwrite.Attribute) ([]string, error) {
	if attribute == nil {
		return nil, nil
	}
	expr, diags := hclsyntax.ParseExpression(attribute.Expr().BuildTokens(nil).Bytes(), "", hcl.InitialPos)
	if diags.HasErrors() {
		return nil, diags
	}
	value, diags := expr.Value(nil)
	if diags.HasErrors() {
		return nil, diags
	}
	if !value.CanIterateElements() {
		return nil, errors.New("exclude is not a list")
	}
	var values []string
	for _, v := range value.AsValueSlice() {
		if v.Type() != cty.String {
			return nil, errors.New("exclude is not a list of strings")
		}
		values = append(values, v.AsString())
	}
	return values, nil
}

// unlock removes only our providers from the dependency lock file. Their version never changes, so a rebuilt binary
// would fail the old one's checksum.
func unlock(lock []byte, sources []string) ([]byte, error) {
	file, diags := hclwrite.ParseConfig(lock, lockFile, hcl.InitialPos)
	if diags.HasErrors() {
		return nil, diags
	}
	for _, block := range file.Body().Blocks() {
		if block.Type() == "provider" && slices.Equal(block.Labels()[:1], block.Labels()) && slices.Contains(sources, block.Labels()[0]) {
			file.Body().RemoveBlock(block)
		}
	}
	return file.Bytes(), nil
}
