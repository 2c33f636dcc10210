locals {
  processor = { amd64 = "x86_64", arm64 = "arm64" }[var.architecture]

  publisher = lookup(var.images, var.image, null)
  user      = var.image_user != "" ? var.image_user : local.publisher != null ? local.publisher.user : "admin"
}

data "aws_ami" "this" {
  owners      = local.publisher == null ? null : [local.publisher.owner]
  most_recent = true

  # Owners deprecate images after some time. The id stays valid until the image is removed.
  include_deprecated = local.publisher == null

  filter {
    name   = local.publisher == null ? "image-id" : "name"
    values = [local.publisher == null ? var.image : replace(local.publisher.name, "ARCH", var.architecture)]
  }

  lifecycle {
    precondition {
      condition     = local.publisher != null || startswith(var.image, "ami-")
      error_message = "There is no image ${var.image}, only ${join(", ", keys(var.images))}. Choose one of these, name yours in images, or give an id such as ami-0123456789abcdef0."
    }

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
