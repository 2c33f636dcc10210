package reference

import (
	"encoding/json"
	"testing"

	"github.com/seed-b96de936/troop/core"
)

func sample() core.Description {
	return core.Description{
		Name: "gate", Version: "1.2.3", Summary: "holds a run", Stage: true,
		Agent: &core.Agent{Groups: []string{"adm"}},
		Config: core.BlockSchema{
			Attributes: []core.Attribute{
				{Name: "path", Type: "string", Doc: "What, a|b.", Required: true},
				{Name: "token", Type: "string", Doc: "Key.", Default: `"x"`, Sensitive: true},
			},
			Blocks: []core.NestedBlock{{
				Type: "rule", Labels: []string{"name"}, Many: true, Doc: "Which.",
				Block: core.BlockSchema{
					Attributes: []core.Attribute{{Name: "above", Type: "size", Doc: "Limit."}},
					Blocks:     []core.NestedBlock{{Type: "deep", Doc: "More."}},
				},
			}},
		},
		Outputs: []core.OutputDoc{{Name: "digest", Doc: "Of it."}},
		Actions: []core.Action{{Name: "open", Summary: "open it", Args: []core.Arg{
			{Name: "who", Doc: "Person.", Required: true}, {Name: "force", Doc: "Now.", Default: "false", Flag: true},
		}}},
		Capabilities: []core.Capability{"notify"}, Cacheable: true,
	}
}

func TestText(t *testing.T) {
	t.Parallel()
	want := `gate 1.2.3: holds a run

stage "gate" "NAME"
  path         string  required    What, a|b.
  token        string  "x"         Key. (sensitive)
  rule "NAME"  block   any number  Which.
    above      size    optional    Limit.
    deep       block   optional    More.

A run skips it if it passed before with the same commit, block and plugin, unless forced.

Outputs
  stage.gate.NAME.digest  Of it.

troop gate open [MANIFEST] WHO [--force]
  open it
    who    Person.
    force  Now.

Agent
  It runs on hosts under systemd as the user troop; with the groups adm.

It may
  notify  notify people
`
	if got := Text(sample()); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestMarkdown(t *testing.T) {
	t.Parallel()
	want := "# gate\n\nHolds a run.\n\nVersion 1.2.3. `troop plugin describe gate` prints this page.\n" + `
` + "```hcl\nstage \"gate\" \"a\" {}\n```" + `

## Arguments of ` + "`stage \"gate\" \"NAME\"`" + `

| name | type | default | |
|---|---|---|---|
| ` + "`path`" + ` | string | **required** | What, a\|b. |
| ` + "`token`" + ` | string | ` + "`\"x\"`" + ` | Key. (sensitive) |
| ` + "`rule \"NAME\"`" + ` | block | any number | Which. |

Like every stage it also takes ` + "`needs`, `when`, `timeout`, `retries`, `on_failure`, `environment` and `for_each`" + `.
A run skips it if it passed before with the same commit, block and plugin, unless forced.

### ` + "`rule \"NAME\"`" + `

Which.

| name | type | default | |
|---|---|---|---|
| ` + "`above`" + ` | size | optional | Limit. |
| ` + "`deep`" + ` | block | optional | More. |

### ` + "`rule \"NAME\" → deep`" + `

More.

No arguments.

## Outputs

| reference | value |
|---|---|
| ` + "`stage.gate.NAME.digest`" + ` | Of it. |

## Actions

### ` + "`troop gate open`" + `

Open it.

    troop gate open [MANIFEST] WHO [--force]

| argument | default | |
|---|---|---|
| ` + "`WHO`" + ` | **required** | Person. |
| ` + "`--force`" + ` | ` + "`false`" + ` | Now. |

## Agent

It runs on hosts under systemd as the user troop; with the groups adm.

## Capabilities

| capability | allows |
|---|---|
| ` + "`notify`" + ` | notify people |
`
	if got := Markdown(sample(), "\nstage \"gate\" \"a\" {}\n"); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestJSON(t *testing.T) {
	t.Parallel()
	text, err := JSON(sample())
	if err != nil {
		t.Fatal(err)
	}
	var got struct {
		Config struct {
			Blocks []struct {
				Type       string
				Labels     []string
				Attributes []struct{ Name string }
			}
		}
		Agent struct {
			LinuxCapabilities []string `json:"linux_capabilities"`
		}
		Outputs []struct{ Name string }
	}
	if err := json.Unmarshal(text, &got); err != nil {
		t.Fatal(err)
	}
	rule := got.Config.Blocks[0]
	if rule.Type != "rule" || rule.Labels[0] != "name" || rule.Attributes[0].Name != "above" ||
		got.Agent.LinuxCapabilities == nil || got.Outputs[0].Name != "digest" {
		t.Errorf("got %s", text)
	}
}
