package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// lockEntry is what a package-lock.json has of one package.
type lockEntry struct {
	Name    string // when it is not that of the folder
	Version string
	License any
	Dev     bool
	Link    bool // to another entry
}

// npmPackages reads a lock file. What it does not say of a licence, the installed package does.
func npmPackages(ctx context.Context, workspace, file string, dev bool) ([]dependency, error) {
	text, err := os.ReadFile(filepath.Join(workspace, file))
	if err != nil {
		return nil, fmt.Errorf("read lock file: %w", err)
	}
	var list []dependency
	err = eachPackage(text, func(folder string, line int, e lockEntry) {
		i := strings.LastIndex(folder, "node_modules/")
		if i < 0 || e.Link || e.Dev && !dev {
			return // of the project itself, or not asked for
		}
		d := dependency{name: folder[i+len("node_modules/"):], version: e.Version, file: file, line: line, licence: expression(e.License)}
		if e.Name != "" {
			d.name = e.Name
		}
		if d.licence == "" {
			d.licence, d.unknown = installedLicence(ctx, filepath.Join(workspace, filepath.Dir(file), folder))
		}
		list = append(list, d)
	})
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", file, err)
	}
	return list, nil
}

// eachPackage calls each for the entries of "packages", with the lines of their keys.
func eachPackage(text []byte, each func(folder string, line int, e lockEntry)) error {
	d := json.NewDecoder(bytes.NewReader(text))
	found := false
	err := eachKey(d, func(key string) error {
		if key != "packages" {
			return d.Decode(new(json.RawMessage))
		}
		found = true
		line, counted := 1, 0
		return eachKey(d, func(folder string) error {
			line += bytes.Count(text[counted:d.InputOffset()], []byte("\n"))
			counted = int(d.InputOffset())
			var e lockEntry
			if err := d.Decode(&e); err != nil {
				return err
			}
			each(folder, line, e)
			return nil
		})
	})
	switch {
	case err != nil:
		return fmt.Errorf("line %d: %w", 1+bytes.Count(text[:d.InputOffset()], []byte("\n")), err)
	case !found:
		return errors.New(`it has no "packages": npm 7 or newer writes them, with npm install --package-lock-only`)
	}
	return nil
}

// eachKey reads an object. The function has to read the value of its key.
func eachKey(d *json.Decoder, value func(key string) error) error {
	t, err := d.Token()
	if err != nil {
		return err
	}
	if t != json.Delim('{') {
		return fmt.Errorf("want an object, got %v", t)
	}
	for d.More() {
		key, err := d.Token()
		if err != nil {
			return err
		}
		if err := value(fmt.Sprint(key)); err != nil {
			return err
		}
	}
	_, err = d.Token()
	return err
}

// installedLicence is what a package in node_modules says in its package.json, or else in its licence file.
func installedLicence(ctx context.Context, dir string) (licence, unknown string) {
	text, err := os.ReadFile(filepath.Join(dir, "package.json"))
	if err != nil {
		return "", "no licence in the lock file, and not installed: run npm ci before this stage"
	}
	var p struct{ License, Licenses any }
	if err := json.Unmarshal(text, &p); err != nil {
		return "", "its package.json cannot be read: " + err.Error()
	}
	licence = cmp.Or(expression(p.License), expression(p.Licenses))
	if licence == "" || strings.HasPrefix(licence, "SEE LICEN") {
		return licenceOf(ctx, dir)
	}
	return licence, ""
}

// expression is a licence as package.json has it: an expression, in old ones an object, or a list to choose from.
func expression(said any) string {
	switch said := said.(type) {
	case string:
		return said
	case map[string]any:
		return expression(said["type"])
	case []any:
		var list []string
		for _, one := range said {
			list = append(list, expression(one))
		}
		return strings.Join(list, " OR ")
	}
	return ""
}
