# What storage hosts keep is on a volume of its own, which outlives the host.

locals {
  # Follows storage_root of the playbooks.
  storage_root = "/srv/backups"

  # udev names an EBS volume on Nitro by its id, without the dash.
  fstab = {
    for name, volume in aws_ebs_volume.storage :
    name => "/dev/disk/by-id/nvme-Amazon_Elastic_Block_Store_${replace(volume.id, "-", "")} ${local.storage_root} ext4 nodev,nosuid,noexec,nofail,x-systemd.makefs,x-systemd.device-timeout=10min 0 2"
  }

  user_data = { for name, _ in var.hosts : name => "#cloud-config\n${jsonencode(merge(
    { hostname = name, ssh_pwauth = false },
    # Only the given key: cloud-init makes none of its own then.
    !contains(keys(local.host_keys), name) ? {} : {
      ssh_deletekeys = true
      ssh_keys       = { ed25519_private = var.host_keys[name].private, ed25519_public = trimspace(var.host_keys[name].public) }
    },
    # The volume is attached while the host boots. x-systemd.makefs formats it when it is empty, and only then.
    !contains(keys(local.storages), name) ? {} : {
      runcmd = [
        ["install", "-d", local.storage_root],
        ["sh", "-c", "echo '${local.fstab[name]}' >> /etc/fstab"],
        ["systemctl", "daemon-reload"],
        ["systemctl", "start", "srv-backups.mount"],
      ]
    },
  ))}\n" }

  # The names and public halves are no secret.
  host_keys = nonsensitive({ for name, key in var.host_keys : name => trimspace(key.public) })
}

resource "aws_ebs_volume" "storage" {
  for_each = local.storages

  availability_zone = local.zone_of[each.key]
  type              = "gp3"
  size              = tonumber(trimsuffix(each.value.data, "GiB"))
  encrypted         = true
  kms_key_id        = var.kms_key_arn == "" ? null : var.kms_key_arn
  tags              = { Name = "${local.name}-${each.key}-data" }

  lifecycle {
    prevent_destroy = true

    precondition {
      condition     = data.aws_ec2_instance_type.this[local.types[each.key]].hypervisor == "nitro"
      error_message = "Host ${each.key} is of type ${local.types[each.key]}, which does not name volumes by their id. Choose a type on the Nitro system, such as t3.small."
    }
  }
}

resource "aws_volume_attachment" "storage" {
  for_each = local.storages

  device_name                    = "/dev/sdf"
  volume_id                      = aws_ebs_volume.storage[each.key].id
  instance_id                    = aws_instance.host[each.key].id
  stop_instance_before_detaching = true # nothing is written while the host is replaced
}
