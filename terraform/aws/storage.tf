# A storage host's data is on a separate volume, which survives the host.
resource "aws_ebs_volume" "storage" {
  for_each = local.storages

  availability_zone = local.zone_of[each.key]
  type              = "gp3"
  size              = tonumber(trimsuffix(each.value.data, "GiB"))
  encrypted         = true
  kms_key_id        = var.kms_key_arn == "" ? null : var.kms_key_arn
  tags              = { Name = "${local.name}-${each.key}-data", "troop:data" = each.key }

  lifecycle {
    prevent_destroy = true

    precondition {
      condition     = data.aws_ec2_instance_type.this[local.types[each.key]].hypervisor == "nitro"
      error_message = "Host ${each.key} is of type ${local.types[each.key]}, which does not expose the ids of volumes. Choose a type on the Nitro system, such as t3.small."
    }
  }
}

resource "aws_volume_attachment" "storage" {
  for_each = local.storages

  device_name                    = "/dev/sdf"
  volume_id                      = aws_ebs_volume.storage[each.key].id
  instance_id                    = aws_instance.host[each.key].id
  stop_instance_before_detaching = true # no writes while the host is replaced
}
