pipeline "shop" {
  exit_with_failures = 3         # 0 without it: "continue" was meant
  runs_on            = ["arm64"] # labels of the workers of troop serve that may take its runs
  source {
    path    = "."
    filters = ["lfs"]
  }
  store "s3" {
    bucket     = "our-troop"
    prefix     = "shop"
    region     = "eu-central-1"
    endpoint   = "https://s3.example.org" # of a server other than AWS
    profile    = "shop"
    path_style = true
    redis      = env.TROOP_REDIS_URL # announces changes: optional, and may be lost
  }
  team {
    keys_from = "team.keys"
    member "ops-1" { keys = ["ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGeqk8vQx3JZ4bWf6uWm2vJb0p6n1yq8w4k5c7r9s2tL"] }
  }
}

variable "region" {
  type        = string
  default     = "us-east-1"
  description = "where the hosts are"
  sensitive   = false
  validation {
    condition     = startswith(var.region, "us-")
    error_message = "Choose a region in the United States."
  }
}

locals {
  node = "node:20-slim"
}

secret "registry" { command = ["pass", "show", "shop/registry"] }

secret "smtp" {
  aws_secret = "shop/smtp" # or aws_parameter = "/shop/smtp"
  region     = var.region
  key        = "url"
}

secret "webhook" { aws_parameter = "/shop/webhook" }

secret "key" { file = "secrets/key" }

environment "lab" {
  terraform { module = "lab" }
  ansible { playbook = "site.yml" }
}

# Servers that exist already need no module. Keys, ports and jump hosts are those of ~/.ssh/config, unless the block says them.
environment "one" {
  host "web-1" {
    address = "203.0.113.10"
    roles   = ["router", "production"]
    user    = "deploy" # has sudo without a password
  }
  host "store" {
    address         = "store.example.com"
    private_address = "10.0.0.3"
    roles           = ["storage", "data"]
    user            = "ops"
    port            = 2222
    key             = "~/.ssh/id_ops"
    jump            = "ops@bastion.example.com"
    host_key        = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIEYJchT0pW8aF+YE60yjbclvXmYCHJah0QCAeQR36xA4"
    tags            = ["cellar"]
    variables       = { storage_quota = "20G" }
  }
  storage_key "web-1" { # for a bucket, in place of a storage host
    id     = "web-1-backups"
    secret = secret.key
  }
  accessory "postgres" { service = "shop" } # the service gets its URL as DATABASE_URL
  accessory "redis" {
    service = "shop"
    env     = "QUEUE_URL"
    port    = 16380
  }
  ansible { playbook = "site.yml" }
}

environment "production" {
  terraform {
    module    = "aws"
    program   = "terraform" # or "tofu"
    variables = { region = var.region, ssh_cidrs = ["203.0.113.0/24"] }
    backend "s3" {
      bucket       = "our-states"
      key          = "shop.tfstate"
      region       = var.region
      use_lockfile = true
    }
    review {
      approve     = true
      forbid      = ["destroy"]
      max_destroy = 2
      max_monthly = 300
      rules       = ["policy/*.rego"]
      drift       = "stop"
    }
  }
  ansible {
    playbook               = "site.yml"
    variables              = { storage_mailbox = false }
    requirements           = "requirements.yml"        # collections and roles of the playbook
    vault_password_command = ["pass", "show", "vault"] # prints the password of the team's vaults
  }
}

trigger "push" {
  branches    = ["main", "release/*"]
  environment = "production"
  until       = stage.build.app
}

trigger "push" {
  tags        = ["v*"]
  environment = "production"
}

# What troop serve does at certain times, in UTC.
schedule "nightly" {
  cron        = "0 3 * * *"
  run         = "main"
  environment = "production"
}

schedule "watch" {
  cron  = "CRON_TZ=Europe/Berlin 0 8-18 * * 1-5"
  drift = "production"
}

schedule "drill" {
  cron  = "@weekly"
  drill = "production"
}

stage "build" "app" {
  command    = ["npm", "ci"]
  env        = { TOKEN = secret.registry, SIGNING_KEY = secret.key }
  timeout    = "10m"
  retries    = 1
  on_failure = "stop"
  when {
    branches     = ["main", "release/*"]
    environments = ["lab", "production"]
    paths        = ["**", "!docs"]
  }
}

stage "test" "unit" {
  needs       = [stage.build.app]
  environment = "lab"
  for_each    = { node = local.node, bun = "bun:1" }
  command     = ["sh", "test.sh", each.key, each.value]
}

stage "maintenance" "logs" {
  environment = "production"
  grants      = ["storage"]
  rule "app" {
    paths = ["/var/log/shop/*.log"]
    above = "5MiB"
  }
}

notify "email" "ops" { url = secret.smtp }

notify "slack" "team" {
  url      = secret.webhook
  on       = ["alert", "run.failed"]
  cooldown = "10m"
  limit    = 2 # messages in a minute
  page     = "https://troop.example.com"
}

notify "pagerduty" "duty" {
  url   = secret.webhook
  on    = ["alert"]
  after = "15m" # if nobody has acknowledged it by then
}
