# Every host is in the group "host" and in that of its role. One resource per rule: rules change independently, and a plan
# names them.

resource "aws_security_group" "host" {
  name_prefix = "${local.name}-host-"
  description = "Every host of ${local.name}"
  vpc_id      = local.vpc_id
  tags        = { Name = "${local.name}-host" }

  lifecycle {
    create_before_destroy = true

    precondition {
      condition     = length(distinct([for subnet in data.aws_subnet.given : subnet.vpc_id])) <= 1
      error_message = "The given subnets belong to several VPCs. Use subnets of one VPC."
    }
  }
}

resource "aws_security_group" "role" {
  for_each = {
    app     = "Production and canary hosts of ${local.name}"
    router  = "Router of ${local.name}"
    storage = "Storage hosts of ${local.name}"
  }

  name_prefix = "${local.name}-${each.key}-"
  description = each.value
  vpc_id      = local.vpc_id
  tags        = { Name = "${local.name}-${each.key}" }

  lifecycle {
    create_before_destroy = true
  }
}

resource "aws_vpc_security_group_ingress_rule" "ssh" {
  for_each = toset(var.ssh_cidrs)

  security_group_id = aws_security_group.host.id
  description       = "SSH from ${each.key}"
  cidr_ipv4         = each.key
  ip_protocol       = "tcp"
  from_port         = 22
  to_port           = 22
}

resource "aws_vpc_security_group_ingress_rule" "clients" {
  for_each = toset(var.client_cidrs)

  security_group_id = aws_security_group.role["router"].id
  description       = "Application from ${each.key}"
  cidr_ipv4         = each.key
  ip_protocol       = "tcp"
  from_port         = var.router_port
  to_port           = var.router_port
}

resource "aws_vpc_security_group_ingress_rule" "app" {
  security_group_id            = aws_security_group.role["app"].id
  description                  = "Application from the router, both slots"
  referenced_security_group_id = aws_security_group.role["router"].id
  ip_protocol                  = "tcp"
  from_port                    = var.app_port
  to_port                      = var.app_port + 1
}

resource "aws_vpc_security_group_ingress_rule" "redis" {
  security_group_id            = aws_security_group.role["router"].id
  description                  = "Redis from hosts of the environment"
  referenced_security_group_id = aws_security_group.host.id
  ip_protocol                  = "tcp"
  from_port                    = local.redis_port
  to_port                      = local.redis_port
}

resource "aws_vpc_security_group_ingress_rule" "storage" {
  security_group_id            = aws_security_group.role["storage"].id
  description                  = "Uploads over SSH from hosts of the environment"
  referenced_security_group_id = aws_security_group.host.id
  ip_protocol                  = "tcp"
  from_port                    = 22
  to_port                      = 22
}

resource "aws_vpc_security_group_egress_rule" "hosts" {
  security_group_id            = aws_security_group.host.id
  description                  = "Hosts of the environment"
  referenced_security_group_id = aws_security_group.host.id
  ip_protocol                  = "-1"
}

resource "aws_vpc_security_group_egress_rule" "outside" {
  for_each = toset(var.egress_cidrs)

  security_group_id = aws_security_group.host.id
  description       = "Anything at ${each.key}"
  cidr_ipv4         = each.key
  ip_protocol       = "-1"
}
