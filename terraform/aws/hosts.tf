resource "aws_key_pair" "this" {
  key_name_prefix = "${local.name}-"
  public_key      = trimspace(var.ssh_public_key)

  lifecycle {
    create_before_destroy = true
  }
}

resource "aws_instance" "host" {
  for_each = var.hosts

  ami                    = data.aws_ami.this.id
  instance_type          = local.types[each.key]
  subnet_id              = lookup(local.subnets, local.zone_of[each.key], null)
  availability_zone      = local.zone_of[each.key] # the subnet's; a plan shows it before the subnet exists
  key_name               = aws_key_pair.this.key_name
  vpc_security_group_ids = [aws_security_group.all.id, local.groups[each.value.role]]
  iam_instance_profile   = each.value.role == "storage" && var.backups.enabled ? one(aws_iam_instance_profile.backups[*].name) : var.instance_profile == "" ? null : var.instance_profile

  user_data                   = local.user_data[each.key]
  user_data_replace_on_change = true # a host reads it only at its first boot

  metadata_options {
    http_endpoint               = "enabled"
    http_tokens                 = "required"
    http_put_response_hop_limit = 1
  }

  root_block_device {
    volume_type           = "gp3"
    volume_size           = tonumber(trimsuffix(each.value.disk, "GiB"))
    encrypted             = true
    kms_key_id            = var.kms_key_arn == "" ? null : var.kms_key_arn
    delete_on_termination = true
    tags                  = merge(local.tags, { Name = "${local.name}-${each.key}" }) # default_tags do not apply to it
  }

  tags = merge(each.value.tags, { Name = "${local.name}-${each.key}", "troop:host" = each.key, "troop:role" = each.value.role })

  depends_on = [aws_route.internet, aws_route_table_association.this] # a host installs packages at once

  lifecycle {
    ignore_changes       = [ami, key_name]
    replace_triggered_by = [terraform_data.birth[each.key], terraform_data.key]

    precondition {
      condition     = contains(keys(local.subnets), local.zone_of[each.key])
      error_message = "Host ${each.key} is in zone ${local.zone_of[each.key]}; there are only subnets in ${join(", ", sort(keys(local.subnets)))}. Use one of these zones, or add the zone to zones or a subnet to subnet_ids."
    }

    # Set on the instance, it would replace every host that is stopped.
    precondition {
      condition     = local.own_vpc || !var.public_addresses || each.value.role == "router" || try(local.given[local.zone_of[each.key]].map_public_ip_on_launch, true)
      error_message = "Host ${each.key} would have no public address: the subnet assigns none. Set public_addresses = false and run troop where it can reach private addresses, or let the subnet assign public ones."
    }

    precondition {
      condition     = var.public_addresses || !local.own_vpc
      error_message = "In a new VPC, hosts without public addresses cannot reach the internet. Set subnet_ids, or leave public_addresses at true."
    }
  }
}

# Changes that need a new host. A newer image of the same system does not replace hosts.
resource "terraform_data" "birth" {
  for_each = var.hosts

  input = { role = each.value.role, image = var.image, architecture = var.architecture }
}

# Another key replaces the hosts, not another key pair: one that is taken into the state is made anew, since AWS does not say
# which key it holds.
resource "terraform_data" "key" {
  input = trimspace(var.ssh_public_key)
}

# DNS names point to the router: it keeps its address when it is replaced.
resource "aws_eip" "router" {
  for_each = var.public_addresses ? local.routers : {}

  domain = "vpc"
  tags   = { Name = "${local.name}-${each.key}" }

  depends_on = [aws_internet_gateway.this]
}

resource "aws_eip_association" "router" {
  for_each = aws_eip.router

  allocation_id = each.value.id
  instance_id   = aws_instance.host[each.key].id
}
