stage "analysis" "quality" {
  needs = [stage.build.app]
  lint { command = ["npx", "eslint", "--format", "json", "."] }
  lint {
    command = ["npx", "jshint", "."]
    format  = "jshint"
  }
  comments {
    min     = 0.10
    exclude = ["vendor/**"]
  }
  secrets { allow = ["test/fixtures/**"] }
}
