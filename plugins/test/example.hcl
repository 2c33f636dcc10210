stage "test" "unit" {
  needs   = [stage.build.app]
  timeout = "10m"
  command = ["npm", "test"]
  env     = { REDIS_URL = "redis://127.0.0.1:${service.redis.port}" }
  service "redis" {
    command = ["redis-server", "--port", port, "--save", ""]
    ready   = tcp(port)
  }
  reports {
    junit    = "reports/junit.xml"
    coverage = "coverage/coverage-summary.json"
  }
  require {
    statements = 80
    branches   = 70
  }
}
