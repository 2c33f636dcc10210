output "hosts" {
  description = "What troop knows of the hosts, by name."
  value = {
    for name, host in lab_host.this : name => {
      role            = host.role
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
  description = "What the hosts take of this machine, for a look before an apply."
  value = {
    lab = {
      hosts  = length(var.hosts)
      cpus   = sum([for host in var.hosts : host.cpus])
      memory = "${sum([for host in var.hosts : tonumber(regex("^[0-9]+", host.memory)) * (endswith(host.memory, "GiB") ? 1024 : 1)])}MiB"
      disk   = "${sum([for host in var.hosts : tonumber(regex("^[0-9]+", host.disk)) * (endswith(host.disk, "GiB") ? 1024 : 1)])}MiB"
    }
  }
}
