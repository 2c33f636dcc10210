# Run by `go test -tags lab ./core/terraform`, which gives Terraform the provider. No host is made.

mock_provider "lab" {
  mock_resource "lab_roster" {
    defaults = {
      addresses = { web-1 = "10.64.0.10", canary-1 = "10.64.0.11", router-1 = "10.64.0.12", storage-1 = "10.64.0.13" }
    }
  }
}

variables {
  environment    = "lab"
  ssh_public_key = "ssh-ed25519 AAAA test"
}

run "four_hosts_by_default" {
  assert {
    condition     = { for name, host in output.hosts : name => host.role } == { web-1 = "production", canary-1 = "canary", router-1 = "router", storage-1 = "storage" }
    error_message = "The default lab has one host of each role."
  }

  assert {
    condition     = alltrue([for host in output.hosts : host.user == "root" && host.port == 22 && host.host_key != "" && host.address == host.private_address])
    error_message = "The output is what troop asks of a root module."
  }

  assert {
    condition     = output.capacity == { lab = { hosts = 4, cpus = 4, memory = "2048MiB", disk = "8192MiB" } }
    error_message = "The glance before an apply says what the hosts take."
  }

  assert {
    condition     = can(regex("^10\\.(6[4-9]|[7-9][0-9]|1[01][0-9]|12[0-7])\\.[0-9]+\\.0/24$", lab_roster.this.subnet))
    error_message = "The subnet is a /24 of 10.64.0.0/10."
  }
}

run "one_host_with_all_roles" {
  variables {
    hosts = { web-1 = { roles = ["router", "production", "canary"] } }
  }

  assert {
    condition     = output.hosts["web-1"].roles == tolist(["router", "production", "canary"]) && lab_host.this["web-1"].role == "router production canary"
    error_message = "One server is an environment."
  }
}

run "a_host_without_a_role" {
  command = plan

  variables {
    hosts = { web-1 = {} }
  }

  expect_failures = [var.hosts]
}

run "a_team_has_one_lab" {
  command = plan

  variables {
    troop_project = "s3 our-troop shop/lab"
  }

  assert {
    condition     = lab_roster.this.lab == substr(sha256("s3 our-troop shop/lab"), 0, 8)
    error_message = "The lab of a shared store is named by the store, not by a member's folder."
  }
}

run "a_subnet_of_ones_own" {
  command = plan

  variables {
    subnet = "172.30.5.0/24"
  }

  assert {
    condition     = lab_roster.this.subnet == "172.30.5.0/24"
    error_message = "The given subnet is used."
  }
}

run "tags_and_variables" {
  command = plan

  variables {
    hosts = { web-1 = { role = "production", tags = { team = "shop" }, vars = { workers = "4" } } }
  }

  assert {
    condition     = output.hosts["web-1"].tags == tomap({ team = "shop" }) && output.hosts["web-1"].vars == tomap({ workers = "4" })
    error_message = "Ansible hears of a host's tags and variables."
  }
}

run "subnet_of_another_size" {
  command = plan

  variables {
    subnet = "172.16.0.0/12"
  }

  expect_failures = [var.subnet]
}

run "unknown_role" {
  command = plan

  variables {
    hosts = { web-1 = { role = "database" } }
  }

  expect_failures = [var.hosts]
}

run "size_without_unit" {
  command = plan

  variables {
    hosts = { web-1 = { role = "production", memory = "512" } }
  }

  expect_failures = [var.hosts]
}

run "name_that_is_none" {
  command = plan

  variables {
    hosts = { "Web_1" = { role = "production" } }
  }

  expect_failures = [var.hosts]
}

run "key_that_is_none" {
  command = plan

  variables {
    ssh_public_key = "-----BEGIN OPENSSH PRIVATE KEY-----"
  }

  expect_failures = [var.ssh_public_key]
}
