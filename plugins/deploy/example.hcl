stage "deploy" "shop" {
  needs    = [stage.test.unit, stage.analysis.quality]
  artifact = stage.build.app.artifact # this reference makes build.app a need, too
  service {
    command     = ["node", "start.js"]
    environment = { LOG_LEVEL = "info" }
    health { path = "/up" }
  }
  canary {
    weights      = { production = 2, canary = 1 }
    watch        = "2m"
    min_requests = 200
    no_traffic   = "hold"
  }
}
