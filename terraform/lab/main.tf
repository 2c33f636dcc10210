locals {
  # Labs made from different folders can exist at the same time. The folders of a team's members are one lab.
  digest = sha256(coalesce(var.troop_project, abspath(path.root)))
  octets = [for at in [8, 10] : parseint(substr(local.digest, at, 2), 16)]

  lab    = substr(local.digest, 0, 8)
  subnet = coalesce(var.subnet, "10.${64 + local.octets[0] % 64}.${local.octets[1]}.0/24")
}

resource "lab_roster" "this" {
  lab    = local.lab
  subnet = local.subnet
  hosts  = keys(var.hosts)
}

resource "lab_host" "this" {
  for_each = var.hosts

  lab            = lab_roster.this.lab
  name           = each.key
  role           = join(" ", compact(concat([each.value.role], each.value.roles)))
  address        = lab_roster.this.addresses[each.key]
  cpus           = each.value.cpus
  memory         = each.value.memory
  disk           = each.value.disk
  ssh_public_key = trimspace(var.ssh_public_key)
}
