output "hosts" {
  description = "The hosts by name, for troop."
  value = {
    for name, host in aws_instance.host : name => {
      role            = var.hosts[name].role
      address         = !var.public_addresses ? host.private_ip : try(aws_eip.router[name].public_ip, host.public_ip)
      private_address = host.private_ip
      user            = local.user
      port            = 22
      host_key        = lookup(local.host_keys, name, null)
      jump            = var.jump == "" ? null : var.jump
      ssm             = var.connection == "ssm" ? { instance = host.id, region = var.region } : null
      tags            = var.hosts[name].tags
      vars            = var.hosts[name].vars
    }
  }
}

output "capacity" {
  description = "Capacity by instance type, to check quotas (which count vCPUs) and prices before an apply."
  value = {
    for type, names in { for name, type in local.types : type => name... } : type => {
      hosts = length(names)
      vcpus = length(names) * data.aws_ec2_instance_type.this[type].default_vcpus
      zones = { for zone in sort(distinct([for name in names : local.zone_of[name]])) : zone => length([for name in names : name if local.zone_of[name] == zone]) }
    }
  }
}
