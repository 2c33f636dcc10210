# What happens to a commit of this project. See `troop validate`, `troop run` and `troop graph`.

pipeline "{{.Name}}" {
  source { path = "." }
}

stage "build" "app" {
  {{- if eq (len .Build) 1}}
  command = {{list (index .Build 0)}}
  {{- else}}
  commands = [
    {{- range .Build}}
    {{list .}},
    {{- end}}
  ]
  {{- end}}
}
{{- if .Test}}

stage "test" "unit" {
  needs   = [stage.build.app]
  command = {{list .Test}}
  {{- if .Reports}}
  reports { junit = "{{.Reports}}" }
  {{- end}}
}
{{- end}}

# The files of every commit are searched for keys and passwords.
stage "analysis" "secrets" {
  secrets {}
}
