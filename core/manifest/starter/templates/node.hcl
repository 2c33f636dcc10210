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
  package {
    {{- if .Prepare}}
    prepare = {{list .Prepare}}
    {{- end}}
    exclude = ["test/**", "coverage/**"]
  }
}

stage "test" "unit" {
  needs   = [stage.build.app]
  command = {{list .Test}}
}

# The files of every commit are searched for keys and passwords.
stage "analysis" "secrets" {
  secrets {}
}
