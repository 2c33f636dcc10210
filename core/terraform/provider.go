package terraform

import (
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

// writeCLIConfig writes a CLI configuration that installs our providers only from the mirrors. The user's configuration
// still holds for all others.
func (w *Workspace) writeCLIConfig(digests map[string]core.Digest) ([]byte, error) {
	user, err := userCLIConfig()
	if err != nil {
		return nil, fmt.Errorf("read Terraform's CLI configuration: %w", err)
	}
	mirrors := map[string]string{}
	for source, d := range digests {
		mirrors[source] = w.mirrorDir(d)
	}
	config, err := cliConfig(user, mirrors)
	if err != nil { // perhaps an older syntax that only Terraform reads
		w.Log(fmt.Sprintf("ignoring Terraform's CLI configuration: %v", err))
		if config, err = cliConfig(nil, mirrors); err != nil {
			return nil, err
		}
	}
	return config, writeFile(w.path("cli.tfrc"), config)
}

// userCLIConfig returns the CLI configuration that Terraform would read. The environment may name a missing file.
func userCLIConfig() ([]byte, error) {
	file := os.Getenv("TF_CLI_CONFIG_FILE")
	if file == "" {
		home, err := os.UserHomeDir()
		if err != nil {
			return nil, nil //nolint:nilerr // without a home there is no configuration
		}
		file = filepath.Join(home, ".terraformrc")
	}
	b, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return b, err
}

// cliConfig adds a mirror per source address to a configuration and excludes these sources from all other installation
// methods.
func cliConfig(user []byte, mirrors map[string]string) ([]byte, error) {
	file, diags := hclwrite.ParseConfig(user, "CLI configuration", hcl.InitialPos)
	if diags.HasErrors() {
		return nil, diags
	}
	body := file.Body()
	sources := slices.Sorted(maps.Keys(mirrors))
	installation := body.FirstMatchingBlock("provider_installation", nil)
	if installation == nil {
		installation = body.AppendNewBlock("provider_installation", nil)
		installation.Body().AppendNewBlock("direct", nil)
	}
	for _, method := range installation.Body().Blocks() {
		excluded, err := stringsOf(method.Body().GetAttribute("exclude"))
		if err != nil {
			return nil, err
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
	return file.Bytes(), nil
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
