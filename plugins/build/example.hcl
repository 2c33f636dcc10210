stage "build" "app" {
  command = ["npm", "ci"]
  env     = { NODE_ENV = "development" }
  package {
    prepare = ["npm", "prune", "--omit=dev"]
    exclude = ["test/**", "coverage/**"]
  }
}
