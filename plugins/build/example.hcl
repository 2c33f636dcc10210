stage "build" "app" {
  command = ["npm", "ci"]
  env     = { NODE_ENV = "development" }
  cache {
    paths = ["~/.npm/_cacache"]
    key   = filehash("package-lock.json")
  }
  package {
    prepare = ["npm", "prune", "--omit=dev"]
    exclude = ["test/**", "coverage/**"]
  }
}
