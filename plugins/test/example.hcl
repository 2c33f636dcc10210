stage "test" "unit" {
  needs   = [stage.build.app]
  command = ["npm", "test"]
  reports {
    junit    = "reports/junit.xml"
    coverage = "coverage/coverage-summary.json"
  }
  require {
    statements = 80
    branches   = 70
  }
}
