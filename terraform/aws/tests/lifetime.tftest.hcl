mock_provider "aws" {
  source = "./tests/mocks"
}

variables {
  environment    = "production"
  ssh_public_key = "ssh-ed25519 AAAA troop"
  region         = "eu-central-1"
  ssh_cidrs      = ["203.0.113.7/32"]

  # Without storage: what may not be destroyed, terraform test could not clean up.
  hosts = {
    web-1    = { role = "production" }
    web-2    = { role = "production" }
    router-1 = { role = "router" }
  }
}

run "born" {
  assert {
    condition     = aws_instance.host["web-1"].ami == "ami-0aaaaaaaaaaaaaaa1"
    error_message = "Hosts have the image of the day."
  }
}

run "newer_image" {
  command = plan

  override_data {
    target = data.aws_ami.this
    values = { id = "ami-0aaaaaaaaaaaaaaa2", architecture = "x86_64", root_device_type = "ebs" }
  }

  assert {
    condition     = alltrue([for host in aws_instance.host : host.ami == "ami-0aaaaaaaaaaaaaaa1"])
    error_message = "A newer image of the same system replaces no host."
  }
}

run "another_key" {
  command = plan

  variables {
    ssh_public_key = "ssh-ed25519 AAAA2 troop"
  }

  override_data {
    target = data.aws_ami.this
    values = { id = "ami-0aaaaaaaaaaaaaaa2", architecture = "x86_64", root_device_type = "ebs" }
  }

  assert {
    condition     = alltrue([for host in aws_instance.host : host.ami == "ami-0aaaaaaaaaaaaaaa2"])
    error_message = "Another key replaces all hosts."
  }
}

run "another_system" {
  command = plan

  variables {
    image = "ubuntu-22.04"
  }

  override_data {
    target = data.aws_ami.this
    values = { id = "ami-0aaaaaaaaaaaaaaa2", architecture = "x86_64", root_device_type = "ebs" }
  }

  assert {
    condition     = alltrue([for host in aws_instance.host : host.ami == "ami-0aaaaaaaaaaaaaaa2"])
    error_message = "Another system replaces all hosts."
  }
}

run "another_role" {
  command = plan

  variables {
    hosts = {
      web-1    = { role = "production" }
      web-2    = { role = "canary" }
      router-1 = { role = "router" }
    }
  }

  override_data {
    target = data.aws_ami.this
    values = { id = "ami-0aaaaaaaaaaaaaaa2", architecture = "x86_64", root_device_type = "ebs" }
  }

  assert {
    condition     = { for name, host in aws_instance.host : name => host.ami } == { web-1 = "ami-0aaaaaaaaaaaaaaa1", web-2 = "ami-0aaaaaaaaaaaaaaa2", router-1 = "ami-0aaaaaaaaaaaaaaa1" }
    error_message = "Another role replaces that host, with the image of the day, and no other."
  }
}
