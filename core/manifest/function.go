package manifest

import (
	"crypto/md5"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io/fs"
	"maps"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/bmatcuk/doublestar/v4"
	"github.com/hashicorp/hcl/v2/ext/tryfunc"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/function"
	"github.com/zclconf/go-cty/cty/function/stdlib"
)

// pure are the functions that depend on their arguments only. Their names and meanings are Terraform's.
var pure = map[string]function.Function{
	"abs": stdlib.AbsoluteFunc, "ceil": stdlib.CeilFunc, "floor": stdlib.FloorFunc, "log": stdlib.LogFunc,
	"max": stdlib.MaxFunc, "min": stdlib.MinFunc, "parseint": stdlib.ParseIntFunc, "pow": stdlib.PowFunc,
	"signum": stdlib.SignumFunc,

	"chomp": stdlib.ChompFunc, "format": stdlib.FormatFunc, "formatlist": stdlib.FormatListFunc,
	"indent": stdlib.IndentFunc, "join": stdlib.JoinFunc, "lower": stdlib.LowerFunc, "regex": stdlib.RegexFunc,
	"regexall": stdlib.RegexAllFunc, "replace": replaceFunc, "split": stdlib.SplitFunc, "strrev": stdlib.ReverseFunc,
	"substr": stdlib.SubstrFunc, "title": stdlib.TitleFunc, "trim": stdlib.TrimFunc, "trimprefix": stdlib.TrimPrefixFunc,
	"trimspace": stdlib.TrimSpaceFunc, "trimsuffix": stdlib.TrimSuffixFunc, "upper": stdlib.UpperFunc,
	"startswith":  stringTest(strings.HasPrefix),
	"endswith":    stringTest(strings.HasSuffix),
	"strcontains": stringTest(strings.Contains),

	"chunklist": stdlib.ChunklistFunc, "coalesce": stdlib.CoalesceFunc, "coalescelist": stdlib.CoalesceListFunc,
	"compact": stdlib.CompactFunc, "concat": stdlib.ConcatFunc, "contains": stdlib.ContainsFunc,
	"distinct": stdlib.DistinctFunc, "element": stdlib.ElementFunc, "flatten": stdlib.FlattenFunc,
	"index": stdlib.IndexFunc, "keys": stdlib.KeysFunc, "length": lengthFunc, "lookup": lookupFunc,
	"merge": stdlib.MergeFunc, "one": oneFunc, "range": stdlib.RangeFunc, "reverse": stdlib.ReverseListFunc,
	"setintersection": stdlib.SetIntersectionFunc, "setproduct": stdlib.SetProductFunc,
	"setsubtract": stdlib.SetSubtractFunc, "setunion": stdlib.SetUnionFunc, "slice": stdlib.SliceFunc,
	"sort": stdlib.SortFunc, "values": stdlib.ValuesFunc, "zipmap": stdlib.ZipmapFunc,
	"alltrue": fold(cty.Bool, cty.True, cty.Value.And), "anytrue": fold(cty.Bool, cty.False, cty.Value.Or),
	"sum": fold(cty.Number, cty.Zero, cty.Value.Add),

	"csvdecode": stdlib.CSVDecodeFunc, "jsondecode": stdlib.JSONDecodeFunc, "jsonencode": stdlib.JSONEncodeFunc,
	"base64encode": stringFunc("text", func(s string) (string, error) { return base64.StdEncoding.EncodeToString([]byte(s)), nil }),
	"base64decode": stringFunc("text", decodeBase64),
	"urlencode":    stringFunc("text", func(s string) (string, error) { return url.QueryEscape(s), nil }),
	"md5":          stringFunc("text", func(s string) (string, error) { d := md5.Sum([]byte(s)); return hex.EncodeToString(d[:]), nil }),
	"sha1":         stringFunc("text", func(s string) (string, error) { d := sha1.Sum([]byte(s)); return hex.EncodeToString(d[:]), nil }),
	"sha256":       stringFunc("text", func(s string) (string, error) { d := sha256.Sum256([]byte(s)); return hex.EncodeToString(d[:]), nil }),
	"sha512":       stringFunc("text", func(s string) (string, error) { d := sha512.Sum512([]byte(s)); return hex.EncodeToString(d[:]), nil }),

	"formatdate": stdlib.FormatDateFunc, "timeadd": stdlib.TimeAddFunc,
	"basename": stringFunc("text", func(s string) (string, error) { return filepath.Base(s), nil }),
	"dirname":  stringFunc("text", func(s string) (string, error) { return filepath.Dir(s), nil }),

	"tobool": stdlib.MakeToFunc(cty.Bool), "tolist": stdlib.MakeToFunc(cty.List(cty.DynamicPseudoType)),
	"tomap": stdlib.MakeToFunc(cty.Map(cty.DynamicPseudoType)), "tonumber": stdlib.MakeToFunc(cty.Number),
	"toset": stdlib.MakeToFunc(cty.Set(cty.DynamicPseudoType)), "tostring": stdlib.MakeToFunc(cty.String),
	"try": tryfunc.TryFunc, "can": tryfunc.CanFunc,
	"sensitive": markFunc(func(v cty.Value) cty.Value { return v.Mark(sensitive) }),
}

// functions are all that a manifest may call. Relative paths start at dir. With lenient, an environment variable that
// is not set is unknown.
func functions(dir string, env func(string) (string, bool, error), lenient bool) map[string]function.Function {
	all := maps.Clone(pure)
	files := newCheckout(dir)
	all["file"] = stringFunc("path", files.text)
	all["fileexists"] = function.New(&function.Spec{
		Params: []function.Parameter{{Name: "path", Type: cty.String}},
		Type:   function.StaticReturnType(cty.Bool),
		Impl: func(args []cty.Value, _ cty.Type) (cty.Value, error) {
			exists, err := files.exists(args[0].AsString())
			if err != nil {
				return cty.UnknownVal(cty.Bool), function.NewArgError(0, err)
			}
			return cty.BoolVal(exists), nil
		},
	})
	all["glob"] = globFunc(dir)
	all["filehash"] = fileHashFunc
	all["tcp"] = stringFunc("port", func(port string) (string, error) { return "tcp://127.0.0.1:" + port, nil })
	all["env"] = envFunc(env, lenient)
	return all
}

// globFunc lists the files below dir that match a pattern, sorted, with slashes.
func globFunc(dir string) function.Function {
	return function.New(&function.Spec{
		Params: []function.Parameter{{Name: "pattern", Type: cty.String}},
		Type:   function.StaticReturnType(cty.List(cty.String)),
		Impl: func(args []cty.Value, typ cty.Type) (cty.Value, error) {
			pattern := args[0].AsString()
			if !doublestar.ValidatePattern(pattern) {
				return cty.UnknownVal(typ), function.NewArgErrorf(0, "%q is not a pattern", pattern)
			}
			if filepath.IsAbs(pattern) || strings.Contains("/"+pattern+"/", "/../") {
				return cty.UnknownVal(typ), function.NewArgErrorf(0, "a pattern stays below the manifest's folder")
			}
			if strings.Count(pattern, "**") > maxStars {
				return cty.UnknownVal(typ), function.NewArgErrorf(0, "a pattern has %d times ** at most", maxStars)
			}
			tree := &limitedFS{FS: os.DirFS(dir), left: maxLooks}
			found, err := doublestar.Glob(tree, strings.TrimPrefix(pattern, "./"), doublestar.WithFilesOnly(), doublestar.WithNoFollow())
			if tree.left <= 0 {
				return cty.UnknownVal(typ), function.NewArgErrorf(0, "%q looks at more than %d files; name the folders that matter", pattern, maxLooks)
			}
			if err != nil {
				return cty.UnknownVal(typ), function.NewArgErrorf(0, "%v", err)
			}
			if len(found) == 0 {
				return cty.ListValEmpty(cty.String), nil
			}
			slices.Sort(found)
			values := make([]cty.Value, len(found))
			for i, f := range found {
				values[i] = cty.StringVal(f)
			}
			return cty.ListVal(values), nil
		},
	})
}

// maxStars is how many ** a pattern may have. Each one more is a walk through the tree for each folder of the walk
// before.
const maxStars = 2

// maxLooks is how many files a pattern may look at, again and again where it has several **: larger than the trees of
// most projects with all that they depend on.
const maxLooks = 500_000

// limitedFS ends a walk that takes too long: it looks empty then.
type limitedFS struct {
	fs.FS
	left int
}

func (l *limitedFS) ReadDir(name string) ([]fs.DirEntry, error) {
	if l.left <= 0 {
		return nil, fs.ErrNotExist
	}
	list, err := fs.ReadDir(l.FS, name)
	l.left -= len(list) + 1
	return list, err
}

func (l *limitedFS) Stat(name string) (fs.FileInfo, error) {
	l.left--
	if l.left <= 0 {
		return nil, fs.ErrNotExist
	}
	return fs.Stat(l.FS, name)
}

// envFunc is env.NAME for a computed name, with an optional value for when it is not set.
func envFunc(env func(string) (string, bool, error), lenient bool) function.Function {
	return function.New(&function.Spec{
		Params:   []function.Parameter{{Name: "name", Type: cty.String}},
		VarParam: &function.Parameter{Name: "default", Type: cty.String},
		Type:     function.StaticReturnType(cty.String),
		Impl: func(args []cty.Value, _ cty.Type) (cty.Value, error) {
			name := args[0].AsString()
			value, ok, err := env(name)
			if err != nil {
				return cty.UnknownVal(cty.String), function.NewArgError(0, err)
			}
			if ok {
				return cty.StringVal(value).Mark(sensitive), nil
			}
			if len(args) > 1 {
				return args[1], nil
			}
			if lenient {
				return cty.UnknownVal(cty.String).Mark(sensitive), nil
			}
			return cty.UnknownVal(cty.String), function.NewArgErrorf(0, "the environment variable %s is not set; export it, or give a default: env(%q, \"…\")", name, name)
		},
	})
}

func stringFunc(param string, f func(string) (string, error)) function.Function {
	return function.New(&function.Spec{
		Params: []function.Parameter{{Name: param, Type: cty.String}},
		Type:   function.StaticReturnType(cty.String),
		Impl: func(args []cty.Value, _ cty.Type) (cty.Value, error) {
			out, err := f(args[0].AsString())
			if err != nil {
				return cty.UnknownVal(cty.String), function.NewArgError(0, err)
			}
			return cty.StringVal(out), nil
		},
	})
}

func stringTest(f func(text, part string) bool) function.Function {
	return function.New(&function.Spec{
		Params: []function.Parameter{{Name: "text", Type: cty.String}, {Name: "part", Type: cty.String}},
		Type:   function.StaticReturnType(cty.Bool),
		Impl: func(args []cty.Value, _ cty.Type) (cty.Value, error) {
			return cty.BoolVal(f(args[0].AsString(), args[1].AsString())), nil
		},
	})
}

func fold(typ cty.Type, start cty.Value, f func(a, b cty.Value) cty.Value) function.Function {
	return function.New(&function.Spec{
		Params: []function.Parameter{{Name: "list", Type: cty.List(typ)}},
		Type:   function.StaticReturnType(typ),
		Impl: func(args []cty.Value, _ cty.Type) (cty.Value, error) {
			out := start
			for i, v := range args[0].AsValueSlice() {
				if v.IsNull() {
					return cty.UnknownVal(typ), function.NewArgErrorf(0, "item %d is null", i)
				}
				out = f(out, v)
			}
			return out, nil
		},
	})
}

func markFunc(f func(cty.Value) cty.Value) function.Function {
	return function.New(&function.Spec{
		Params: []function.Parameter{{
			Name: "value", Type: cty.DynamicPseudoType, AllowMarked: true, AllowNull: true, AllowUnknown: true, AllowDynamicType: true,
		}},
		Type: func(args []cty.Value) (cty.Type, error) { return args[0].Type(), nil },
		Impl: func(args []cty.Value, _ cty.Type) (cty.Value, error) { return f(args[0]), nil },
	})
}

func decodeBase64(s string) (string, error) {
	out, err := base64.StdEncoding.DecodeString(s)
	if err != nil {
		return "", fmt.Errorf("not base64")
	}
	if !utf8.Valid(out) {
		return "", fmt.Errorf("the decoded bytes are not UTF-8 text")
	}
	return string(out), nil
}

// replaceFunc takes /…/ as a regular expression, as Terraform's does.
var replaceFunc = function.New(&function.Spec{
	Params: []function.Parameter{
		{Name: "text", Type: cty.String}, {Name: "part", Type: cty.String}, {Name: "replacement", Type: cty.String},
	},
	Type: function.StaticReturnType(cty.String),
	Impl: func(args []cty.Value, _ cty.Type) (cty.Value, error) {
		part := args[1].AsString()
		if len(part) > 1 && strings.HasPrefix(part, "/") && strings.HasSuffix(part, "/") {
			return stdlib.RegexReplace(args[0], cty.StringVal(part[1:len(part)-1]), args[2])
		}
		return stdlib.Replace(args[0], args[1], args[2])
	},
})

// lengthFunc counts the characters of a string, too.
var lengthFunc = function.New(&function.Spec{
	Params: []function.Parameter{{Name: "value", Type: cty.DynamicPseudoType, AllowDynamicType: true, AllowUnknown: true}},
	Type:   function.StaticReturnType(cty.Number),
	Impl: func(args []cty.Value, _ cty.Type) (cty.Value, error) {
		v := args[0]
		switch t := v.Type(); {
		case t == cty.DynamicPseudoType || !v.IsKnown():
			return cty.UnknownVal(cty.Number), nil
		case t == cty.String:
			return stdlib.Strlen(v)
		case t.IsCollectionType() || t.IsTupleType():
			return v.Length(), nil
		case t.IsObjectType():
			return cty.NumberIntVal(int64(len(t.AttributeTypes()))), nil
		}
		return cty.UnknownVal(cty.Number), function.NewArgErrorf(0, "it has no length")
	},
})

// lookupFunc takes two or three arguments, as Terraform's does.
var lookupFunc = function.New(&function.Spec{
	Params:   []function.Parameter{{Name: "map", Type: cty.DynamicPseudoType}, {Name: "key", Type: cty.String}},
	VarParam: &function.Parameter{Name: "default", Type: cty.DynamicPseudoType, AllowNull: true},
	Type:     function.StaticReturnType(cty.DynamicPseudoType),
	Impl: func(args []cty.Value, _ cty.Type) (cty.Value, error) {
		if t := args[0].Type(); !t.IsObjectType() && !t.IsMapType() {
			return cty.DynamicVal, function.NewArgErrorf(0, "want a map")
		}
		key := args[1].AsString()
		if v, ok := args[0].AsValueMap()[key]; ok {
			return v, nil
		}
		if len(args) > 2 {
			return args[2], nil
		}
		return cty.DynamicVal, function.NewArgErrorf(1, "the map has no %q, and no default is given", key)
	},
})

// oneFunc returns a list's only item, or null when it is empty.
var oneFunc = function.New(&function.Spec{
	Params: []function.Parameter{{Name: "list", Type: cty.DynamicPseudoType}},
	Type:   function.StaticReturnType(cty.DynamicPseudoType),
	Impl: func(args []cty.Value, _ cty.Type) (cty.Value, error) {
		t := args[0].Type()
		if !t.IsListType() && !t.IsSetType() && !t.IsTupleType() {
			return cty.DynamicVal, function.NewArgErrorf(0, "want a list")
		}
		items := args[0].AsValueSlice()
		switch len(items) {
		case 0:
			return cty.NullVal(cty.DynamicPseudoType), nil
		case 1:
			return items[0], nil
		}
		return cty.DynamicVal, function.NewArgErrorf(0, "want one item at most, got %d", len(items))
	},
})
