locals {
  processor = { amd64 = "x86_64", arm64 = "arm64" }[var.architecture]

  # Their makers publish the accounts: https://wiki.debian.org/Cloud/AmazonEC2Image,
  # https://documentation.ubuntu.com/aws/aws-how-to/instances/find-ubuntu-images/
  publishers = {
    "debian-12"    = { owner = "136693071363", name = "debian-12-${var.architecture}-*", user = "admin" }
    "ubuntu-22.04" = { owner = "099720109477", name = "ubuntu/images/hvm-ssd/ubuntu-jammy-22.04-${var.architecture}-server-*", user = "ubuntu" }
    "ubuntu-24.04" = { owner = "099720109477", name = "ubuntu/images/hvm-ssd-gp3/ubuntu-noble-24.04-${var.architecture}-server-*", user = "ubuntu" }
  }
  publisher = try(local.publishers[var.image], null)
  user      = coalesce(var.image_user, try(local.publisher.user, "admin"))
}

data "aws_ami" "this" {
  owners      = local.publisher == null ? null : [local.publisher.owner]
  most_recent = true

  # Makers deprecate an image after a time. Its id stays good until they remove it.
  include_deprecated = local.publisher == null

  filter {
    name   = local.publisher == null ? "image-id" : "name"
    values = [local.publisher == null ? var.image : local.publisher.name]
  }

  lifecycle {
    postcondition {
      condition     = self.architecture == local.processor
      error_message = "Image ${self.id} is for ${self.architecture}. Choose another image, or set architecture."
    }

    postcondition {
      condition     = self.root_device_type == "ebs"
      error_message = "Image ${self.id} has no EBS root volume, which hosts need to survive a stop. Choose another image."
    }
  }
}
