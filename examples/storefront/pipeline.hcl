# From a commit to guarded production. `make demo` runs it in the lab, `make demo-one` on one server.

pipeline "storefront" {
  source { path = "." }
}

locals {
  lab = {
    storage_mailbox  = true   # mails stay in the lab
    app_redis_memory = "64mb" # the shop's own Redis: recent pages and pictures, on all hosts
  }
}

environment "lab" {
  terraform { module = "lab" }
  ansible {
    playbook  = "site.yml"
    variables = local.lab
  }
}

environment "one" {
  terraform {
    module    = "lab"
    variables = { hosts = { web-1 = { roles = ["router", "production", "canary", "storage"], memory = "1536MiB", cpus = 2 } } }
  }
  ansible {
    playbook  = "site.yml"
    variables = local.lab
  }
}

environment "production" {
  terraform {
    module = "aws"
    variables = {
      region          = "us-east-1"
      ssh_cidrs       = ["203.0.113.0/24"] # who may log in: put your own network here
      router_tls_port = 443
    }
    review {
      approve = true
      forbid  = ["destroy"]
    }
  }
  ansible { playbook = "site.yml" }
}

trigger "push" {
  branches    = ["main"]
  environment = "lab"
}

variable "canary_weight" { default = 1 }

stage "build" "app" {
  command = ["npm", "ci"]
  package {
    prepare = ["npm", "prune", "--omit=dev"]
    exclude = ["test/**", "reports/**", "pipeline.hcl"]
  }
}

stage "test" "unit" {
  needs   = [stage.build.app]
  command = ["npm", "test"]
  reports {
    junit    = "reports/junit.xml"
    coverage = "reports/coverage-summary.json"
  }
  require { statements = 70 }
}

stage "analysis" "quality" {
  needs = [stage.build.app]
  lint { command = ["npx", "jshint", "."] }
  comments {
    min = 0.10
    max = 0.40
  }
  secrets {}
}

stage "deploy" "storefront" {
  needs    = [stage.test.unit, stage.analysis.quality]
  artifact = stage.build.app.artifact
  service {
    command = ["node", "start.js"]
    runtime = ["18", "20"] # the hosts have Debian's Node 18, whatever built it
  }
  tls {
    domains   = ["shop.example.com"]
    directory = environment.name == "production" ? "https://acme-v02.api.letsencrypt.org/directory" : "https://127.0.0.1:14000/dir"
    ca        = environment.name == "production" ? "" : try(file(".troop/authority/ca.pem"), "") # the demo's own authority, on the router
  }
  task "migrate" { command = ["node", "migrate.js"] }
  process "worker" { command = ["node", "worker.js"] }
  canary {
    weights       = { production = 2, canary = var.canary_weight }
    watch         = "30s"
    min_requests  = 50
    no_traffic    = "promote"
    latency_slack = "1s" # the hosts of the lab share one processor, so their times say little
  }
}

stage "doctor" "hosts" {
  needs = [stage.deploy.storefront]
  cpu {
    above = 80 # per cent of one core, for a process
    for   = "10s"
  }
}

stage "maintenance" "logs" {
  needs  = [stage.deploy.storefront]
  grants = ["storage"]
  when { environments = ["lab", "production"] } # one server has no second one
  rule "app" {
    paths = ["/var/log/storefront/*.log"]
    above = "5MiB"
  }
}

notify "email" "ops" {
  url = env.OPS_SMTP_URL
  on  = ["alert", "run.failed"]
}
