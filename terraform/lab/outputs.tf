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
