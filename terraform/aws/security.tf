# Every host is in the group "all" and in that of its role. A group owns its whole rule sets: a rule that somebody adds in
# another way is drift, and the next apply removes it. Both sets are given even where they are empty, since Terraform leaves
# a set alone that is not given. The tag troop:role says whose group it is.

locals {
  groups = {
    production = aws_security_group.app.id
    canary     = aws_security_group.app.id
    router     = aws_security_group.router.id
    storage    = aws_security_group.storage.id
  }

  # A rule has all these attributes.
  rule = { cidr_blocks = [], ipv6_cidr_blocks = [], prefix_list_ids = [], security_groups = [], self = false, protocol = "tcp" }
}

resource "aws_security_group" "all" {
  name_prefix = "${local.name}-all-"
  description = "Every host of ${local.name}"
  vpc_id      = local.vpc_id
  tags        = { Name = "${local.name}-all", "troop:role" = "all" }

  ingress = [for cidr in distinct(var.ssh_cidrs) : merge(local.rule, {
    description = "SSH from ${cidr}", cidr_blocks = [cidr], from_port = 22, to_port = 22
  })]

  egress = concat(
    [merge(local.rule, { description = "Hosts of the environment", self = true, protocol = "-1", from_port = 0, to_port = 0 })],
    [for cidr in distinct(var.egress_cidrs) : merge(local.rule, {
      description = "Anything at ${cidr}", cidr_blocks = [cidr], protocol = "-1", from_port = 0, to_port = 0
    })],
  )

  lifecycle {
    create_before_destroy = true

    precondition {
      condition     = length(distinct([for subnet in data.aws_subnet.given : subnet.vpc_id])) <= 1
      error_message = "The given subnets belong to several VPCs. Use subnets of one VPC."
    }

    precondition {
      condition     = length(var.ssh_cidrs) > 0 || var.connection == "ssm"
      error_message = "Nobody could reach the hosts: ssh_cidrs is empty. Name at least the network of the machine that runs troop, which `curl https://checkip.amazonaws.com` shows, or set connection = \"ssm\"."
    }

    precondition {
      condition     = var.jump == "" || var.connection == "ssh"
      error_message = "Sessions of AWS Systems Manager need no jump host. Leave out jump, or connection."
    }
  }
}

resource "aws_security_group" "router" {
  name_prefix = "${local.name}-router-"
  description = "Router of ${local.name}"
  vpc_id      = local.vpc_id
  tags        = { Name = "${local.name}-router", "troop:role" = "router" }

  ingress = concat(
    flatten([for port in [var.router_port, var.router_tls_port] : [for cidr in distinct(var.client_cidrs) : merge(local.rule, {
      description = "Application from ${cidr}", cidr_blocks = [cidr], from_port = port, to_port = port
    })] if port != 0]),
    [merge(local.rule, {
      description = "Redis from hosts of the environment", security_groups = [aws_security_group.all.id], from_port = local.redis_port, to_port = local.redis_port + 1
    })],
  )

  egress = []

  lifecycle {
    create_before_destroy = true
  }
}

resource "aws_security_group" "app" {
  name_prefix = "${local.name}-app-"
  description = "Production and canary hosts of ${local.name}"
  vpc_id      = local.vpc_id
  tags        = { Name = "${local.name}-app", "troop:role" = "production canary" }

  ingress = [merge(local.rule, {
    description = "Application from the router, ten services with four slots", security_groups = [aws_security_group.router.id], from_port = var.app_port, to_port = var.app_port + 39
  })]

  egress = []

  lifecycle {
    create_before_destroy = true
  }
}

resource "aws_security_group" "storage" {
  name_prefix = "${local.name}-storage-"
  description = "Storage hosts of ${local.name}"
  vpc_id      = local.vpc_id
  tags        = { Name = "${local.name}-storage", "troop:role" = "storage" }

  ingress = [merge(local.rule, {
    description = "Uploads over SSH from hosts of the environment", security_groups = [aws_security_group.all.id], from_port = 22, to_port = 22
  })]

  egress = []

  lifecycle {
    create_before_destroy = true
  }
}
