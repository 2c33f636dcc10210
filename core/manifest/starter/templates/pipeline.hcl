# What happens to a commit of this project. See `troop validate`, `troop run` and `troop graph`.
{{- if .Asks}}
# Comments with a question mark ask what could not be seen in the project's files.
{{- end}}

pipeline "{{.Name}}" {
  source { path = "." }
}
{{- if .Build}}

stage "build" "app" {
  {{- range .BuildNotes}}
  # {{.}}
  {{- end}}
  {{- if eq (len .Build) 1}}
  command = {{list (index .Build 0)}}
  {{- else}}
  commands = [
    {{- range .Build}}
    {{list .}},
    {{- end}}
  ]
  {{- end}}
  {{- if .Env}}
  env = { {{.Env}} }
  {{- end}}
  {{- if .Cache.Paths}}
  cache {
    paths = {{list .Cache.Paths}}
    key = filehash({{quote .Cache.Lock}})
  }
  {{- end}}
  {{- if .Package}}
  package {
    {{- if .Prepare}}
    prepare = {{list .Prepare}}
    {{- end}}
    exclude = ["test/**", "coverage/**"]
  }
  {{- end}}
}
{{- end}}
{{- if .Test}}

stage "test" "unit" {
  {{- if .Build}}
  needs = [stage.build.app]
  {{- end}}
  timeout = "15m"
  {{- range .TestNotes}}
  # {{.}}
  {{- end}}
  command = {{list .Test}}
  {{- if .Env}}
  env = { {{.Env}} }
  {{- end}}
  {{- if .Reports}}
  reports {
    {{- range .Reports}}
    {{.Name}} = {{quote .File}}
    {{- end}}
  }
  {{- end}}
}
{{- else}}
{{range .TestNotes}}
# {{.}}
{{- end}}
{{- end}}

# The files of every commit are searched for keys and passwords.
stage "analysis" "secrets" {
  secrets {}
}
