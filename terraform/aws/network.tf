locals {
  own_vpc = length(var.subnet_ids) == 0
  vpc_id  = local.own_vpc ? aws_vpc.this[0].id : values(data.aws_subnet.given)[0].vpc_id

  zones = local.own_vpc ? (
    length(var.zones) > 0 ? var.zones : slice(data.aws_availability_zones.this[0].names, 0, min(2, length(data.aws_availability_zones.this[0].names)))
  ) : sort(distinct([for subnet in data.aws_subnet.given : subnet.availability_zone]))

  # By zone. Of several subnets in one zone, the first by id is used.
  given   = { for zone, subnets in { for subnet in data.aws_subnet.given : subnet.availability_zone => subnet... } : zone => subnets[0] }
  subnets = local.own_vpc ? { for zone, subnet in aws_subnet.this : zone => subnet.id } : { for zone, subnet in local.given : zone => subnet.id }
}

data "aws_availability_zones" "this" {
  count = local.own_vpc && length(var.zones) == 0 ? 1 : 0

  state = "available"

  filter {
    name   = "opt-in-status"
    values = ["opt-in-not-required"] # no local or wavelength zones
  }
}

data "aws_subnet" "given" {
  for_each = toset(var.subnet_ids)

  id = each.key
}

resource "aws_vpc" "this" {
  count = local.own_vpc ? 1 : 0

  cidr_block           = var.vpc_cidr
  enable_dns_support   = true
  enable_dns_hostnames = true
  tags                 = { Name = local.name }
}

resource "aws_internet_gateway" "this" {
  count = local.own_vpc ? 1 : 0

  vpc_id = aws_vpc.this[0].id
  tags   = { Name = local.name }
}

resource "aws_route_table" "this" {
  count = local.own_vpc ? 1 : 0

  vpc_id = aws_vpc.this[0].id
  tags   = { Name = local.name }
}

resource "aws_route" "internet" {
  count = local.own_vpc ? 1 : 0

  route_table_id         = aws_route_table.this[0].id
  destination_cidr_block = "0.0.0.0/0"
  gateway_id             = aws_internet_gateway.this[0].id
}

resource "aws_subnet" "this" {
  for_each = local.own_vpc ? toset(local.zones) : []

  vpc_id            = aws_vpc.this[0].id
  availability_zone = each.key
  # By the zone's letter: adding or removing a zone does not move others.
  cidr_block              = cidrsubnet(var.vpc_cidr, 4, index(split("", "abcdefghijklmnop"), substr(each.key, -1, 1)))
  map_public_ip_on_launch = true
  tags                    = { Name = "${local.name}-${each.key}" }

  lifecycle {
    precondition {
      condition     = startswith(each.key, var.region)
      error_message = "Zone ${each.key} is not in ${var.region}. Name zones of the region, or set region."
    }
  }
}

resource "aws_route_table_association" "this" {
  for_each = aws_subnet.this

  subnet_id      = each.value.id
  route_table_id = aws_route_table.this[0].id
}
