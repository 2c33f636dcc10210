stage "maintenance" "logs" {
  needs      = [stage.deploy.shop]
  grants     = ["storage"]
  quarantine = "1h"
  rule "app" {
    paths = ["/var/log/shop/*.log"]
    above = "5MiB"
  }
  rule "dumps" {
    paths      = ["/var/dumps/shop/**"]
    older_than = "24h"
    keep       = 3
  }
}
