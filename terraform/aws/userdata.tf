locals {
  # For cloud-init at a host's first boot only. JSON is valid YAML.
  user_data = { for name, host in var.hosts : name => join("\n", concat(
    ["#cloud-config", "hostname: ${name}", "ssh_pwauth: false"],
    !contains(keys(local.host_keys), name) ? [] : [
      "ssh_deletekeys: true",
      "ssh_keys: ${jsonencode({ ed25519_private = "${trimspace(var.host_keys[name].private)}\n", ed25519_public = local.host_keys[name] })}",
    ],
    length(local.commands[name]) == 0 ? [] : ["runcmd: ${jsonencode(local.commands[name])}"],
    [""],
  )) }

  commands = { for name, host in var.hosts : name => concat(var.connection == "ssm" ? local.agent : [], host.role == "storage" ? local.mount[name] : []) }

  # Ubuntu's images have Systems Manager's agent, Debian's have not:
  # https://docs.aws.amazon.com/systems-manager/latest/userguide/agent-install-deb.html
  agent = [
    ["sh", "-c", "command -v amazon-ssm-agent || snap list amazon-ssm-agent || { python3 -c 'import urllib.request; urllib.request.urlretrieve(\"https://s3.${var.region}.amazonaws.com/amazon-ssm-${var.region}/latest/debian_${var.architecture}/amazon-ssm-agent.deb\", \"/run/agent.deb\")' && dpkg -i /run/agent.deb; }"],
  ]

  # Names and public keys are not secret.
  host_keys = nonsensitive({ for name, key in var.host_keys : name => trimspace(key.public) })

  # On Nitro, udev names an EBS volume by its id without the dash. x-systemd.makefs formats it only if it is empty. The last
  # command waits for the volume to be attached.
  mount = { for name, volume in aws_ebs_volume.storage : name => [
    ["install", "-d", local.storage_root],
    ["sh", "-c", "echo '/dev/disk/by-id/nvme-Amazon_Elastic_Block_Store_${replace(volume.id, "-", "")} ${local.storage_root} ext4 ${local.mount_options} 0 2' >> /etc/fstab"],
    ["systemctl", "daemon-reload"],
    ["systemctl", "start", "srv-backups.mount"],
  ] }

  storage_root  = "/srv/backups" # follows storage_root of the playbooks
  mount_options = "nodev,nosuid,noexec,nofail,x-systemd.makefs,x-systemd.device-timeout=10min"
}
