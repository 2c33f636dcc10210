# From a commit to guarded production. `make demo` runs it in the lab.

pipeline "storefront" {
  source { path = "." }
}

environment "lab" {
  terraform { module = "lab" }
  ansible {
    playbook = "site.yml"
    variables = {
      storage_mailbox  = true   # mails stay in the lab, on storage-1
      app_redis_memory = "64mb" # the shop's own Redis: recent pages and pictures, on all hosts
    }
  }
}

environment "production" {
  terraform {
    module = "aws"
    variables = {
      region    = "us-east-1"
      ssh_cidrs = ["203.0.113.0/24"] # who may log in: put your own network here
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
  rule "app" {
    paths = ["/var/log/storefront/*.log"]
    above = "5MiB"
  }
}

notify "email" "ops" {
  url = env.OPS_SMTP_URL
  on  = ["alert", "run.failed"]
}
