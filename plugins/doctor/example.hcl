stage "doctor" "hosts" {
  needs = [stage.deploy.shop]
  cpu {
    above = 80
    for   = "10s"
  }
  memory { above = 40 }
  treat        = ["alert", "renice", "terminate", "kill"]
  restart_unit = ["shop@a.service", "shop@b.service"]
  protect { users = ["postgres"] }
}
