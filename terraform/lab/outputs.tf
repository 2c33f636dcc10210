output "hosts" {
  description = "The hosts by name, for troop."
  value = {
    for name, host in lab_host.this : name => {
      role            = var.hosts[name].role
      roles           = length(var.hosts[name].roles) > 0 ? var.hosts[name].roles : null
      address         = host.address
      private_address = host.address
      user            = "root"
      port            = 22
      host_key        = host.host_key
      tags            = var.hosts[name].tags
      vars            = var.hosts[name].vars
    }
  }
}

output "capacity" {
  description = "Resources of this machine that the hosts may use."
  value = {
    lab = {
      hosts  = length(var.hosts)
      cpus   = sum([for host in var.hosts : host.cpus])
      memory = "${sum([for host in var.hosts : tonumber(regex("^[0-9]+", host.memory)) * (endswith(host.memory, "GiB") ? 1024 : 1)])}MiB"
      disk   = "${sum([for host in var.hosts : tonumber(regex("^[0-9]+", host.disk)) * (endswith(host.disk, "GiB") ? 1024 : 1)])}MiB"
    }
  }
}
