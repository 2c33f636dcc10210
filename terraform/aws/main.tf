provider "aws" {
  region = var.region

  default_tags {
    tags = local.tags
  }
}

locals {
  name = "troop-${var.environment}"
  tags = merge(var.tags, { "troop:environment" = var.environment, "troop:module" = "aws" })

  # Of the environment's Redis; the application's own has the next port. Follows troop_redis_port and troop_app_redis_port of
  # the playbooks.
  redis_port = 6379

  routers  = { for name, host in var.hosts : name => host if host.role == "router" }
  storages = { for name, host in var.hosts : name => host if host.role == "storage" }

  types = { for name, host in var.hosts : name => coalesce(host.instance_type, var.instance_type) }

  # The number at the end of the name, not the index in the list: adding or removing a host does not move others.
  zone_of = {
    for name, host in var.hosts :
    name => coalesce(host.zone, element(local.zones, max(0, try(tonumber(regex("[0-9]+$", name)), 1) - 1)))
  }
}

data "aws_ec2_instance_type" "this" {
  for_each = toset(values(local.types))

  instance_type = each.key

  lifecycle {
    postcondition {
      condition     = contains(self.supported_architectures, local.processor)
      error_message = "Type ${self.instance_type} is not an ${var.architecture} type. Choose another type, or set architecture."
    }
  }
}
