mock_provider "aws" {
  source          = "./tests/mocks"
  override_during = plan
}

variables {
  environment    = "production"
  ssh_public_key = "ssh-ed25519 AAAA troop\n"
  region         = "eu-central-1"
  ssh_cidrs      = ["203.0.113.7/32"]
}

run "default" {
  command = plan

  assert {
    condition     = { for name, host in output.hosts : name => host.role } == { web-1 = "production", canary-1 = "canary", router-1 = "router", storage-1 = "storage" }
    error_message = "The default environment has one host of each role."
  }

  assert {
    condition     = alltrue([for name, host in output.hosts : host.address == (name == "router-1" ? "198.51.100.99" : "198.51.100.10")])
    error_message = "Hosts are reached at public addresses, the router at its elastic one."
  }

  assert {
    condition     = alltrue([for host in output.hosts : host.private_address == "10.80.0.10" && host.user == "admin" && host.port == 22 && host.host_key == null])
    error_message = "The output is what troop asks of a root module; no key is known that was not given."
  }

  assert {
    condition     = output.capacity == { "t3.small" = { hosts = 4, vcpus = 8, zones = { "eu-central-1a" = 4 } } }
    error_message = "The glance before an apply says how many of which type, and where."
  }

  assert {
    condition     = alltrue([for host in aws_instance.host : host.metadata_options[0].http_endpoint == "enabled" && host.metadata_options[0].http_tokens == "required" && host.metadata_options[0].http_put_response_hop_limit == 1])
    error_message = "The metadata service answers only with a token, and only the host itself."
  }

  assert {
    condition     = alltrue([for host in aws_instance.host : host.root_block_device[0].encrypted && host.root_block_device[0].volume_type == "gp3" && host.root_block_device[0].volume_size == 20])
    error_message = "Disks are encrypted gp3 of 20 GiB."
  }

  assert {
    condition     = alltrue([for name, host in aws_instance.host : host.root_block_device[0].delete_on_termination && host.root_block_device[0].tags == tomap({ Name = "troop-production-${name}", "troop:environment" = "production", "troop:module" = "aws" })])
    error_message = "Disks end with their host, and carry its name and what everything carries."
  }

  assert {
    condition     = alltrue([for host in aws_instance.host : host.ami == "ami-0aaaaaaaaaaaaaaa1" && host.key_name == aws_key_pair.this.key_name])
    error_message = "Hosts have the image that was found, troop's key."
  }

  assert {
    condition     = aws_key_pair.this.public_key == "ssh-ed25519 AAAA troop"
    error_message = "The key is without its line's end, which AWS would drop, too."
  }

  assert {
    condition     = alltrue([for name, host in aws_instance.host : host.tags == tomap({ Name = "troop-production-${name}", "troop:host" = name, "troop:role" = var.hosts[name].role })])
    error_message = "Hosts carry their name and role."
  }

  assert {
    condition     = data.aws_ami.this.owners == tolist(["136693071363"]) && one(data.aws_ami.this.filter).values == toset(["debian-12-amd64-*"])
    error_message = "The image is Debian's own."
  }

  assert {
    condition     = aws_instance.host["web-1"].user_data == "#cloud-config\nhostname: web-1\nssh_pwauth: false\n"
    error_message = "A host learns its name, and needs no more."
  }

  assert {
    condition = yamldecode(aws_instance.host["storage-1"].user_data) == {
      hostname   = "storage-1"
      ssh_pwauth = false
      runcmd = [
        ["install", "-d", "/srv/backups"],
        ["sh", "-c", "echo '/dev/disk/by-id/nvme-Amazon_Elastic_Block_Store_vol0aaaaaaaaaaaaaaa1 /srv/backups ext4 nodev,nosuid,noexec,nofail,x-systemd.makefs,x-systemd.device-timeout=10min 0 2' >> /etc/fstab"],
        ["systemctl", "daemon-reload"],
        ["systemctl", "start", "srv-backups.mount"],
      ]
    }
    error_message = "A storage host mounts its volume, made by its id, where the playbooks want it."
  }

  assert {
    condition     = alltrue([for host in aws_instance.host : host.user_data_replace_on_change])
    error_message = "A host that is to be told something else is another host: it listens once."
  }

  assert {
    condition     = aws_volume_attachment.storage["storage-1"].volume_id == aws_ebs_volume.storage["storage-1"].id && aws_volume_attachment.storage["storage-1"].stop_instance_before_detaching
    error_message = "The volume is its host's, and is let go only when nothing writes to it."
  }

  assert {
    condition     = keys(aws_ebs_volume.storage) == ["storage-1"] && aws_ebs_volume.storage["storage-1"].encrypted && aws_ebs_volume.storage["storage-1"].type == "gp3" && aws_ebs_volume.storage["storage-1"].size == 50
    error_message = "A storage host, and no other, has an encrypted gp3 volume for what it keeps."
  }
}

run "sizes_and_places" {
  command = plan

  variables {
    instance_type = "m7i.large"
    hosts = {
      web-1     = { role = "production" }
      web-2     = { role = "production", instance_type = "c7i.xlarge", disk = "40GiB" }
      web-3     = { role = "production", tags = { team = "shop" }, vars = { workers = "4" } }
      canary    = { role = "canary", zone = "eu-central-1b" }
      router-1  = { role = "router" }
      storage-1 = { role = "storage", data = "200GiB" }
      storage-2 = { role = "storage" }
    }
  }

  assert {
    condition     = { for name, volume in aws_ebs_volume.storage : name => volume.availability_zone } == { storage-1 = "eu-central-1a", storage-2 = "eu-central-1b" }
    error_message = "A volume is in its host's zone."
  }

  assert {
    condition     = { for name, host in aws_subnet.this : name => host.cidr_block } == { "eu-central-1a" = "10.80.0.0/20", "eu-central-1b" = "10.80.16.0/20" }
    error_message = "The region's first two zones are used, each a sixteenth of the network."
  }

  assert {
    condition     = local.zone_of == { web-1 = "eu-central-1a", web-2 = "eu-central-1b", web-3 = "eu-central-1a", canary = "eu-central-1b", router-1 = "eu-central-1a", storage-1 = "eu-central-1a", storage-2 = "eu-central-1b" }
    error_message = "The number at a name's end chooses the zone, unless one is given."
  }

  assert {
    condition     = aws_instance.host["web-2"].instance_type == "c7i.xlarge" && aws_instance.host["web-1"].instance_type == "m7i.large"
    error_message = "A host's own type goes before the common one."
  }

  assert {
    condition     = aws_instance.host["web-2"].root_block_device[0].volume_size == 40 && aws_ebs_volume.storage["storage-1"].size == 200
    error_message = "Disks are as large as asked for."
  }

  assert {
    condition     = output.capacity["m7i.large"] == { hosts = 6, vcpus = 12, zones = { "eu-central-1a" = 4, "eu-central-1b" = 2 } } && output.capacity["c7i.xlarge"].hosts == 1
    error_message = "The glance counts by type and zone."
  }

  assert {
    condition     = output.hosts["web-3"].tags == tomap({ team = "shop" }) && output.hosts["web-3"].vars == tomap({ workers = "4" }) && length(output.hosts["web-1"].tags) == 0
    error_message = "Ansible hears of a host's tags and variables."
  }

  assert {
    condition     = aws_instance.host["web-3"].tags["team"] == "shop" && aws_instance.host["web-3"].tags["troop:host"] == "web-3"
    error_message = "A host's tags are its instance's, too."
  }
}

run "tags" {
  command = plan

  variables {
    tags = { team = "web" }
  }

  assert {
    condition     = local.tags == { "troop:environment" = "production", "troop:module" = "aws", team = "web" }
    error_message = "Everything carries the environment, the module, and tags of one's own."
  }
}

run "arm" {
  command = plan

  variables {
    architecture  = "arm64"
    instance_type = "t4g.small"
    image         = "ubuntu-24.04"
  }

  override_data {
    target          = data.aws_ami.this
    override_during = plan
    values          = { id = "ami-0aaaaaaaaaaaaaaa2", architecture = "arm64", root_device_type = "ebs" }
  }

  override_data {
    target          = data.aws_ec2_instance_type.this
    override_during = plan
    values          = { supported_architectures = ["arm64"], hypervisor = "nitro", default_vcpus = 2 }
  }

  assert {
    condition     = data.aws_ami.this.owners == tolist(["099720109477"]) && one(data.aws_ami.this.filter).values == toset(["ubuntu/images/hvm-ssd-gp3/ubuntu-noble-24.04-arm64-server-*"])
    error_message = "The image is Canonical's, for the processor."
  }

  assert {
    condition     = alltrue([for host in aws_instance.host : host.ami == "ami-0aaaaaaaaaaaaaaa2" && host.instance_type == "t4g.small"])
    error_message = "Hosts have the processor that was asked for."
  }

  assert {
    condition     = alltrue([for host in output.hosts : host.user == "ubuntu"])
    error_message = "Ubuntu's images have a user of another name."
  }
}

run "image_by_id" {
  command = plan

  variables {
    image      = "ami-0aaaaaaaaaaaaaaa1"
    image_user = "ec2-user"
  }

  assert {
    condition     = data.aws_ami.this.owners == null && one(data.aws_ami.this.filter).name == "image-id" && data.aws_ami.this.include_deprecated
    error_message = "An image is found by its id, also when its maker has deprecated it."
  }

  assert {
    condition     = output.hosts["web-1"].user == "ec2-user"
    error_message = "The user is the given one."
  }
}

run "image_of_ones_own" {
  command = plan

  variables {
    image  = "golden"
    images = { golden = { owner = "self", name = "golden-ARCH-*", user = "ops" } }
  }

  assert {
    condition     = data.aws_ami.this.owners == tolist(["self"]) && one(data.aws_ami.this.filter).values == toset(["golden-amd64-*"]) && output.hosts["web-1"].user == "ops"
    error_message = "A team has images of its own, by name."
  }
}

run "host_keys" {
  command = plan

  variables {
    host_keys = {
      web-1 = { private = "-----BEGIN OPENSSH PRIVATE KEY-----\nnone\n-----END OPENSSH PRIVATE KEY-----", public = "ssh-ed25519 AAAAweb1 web-1\n" }
    }
  }

  assert {
    condition     = output.hosts["web-1"].host_key == "ssh-ed25519 AAAAweb1 web-1" && output.hosts["canary-1"].host_key == null
    error_message = "troop learns the public half of a given key."
  }

  assert {
    condition     = nonsensitive(yamldecode(aws_instance.host["web-1"].user_data).ssh_deletekeys) && nonsensitive(yamldecode(aws_instance.host["web-1"].user_data).ssh_keys) == { ed25519_private = "-----BEGIN OPENSSH PRIVATE KEY-----\nnone\n-----END OPENSSH PRIVATE KEY-----\n", ed25519_public = "ssh-ed25519 AAAAweb1 web-1" }
    error_message = "The host gets the key; sshd does not read one without its last line's end."
  }

  assert {
    condition     = issensitive(aws_instance.host["web-1"].user_data) && !issensitive(aws_instance.host["canary-1"].user_data) && !issensitive(output.hosts)
    error_message = "No plan shows a private key, and nothing else is hidden."
  }
}

run "behind_a_jump_host" {
  command = plan

  variables {
    jump = "ops@203.0.113.9:2222"
  }

  assert {
    condition     = alltrue([for host in output.hosts : host.jump == "ops@203.0.113.9:2222" && host.ssm == null])
    error_message = "Hosts are reached through the jump host."
  }
}

run "without_a_port" {
  command = plan

  variables {
    connection       = "ssm"
    ssh_cidrs        = []
    instance_profile = "managed"
  }

  assert {
    condition     = length(aws_security_group.all.ingress) == 0
    error_message = "No port is open for SSH."
  }

  assert {
    condition     = alltrue([for name, host in output.hosts : host.jump == null && host.ssm == { instance = aws_instance.host[name].id, region = "eu-central-1" }])
    error_message = "Hosts are reached through sessions of Systems Manager."
  }

  assert {
    condition     = alltrue([for host in aws_instance.host : host.iam_instance_profile == "managed" && strcontains(host.user_data, "latest/debian_amd64/amazon-ssm-agent.deb")])
    error_message = "Hosts have the agent, and the role that it needs."
  }

  assert {
    condition     = length(yamldecode(aws_instance.host["storage-1"].user_data).runcmd) == 5
    error_message = "A storage host also mounts its volume."
  }
}
