package manifest

import "testing"

func TestReformat(t *testing.T) {
	for _, tt := range []struct{ name, src, want string }{
		{
			"indents and aligns", "stage \"x\" \"y\" {\ncommand=[\"make\"]\n   timeout =\"10s\" # a comment\n  when {\n branches=[\"main\"]\n}\n}",
			"stage \"x\" \"y\" {\n  command = [\"make\"]\n  timeout = \"10s\" # a comment\n  when {\n    branches = [\"main\"]\n  }\n}\n",
		},
		{"ends with one new line", "a = 1\n\n\n", "a = 1\n"},
		{"leaves texts alone", "a = <<EOT\n   x   \nEOT\n", "a = <<EOT\n   x   \nEOT\n"},
		{"Windows", "a = 1\r\nbc = 2\r\n", "a  = 1\nbc = 2\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, diags := Reformat("x.hcl", []byte(tt.src))
			if string(got) != tt.want || len(diags) > 0 {
				t.Errorf("got %q, %v; want %q", got, diags, tt.want)
			}
			if again, _ := Reformat("x.hcl", got); string(again) != string(got) {
				t.Errorf("the second time it changes again: %q", again)
			}
		})
	}
	if got, diags := Reformat("x.hcl", []byte("a = [\n")); got != nil || !diags.HasErrors() {
		t.Errorf("broken: got %q, %v", got, diags)
	}
}
