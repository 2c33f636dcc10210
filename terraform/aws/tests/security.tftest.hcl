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
    target          = aws_security_group.host
    override_during = plan
    values          = { id = "sg-host" }
  }

  override_resource {
    target          = aws_security_group.role["app"]
    override_during = plan
    values          = { id = "sg-app" }
  }

  override_resource {
    target          = aws_security_group.role["router"]
    override_during = plan
    values          = { id = "sg-router" }
  }

  override_resource {
    target          = aws_security_group.role["storage"]
    override_during = plan
    values          = { id = "sg-storage" }
  }

  assert {
    condition = { for cidr, rule in aws_vpc_security_group_ingress_rule.ssh : cidr => "${rule.security_group_id} ${rule.cidr_ipv4} ${rule.ip_protocol} ${rule.from_port}-${rule.to_port}" } == {
      "203.0.113.7/32"  = "sg-host 203.0.113.7/32 tcp 22-22"
      "198.51.100.0/24" = "sg-host 198.51.100.0/24 tcp 22-22"
    }
    error_message = "SSH is open to the given networks, and to no other."
  }

  assert {
    condition = { for cidr, rule in aws_vpc_security_group_ingress_rule.clients : cidr => "${rule.security_group_id} ${rule.cidr_ipv4} ${rule.ip_protocol} ${rule.from_port}-${rule.to_port}" } == {
      "0.0.0.0/0" = "sg-router 0.0.0.0/0 tcp 80-80"
    }
    error_message = "Only the router answers everybody, and only at its port."
  }

  assert {
    condition     = [for rule in [aws_vpc_security_group_ingress_rule.app] : "${rule.security_group_id} ${rule.referenced_security_group_id} ${rule.ip_protocol} ${rule.from_port}-${rule.to_port}" if rule.cidr_ipv4 == null] == ["sg-app sg-router tcp 3000-3001"]
    error_message = "The application answers the router alone, at both slots."
  }

  assert {
    condition     = [for rule in [aws_vpc_security_group_ingress_rule.redis] : "${rule.security_group_id} ${rule.referenced_security_group_id} ${rule.ip_protocol} ${rule.from_port}-${rule.to_port}" if rule.cidr_ipv4 == null] == ["sg-router sg-host tcp 6379-6379"]
    error_message = "Redis answers hosts of the environment alone."
  }

  assert {
    condition     = [for rule in [aws_vpc_security_group_ingress_rule.storage] : "${rule.security_group_id} ${rule.referenced_security_group_id} ${rule.ip_protocol} ${rule.from_port}-${rule.to_port}" if rule.cidr_ipv4 == null] == ["sg-storage sg-host tcp 22-22"]
    error_message = "Storage takes uploads over SSH, from hosts of the environment alone."
  }

  assert {
    condition     = [aws_vpc_security_group_egress_rule.hosts.security_group_id, aws_vpc_security_group_egress_rule.hosts.referenced_security_group_id, aws_vpc_security_group_egress_rule.hosts.ip_protocol] == ["sg-host", "sg-host", "-1"]
    error_message = "Hosts reach each other."
  }

  assert {
    condition     = [for rule in aws_vpc_security_group_egress_rule.outside : rule.cidr_ipv4] == ["0.0.0.0/0"]
    error_message = "Hosts reach their package mirrors."
  }

  assert {
    condition = { for name, host in aws_instance.host : name => host.vpc_security_group_ids } == {
      web-1     = toset(["sg-host", "sg-app"])
      canary-1  = toset(["sg-host", "sg-app"])
      router-1  = toset(["sg-host", "sg-router"])
      storage-1 = toset(["sg-host", "sg-storage"])
    }
    error_message = "A host is in the common group and in that of its role."
  }
}

run "other_ports_and_clients" {
  command = plan

  variables {
    app_port     = 8000
    router_port  = 443
    client_cidrs = ["10.0.0.0/8"]
    egress_cidrs = []
  }

  assert {
    condition     = aws_vpc_security_group_ingress_rule.app.from_port == 8000 && aws_vpc_security_group_ingress_rule.app.to_port == 8001
    error_message = "Rules follow app_port."
  }

  assert {
    condition     = [for rule in aws_vpc_security_group_ingress_rule.clients : "${rule.cidr_ipv4} ${rule.from_port}-${rule.to_port}"] == ["10.0.0.0/8 443-443"]
    error_message = "Rules follow router_port and client_cidrs."
  }

  assert {
    condition     = length(aws_vpc_security_group_egress_rule.outside) == 0
    error_message = "Without egress_cidrs hosts reach only each other."
  }
}
