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

run "vpc_of_its_own" {
  command = plan

  assert {
    condition     = length(aws_vpc.this) == 1 && aws_vpc.this[0].cidr_block == "10.80.0.0/16" && aws_vpc.this[0].enable_dns_hostnames && aws_vpc.this[0].enable_dns_support && length(data.aws_subnet.given) == 0
    error_message = "Without subnets there is a VPC of the environment's own."
  }

  assert {
    condition     = keys(aws_subnet.this) == ["eu-central-1a", "eu-central-1b"] && alltrue([for subnet in aws_subnet.this : subnet.map_public_ip_on_launch])
    error_message = "It has a subnet in each of two zones, which gives public addresses."
  }

  assert {
    condition     = aws_route.internet[0].destination_cidr_block == "0.0.0.0/0" && aws_route.internet[0].gateway_id == aws_internet_gateway.this[0].id && alltrue([for a in aws_route_table_association.this : a.route_table_id == aws_route_table.this[0].id]) && keys(aws_route_table_association.this) == keys(aws_subnet.this)
    error_message = "Every subnet has the way out."
  }

  assert {
    condition     = one(data.aws_availability_zones.this[0].filter).values == toset(["opt-in-not-required"])
    error_message = "Local zones are left out."
  }

  assert {
    condition     = keys(aws_eip.router) == ["router-1"] && aws_eip.router["router-1"].domain == "vpc" && aws_eip_association.router["router-1"].instance_id == aws_instance.host["router-1"].id && aws_eip_association.router["router-1"].allocation_id == aws_eip.router["router-1"].id
    error_message = "The router, and no other, has an elastic address."
  }
}

run "zones_by_letter" {
  command = plan

  variables {
    vpc_cidr = "172.30.0.0/20"
    zones    = ["eu-central-1c", "eu-central-1b"]
  }

  assert {
    condition     = { for zone, subnet in aws_subnet.this : zone => subnet.cidr_block } == { "eu-central-1b" = "172.30.1.0/24", "eu-central-1c" = "172.30.2.0/24" }
    error_message = "A zone's part of the network does not depend on the other zones."
  }

  assert {
    condition     = local.zone_of["web-1"] == "eu-central-1c"
    error_message = "The first zone is the one named first."
  }
}

run "existing_subnets" {
  command = plan

  variables {
    subnet_ids = ["subnet-0aaaaaaaaaaaaaaa1", "subnet-0aaaaaaaaaaaaaaa2"]
    hosts = {
      web-1    = { role = "production" }
      web-2    = { role = "production" }
      router-1 = { role = "router" }
    }
  }

  override_data {
    target          = data.aws_subnet.given["subnet-0aaaaaaaaaaaaaaa2"]
    override_during = plan
    values          = { id = "subnet-0aaaaaaaaaaaaaaa2", vpc_id = "vpc-0aaaaaaaaaaaaaaa1", availability_zone = "eu-central-1b", map_public_ip_on_launch = true }
  }

  assert {
    condition     = length(aws_vpc.this) + length(aws_subnet.this) + length(aws_internet_gateway.this) + length(aws_route_table.this) + length(aws_route.internet) == 0
    error_message = "Nothing of the network is made."
  }

  assert {
    condition     = aws_instance.host["web-1"].subnet_id == "subnet-0aaaaaaaaaaaaaaa1" && aws_instance.host["web-2"].subnet_id == "subnet-0aaaaaaaaaaaaaaa2"
    error_message = "Hosts are in the given subnets, over their zones."
  }

  assert {
    condition     = alltrue([for group in [aws_security_group.all, aws_security_group.router, aws_security_group.app, aws_security_group.storage] : group.vpc_id == "vpc-0aaaaaaaaaaaaaaa1"])
    error_message = "Groups are of the subnets' VPC."
  }
}

run "private_addresses" {
  command = plan

  variables {
    subnet_ids       = ["subnet-0aaaaaaaaaaaaaaa1"]
    public_addresses = false
  }

  assert {
    condition     = alltrue([for host in output.hosts : host.address == "10.80.0.10"]) && length(aws_eip.router) == 0
    error_message = "All hosts, the router too, are reached at private addresses."
  }
}

run "private_addresses_need_a_way_out" {
  command = plan

  variables {
    public_addresses = false
  }

  expect_failures = [aws_instance.host]
}

run "subnet_without_public_addresses" {
  command = plan

  variables {
    subnet_ids = ["subnet-0aaaaaaaaaaaaaaa1"]
  }

  override_data {
    target          = data.aws_subnet.given
    override_during = plan
    values          = { vpc_id = "vpc-0aaaaaaaaaaaaaaa1", availability_zone = "eu-central-1a", map_public_ip_on_launch = false }
  }

  expect_failures = [aws_instance.host["web-1"], aws_instance.host["canary-1"], aws_instance.host["storage-1"]]
}

run "subnets_of_two_vpcs" {
  command = plan

  variables {
    subnet_ids = ["subnet-0aaaaaaaaaaaaaaa1", "subnet-0aaaaaaaaaaaaaaa2"]
  }

  override_data {
    target          = data.aws_subnet.given["subnet-0aaaaaaaaaaaaaaa2"]
    override_during = plan
    values          = { vpc_id = "vpc-0aaaaaaaaaaaaaaa2", availability_zone = "eu-central-1b", map_public_ip_on_launch = true }
  }

  expect_failures = [aws_security_group.all]
}

run "zone_without_subnet" {
  command = plan

  variables {
    hosts = {
      web-1    = { role = "production", zone = "eu-central-1c" }
      router-1 = { role = "router" }
    }
  }

  expect_failures = [aws_instance.host["web-1"]]
}

run "zone_of_another_region" {
  command = plan

  variables {
    zones = ["us-east-1a"]
  }

  expect_failures = [aws_subnet.this]
}
