locals {
  # What cloud-init reads at a host's first boot, and at no other. JSON is YAML.
  user_data = { for name, host in var.hosts : name => join("\n", concat(
    ["#cloud-config", "hostname: ${name}", "ssh_pwauth: false"],
    !contains(keys(local.host_keys), name) ? [] : [
      "ssh_deletekeys: true",
      "ssh_keys: ${jsonencode({ ed25519_private = "${trimspace(var.host_keys[name].private)}\n", ed25519_public = local.host_keys[name] })}",
    ],
    host.role != "storage" ? [] : ["runcmd: ${jsonencode(local.mount[name])}"],
    [""],
  )) }

  # The names and public halves are no secret.
  host_keys = nonsensitive({ for name, key in var.host_keys : name => trimspace(key.public) })

  # udev names an EBS volume on Nitro by its id, without the dash. x-systemd.makefs formats it when it is empty, and
  # only then. The last command waits for the volume, which is attached meanwhile.
  mount = { for name, volume in aws_ebs_volume.storage : name => [
    ["install", "-d", local.storage_root],
    ["sh", "-c", "echo '/dev/disk/by-id/nvme-Amazon_Elastic_Block_Store_${replace(volume.id, "-", "")} ${local.storage_root} ext4 ${local.mount_options} 0 2' >> /etc/fstab"],
    ["systemctl", "daemon-reload"],
    ["systemctl", "start", "srv-backups.mount"],
  ] }

  storage_root  = "/srv/backups" # follows storage_root of the playbooks
  mount_options = "nodev,nosuid,noexec,nofail,x-systemd.makefs,x-systemd.device-timeout=10min"
}
