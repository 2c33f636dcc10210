# What AWS would answer.

mock_data "aws_availability_zones" {
  defaults = { names = ["eu-central-1a", "eu-central-1b", "eu-central-1c"] }
}

mock_data "aws_ami" {
  defaults = { id = "ami-0aaaaaaaaaaaaaaa1", architecture = "x86_64", root_device_type = "ebs" }
}

mock_data "aws_ec2_instance_type" {
  defaults = { supported_architectures = ["x86_64"], hypervisor = "nitro", default_vcpus = 2 }
}

mock_data "aws_subnet" {
  defaults = { vpc_id = "vpc-0aaaaaaaaaaaaaaa1", availability_zone = "eu-central-1a", map_public_ip_on_launch = true }
}

mock_resource "aws_key_pair" {
  defaults = { key_name = "troop-production-1" }
}

mock_resource "aws_security_group" {
  defaults = { id = "sg-0aaaaaaaaaaaaaaa1" }
}

mock_resource "aws_vpc" {
  defaults = { id = "vpc-0bbbbbbbbbbbbbbb1" }
}

mock_resource "aws_internet_gateway" {
  defaults = { id = "igw-0aaaaaaaaaaaaaaa1" }
}

mock_resource "aws_route_table" {
  defaults = { id = "rtb-0aaaaaaaaaaaaaaa1" }
}

mock_resource "aws_iam_role" {
  defaults = { name = "troop-production-role" }
}

mock_resource "aws_iam_instance_profile" {
  defaults = { name = "troop-production-profile" }
}

mock_resource "aws_ebs_volume" {
  defaults = { id = "vol-0aaaaaaaaaaaaaaa1" }
}

mock_resource "aws_instance" {
  defaults = { id = "i-0aaaaaaaaaaaaaaa1", private_ip = "10.80.0.10", public_ip = "198.51.100.10" }
}

mock_resource "aws_eip" {
  defaults = { id = "eipalloc-0aaaaaaaaaaaaaaa1", public_ip = "198.51.100.99" }
}

mock_resource "aws_s3_bucket" {
  defaults = { id = "troop-production-1", arn = "arn:aws:s3:::troop-production-1" }
}
