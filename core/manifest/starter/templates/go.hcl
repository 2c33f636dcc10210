# What happens to a commit of this project. See `troop validate`, `troop run` and `troop graph`.

pipeline "{{.Name}}" {
  source { path = "." }
}

stage "build" "app" {
  command = ["go", "build", "./..."]
}

stage "test" "unit" {
  needs   = [stage.build.app]
  command = ["go", "test", "-coverprofile=coverage.out", "./..."]
  reports { coverage = "coverage.out" }
}

# The files of every commit are searched for keys and passwords.
stage "analysis" "secrets" {
  secrets {}
}
