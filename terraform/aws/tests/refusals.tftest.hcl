mock_provider "aws" {
  source          = "./tests/mocks"
  override_during = plan
}

variables {
  environment    = "production"
  ssh_public_key = "ssh-ed25519 AAAA troop"
  region         = "eu-central-1"
  ssh_cidrs      = ["203.0.113.7/32"]
}

# Each value breaks one rule of its variable.

run "wrong_at_all" {
  command = plan

  variables {
    environment          = "Production"
    ssh_public_key       = "-----BEGIN OPENSSH PRIVATE KEY-----"
    region               = "eu-central-1a"
    ssh_cidrs            = ["anywhere"]
    connection           = "telnet"
    jump                 = "-oProxyCommand=x"
    instance_profile     = "arn:aws:iam::123456789012:instance-profile/x"
    instance_type        = "small"
    architecture         = "x86_64"
    image                = "Windows"
    images               = { debian-12 = { owner = "debian", name = "debian-12-ARCH-*", user = "admin" } }
    image_user           = "-l root"
    hosts                = { web-1 = { role = "database" }, router-1 = { role = "router" } }
    vpc_cidr             = "10.80.0.0/8"
    zones                = ["a"]
    subnet_ids           = ["10.80.0.0/20"]
    client_cidrs         = ["everybody"]
    egress_cidrs         = ["::/0"]
    router_port          = 0
    app_port             = 80
    kms_key_arn          = "alias/backups"
    backups              = { bucket = "Backups" }
    permissions_boundary = "boundary"
    tags                 = { Name = "mine" }
    host_keys            = { web-1 = { private = "ssh-ed25519 AAAA", public = "ssh-ed25519 AAAA" } }
  }

  expect_failures = [var.environment, var.ssh_public_key, var.region, var.ssh_cidrs, var.connection, var.jump, var.instance_profile, var.instance_type, var.architecture, var.image, var.images, var.image_user, var.hosts, var.vpc_cidr, var.zones, var.subnet_ids, var.client_cidrs, var.egress_cidrs, var.router_port, var.app_port, var.kms_key_arn, var.backups, var.permissions_boundary, var.tags, var.host_keys]
}

run "wrong_in_detail" {
  command = plan

  variables {
    ssh_public_key = "ecdsa-sha2-nistp256 AAAA"
    ssh_cidrs      = ["203.0.113.7/24"]
    hosts          = { "Web_1" = { role = "production" }, router-1 = { role = "router" } }
    vpc_cidr       = "10.80.1.0/16"
    zones          = ["eu-central-1a", "eu-central-1a"]
    router_port    = 80.5
    app_port       = 65535
    backups        = { keep_days = 0 }
    tags           = { "troop:role" = "mine" }
    host_keys      = { web-1 = { private = "-----BEGIN OPENSSH PRIVATE KEY-----\n", public = "ssh-rsa AAAA" } }
  }

  expect_failures = [var.ssh_public_key, var.ssh_cidrs, var.hosts, var.vpc_cidr, var.zones, var.router_port, var.app_port, var.backups, var.tags, var.host_keys]
}

run "wrong_in_size" {
  command = plan

  variables {
    ssh_cidrs = ["0.0.0.0/0"]
    hosts     = { web-1 = { role = "production", instance_type = "small" }, router-1 = { role = "router" } }
    vpc_cidr  = "10.80.0.0/25"
    backups   = { archive_days = 7 }
  }

  expect_failures = [var.ssh_cidrs, var.hosts, var.vpc_cidr, var.backups]
}

run "wrong_in_kind" {
  command = plan

  variables {
    ssh_cidrs = ["2001:db8::/32"]
    hosts     = { web-1 = { role = "production", zone = "b" }, router-1 = { role = "router" } }
    backups   = { archive_days = 60, expire_days = 30 }
  }

  expect_failures = [var.ssh_cidrs, var.hosts, var.backups]
}

run "tag_of_troops_own" {
  command = plan

  variables {
    hosts = { web-1 = { role = "production", tags = { "troop:role" = "router" } }, router-1 = { role = "router" } }
  }

  expect_failures = [var.hosts]
}

run "disk_without_unit" {
  command = plan

  variables {
    hosts = { web-1 = { role = "production", disk = "40" }, router-1 = { role = "router" } }
  }

  expect_failures = [var.hosts]
}

run "disk_too_small" {
  command = plan

  variables {
    hosts = { web-1 = { role = "production", disk = "4GiB" }, router-1 = { role = "router" } }
  }

  expect_failures = [var.hosts]
}

run "data_too_large" {
  command = plan

  variables {
    hosts = { storage-1 = { role = "storage", data = "20000GiB" }, router-1 = { role = "router" } }
  }

  expect_failures = [var.hosts]
}

run "no_router" {
  command = plan

  variables {
    hosts = { web-1 = { role = "production" } }
  }

  expect_failures = [var.hosts]
}

run "processor_of_another_kind" {
  command = plan

  variables {
    architecture = "arm64"
  }

  expect_failures = [data.aws_ami.this, data.aws_ec2_instance_type.this]
}

run "image_without_disk" {
  command = plan

  override_data {
    target          = data.aws_ami.this
    override_during = plan
    values          = { architecture = "x86_64", root_device_type = "instance-store" }
  }

  expect_failures = [data.aws_ami.this]
}

run "storage_on_an_old_type" {
  command = plan

  override_data {
    target          = data.aws_ec2_instance_type.this
    override_during = plan
    values          = { supported_architectures = ["x86_64"], hypervisor = "xen", default_vcpus = 1 }
  }

  expect_failures = [aws_ebs_volume.storage["storage-1"]]
}

run "image_that_nobody_named" {
  command = plan

  variables {
    image = "debian-11"
  }

  expect_failures = [data.aws_ami.this]
}

run "nobody_gets_in" {
  command = plan

  variables {
    ssh_cidrs = []
  }

  expect_failures = [aws_security_group.all]
}

run "two_ways_in" {
  command = plan

  variables {
    connection = "ssm"
    jump       = "ops@203.0.113.9"
  }

  expect_failures = [aws_security_group.all]
}
