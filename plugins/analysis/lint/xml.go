package lint

import (
	"bytes"
	"encoding/xml"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"

	"golang.org/x/text/encoding/htmlindex"
)

var (
	declarationForm = regexp.MustCompile(`^<\?xml\b[^>]*\?>`)
	versionForm     = regexp.MustCompile(`^(<\?xml\s+version\s*=\s*["'])1\.\d+`)
	rootForm        = regexp.MustCompile(`^(?:<\?[^>]*\?>\s*|<!--[^>]*-->\s*|<!DOCTYPE[^>]*>\s*)*<([A-Za-z_][\w.:-]*)([^<>]*)>`)
	// XML forbids control characters, also as references, but messages that quote source code may contain them.
	referenceForm = regexp.MustCompile(`&#(?:0*(?:[0-8]|1[124-9]|2\d|3[01])|[xX]0*(?:[0-8bBcCeEfF]|1[0-9a-fA-F]));`)
)

// xmlHead is the number of bytes within which a document's declaration and root element must start.
const xmlHead = 4 << 10

// xmlEnd returns the length of the XML document at the start of the text, or 0.
func xmlEnd(start []byte) int {
	head := start[:min(len(start), xmlHead)]
	declared := declarationForm.Match(head)
	m := rootForm.FindSubmatchIndex(head)
	if m == nil {
		if declared {
			return len(start)
		}
		return 0
	}
	if bytes.HasSuffix(start[m[4]:m[5]], []byte("/")) {
		return m[1]
	}
	name := string(start[m[2]:m[3]])
	closing := []byte("</" + name + ">")
	if i := bytes.Index(start[m[1]:], closing); i >= 0 {
		return m[1] + i + len(closing)
	}
	if declared || name == "checkstyle" || name == "jslint" {
		return len(start) // no end; the reader reports that
	}
	return 0 // such as the <stdin>:3:1 of compilers
}

// fault is an error element of Checkstyle's or JSLint's XML.
type fault struct {
	Line     int    `xml:"line,attr"`
	Column   int    `xml:"column,attr"`
	Char     int    `xml:"char,attr"`
	Severity string `xml:"severity,attr"`
	Message  string `xml:"message,attr"`
	Reason   string `xml:"reason,attr"`
	Source   string `xml:"source,attr"`
}

// readXML reads all XML documents. If only is true, any other document is an error.
func readXML(docs []document, only bool) ([]Finding, error) {
	var list []Finding
	for _, d := range docs {
		if !d.xml {
			if only {
				return nil, fmt.Errorf("it is JSON")
			}
			continue
		}
		found, err := checkstyle(d.text)
		if err != nil {
			return nil, fmt.Errorf("read XML: %w", err)
		}
		list = append(list, found...)
	}
	return list, nil
}

func checkstyle(doc []byte) ([]Finding, error) {
	var root struct {
		XMLName    xml.Name
		Exceptions []string `xml:"exception"`
		Files      []struct {
			Name       string   `xml:"name,attr"`
			Errors     []fault  `xml:"error"`
			Issues     []fault  `xml:"issue"`
			Exceptions []string `xml:"exception"`
		} `xml:"file"`
	}
	decoder := xml.NewDecoder(bytes.NewReader(lawful(doc)))
	decoder.CharsetReader = charset
	if err := decoder.Decode(&root); err != nil {
		return nil, err
	}
	if name := root.XMLName.Local; name != "checkstyle" && name != "jslint" {
		return nil, fmt.Errorf("want <checkstyle> or <jslint>, got <%s>", name)
	}
	var list []Finding
	for _, text := range root.Exceptions {
		list = append(list, Finding{Severity: "error", Rule: "exception", Message: firstLine(text)})
	}
	for _, f := range root.Files {
		for _, text := range f.Exceptions { // the file was not checked
			list = append(list, Finding{Path: f.Name, Severity: "error", Rule: "exception", Message: firstLine(text)})
		}
		for _, e := range append(f.Errors, f.Issues...) {
			list = append(list, Finding{f.Name, e.Line, e.Column + e.Char, severity(e.Severity), e.Source, e.Message + e.Reason})
		}
	}
	return list, nil
}

// charset decodes a document by its declared encoding. UTF-16 was already decoded by its byte order mark.
func charset(label string, input io.Reader) (io.Reader, error) {
	encoding, err := htmlindex.Get(label)
	if err != nil {
		return nil, fmt.Errorf("unknown encoding %q", label)
	}
	if name, _ := htmlindex.Name(encoding); name == "utf-16le" || name == "utf-16be" {
		return input, nil
	}
	return encoding.NewDecoder().Reader(input), nil
}

// lawful converts a document to one that Go's decoder accepts: XML 1.0 without forbidden characters.
func lawful(doc []byte) []byte {
	doc = versionForm.ReplaceAll(doc, []byte("${1}1.0"))
	doc = referenceForm.ReplaceAll(doc, nil)
	// Byte by byte, because the encoding is unknown here. In all common encodings these bytes have no other meaning.
	return slices.DeleteFunc(bytes.Clone(doc), func(c byte) bool {
		return c < ' ' && c != '\t' && c != '\n' && c != '\r'
	})
}

func firstLine(text string) string {
	line, _, _ := strings.Cut(strings.TrimSpace(text), "\n")
	return line
}
