mock_provider "aws" {
  source          = "./tests/mocks"
  override_during = plan
}

variables {
  environment    = "production"
  ssh_public_key = "ssh-ed25519 AAAA troop"
  region         = "eu-central-1"
  ssh_cidrs      = ["203.0.113.7/32", "198.51.100.0/24"]
}

run "rules" {
  command = plan

  # Known apart, so that a rule of the wrong group is seen.
  override_resource {
    target          = aws_security_group.all
    override_during = plan
    values          = { id = "sg-all" }
  }

  override_resource {
    target          = aws_security_group.app
    override_during = plan
    values          = { id = "sg-app" }
  }

  override_resource {
    target          = aws_security_group.router
    override_during = plan
    values          = { id = "sg-router" }
  }

  override_resource {
    target          = aws_security_group.storage
    override_during = plan
    values          = { id = "sg-storage" }
  }

  assert {
    condition = toset([for rule in aws_security_group.all.ingress : "${join(",", concat(rule.cidr_blocks, tolist(rule.security_groups)))} ${rule.protocol} ${rule.from_port}-${rule.to_port} ${rule.self}"]) == toset([
      "203.0.113.7/32 tcp 22-22 false", "198.51.100.0/24 tcp 22-22 false",
    ])
    error_message = "SSH is open to the given networks, and to no other."
  }

  assert {
    condition = toset([for rule in aws_security_group.router.ingress : "${join(",", concat(rule.cidr_blocks, tolist(rule.security_groups)))} ${rule.protocol} ${rule.from_port}-${rule.to_port} ${rule.self}"]) == toset([
      "0.0.0.0/0 tcp 80-80 false", "sg-all tcp 6379-6380 false",
    ])
    error_message = "Only the router answers everybody, and only at its port; its Redis answers hosts of the environment alone."
  }

  assert {
    condition     = [for rule in aws_security_group.app.ingress : "${join(",", concat(rule.cidr_blocks, tolist(rule.security_groups)))} ${rule.protocol} ${rule.from_port}-${rule.to_port} ${rule.self}"] == ["sg-router tcp 3000-3039 false"]
    error_message = "The application answers the router alone, at the ports of its services."
  }

  assert {
    condition     = [for rule in aws_security_group.storage.ingress : "${join(",", concat(rule.cidr_blocks, tolist(rule.security_groups)))} ${rule.protocol} ${rule.from_port}-${rule.to_port} ${rule.self}"] == ["sg-all tcp 22-22 false"]
    error_message = "Storage takes uploads over SSH, from hosts of the environment alone."
  }

  assert {
    condition = toset([for rule in aws_security_group.all.egress : "${join(",", concat(rule.cidr_blocks, tolist(rule.security_groups)))} ${rule.protocol} ${rule.self}"]) == toset([
      " -1 true", "0.0.0.0/0 -1 false",
    ])
    error_message = "Hosts reach each other and their package mirrors."
  }

  assert {
    condition     = length(aws_security_group.app.egress) + length(aws_security_group.router.egress) + length(aws_security_group.storage.egress) == 0
    error_message = "The groups of the roles own their outgoing rules, too, and have none."
  }

  assert {
    condition = { for name, host in aws_instance.host : name => host.vpc_security_group_ids } == {
      web-1     = toset(["sg-all", "sg-app"])
      canary-1  = toset(["sg-all", "sg-app"])
      router-1  = toset(["sg-all", "sg-router"])
      storage-1 = toset(["sg-all", "sg-storage"])
    }
    error_message = "A host is in the common group and in that of its role."
  }
}

run "other_ports_and_clients" {
  command = plan

  variables {
    app_port        = 8000
    router_port     = 8080
    router_tls_port = 443
    client_cidrs    = ["10.0.0.0/8"]
    egress_cidrs    = []
  }

  assert {
    condition     = [for rule in aws_security_group.app.ingress : "${rule.from_port}-${rule.to_port}"] == ["8000-8039"]
    error_message = "Rules follow app_port."
  }

  assert {
    condition     = [for rule in aws_security_group.router.ingress : "${rule.cidr_blocks[0]} ${rule.from_port}-${rule.to_port}" if length(rule.cidr_blocks) > 0] == ["10.0.0.0/8 443-443", "10.0.0.0/8 8080-8080"]
    error_message = "Rules follow router_port, router_tls_port and client_cidrs."
  }

  assert {
    condition     = [for rule in aws_security_group.all.egress : rule.self] == [true]
    error_message = "Without egress_cidrs hosts reach only each other."
  }
}
