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

run "none_by_default" {
  command = plan

  assert {
    condition     = length(aws_s3_bucket.backups) + length(aws_iam_role.backups) + length(aws_iam_role_policy.backups) + length(aws_iam_instance_profile.backups) == 0
    error_message = "No bucket and no rights in the account unless they are asked for."
  }
}

run "bucket" {
  command = plan

  variables {
    backups              = { enabled = true, keep_days = 14, expire_days = 365 }
    permissions_boundary = "arn:aws:iam::123456789012:policy/troop-boundary"
  }

  assert {
    condition     = aws_s3_bucket.backups[0].bucket_prefix == "troop-production-" && aws_s3_bucket_versioning.backups[0].versioning_configuration[0].status == "Enabled"
    error_message = "The bucket has a name of its own and keeps versions."
  }

  assert {
    condition     = one(one(aws_s3_bucket_server_side_encryption_configuration.backups[0].rule).apply_server_side_encryption_by_default).sse_algorithm == "AES256"
    error_message = "Objects are encrypted."
  }

  assert {
    condition     = [for block in aws_s3_bucket_public_access_block.backups : block.block_public_acls && block.block_public_policy && block.ignore_public_acls && block.restrict_public_buckets] == [true]
    error_message = "The bucket cannot be made public."
  }

  assert {
    condition = [for rule in aws_s3_bucket_lifecycle_configuration.backups[0].rule : {
      status     = rule.status
      prefix     = rule.filter[0].prefix
      archived   = [for transition in rule.transition : "${transition.days} ${transition.storage_class}"]
      expired    = rule.expiration[0].days
      noncurrent = rule.noncurrent_version_expiration[0].noncurrent_days
      abandoned  = rule.abort_incomplete_multipart_upload[0].days_after_initiation
    }] == [{ status = "Enabled", prefix = "production/", archived = ["30 STANDARD_IA"], expired = 365, noncurrent = 14, abandoned = 7 }]
    error_message = "Objects move, and end, and so do uploads that were abandoned."
  }

  assert {
    condition = jsondecode(aws_iam_role_policy.backups[0].policy).Statement == [
      {
        Sid      = "Objects"
        Effect   = "Allow"
        Action   = ["s3:GetObject", "s3:PutObject"]
        Resource = "arn:aws:s3:::troop-production-1/production/*"
      },
      {
        Sid       = "List"
        Effect    = "Allow"
        Action    = ["s3:ListBucket"]
        Resource  = "arn:aws:s3:::troop-production-1"
        Condition = { StringLike = { "s3:prefix" = "production/*" } }
      },
    ]
    error_message = "Storage hosts put, get and list under the environment's name, and can do nothing else."
  }

  assert {
    condition     = [for name, host in aws_instance.host : name if host.iam_instance_profile == "troop-production-profile"] == ["storage-1"]
    error_message = "Only storage hosts have these rights."
  }

  assert {
    condition     = aws_iam_role.backups[0].permissions_boundary == "arn:aws:iam::123456789012:policy/troop-boundary"
    error_message = "The role is bounded."
  }

  assert {
    condition     = aws_iam_instance_profile.backups[0].role == aws_iam_role.backups[0].name && jsondecode(aws_iam_role.backups[0].assume_role_policy).Statement == [{ Effect = "Allow", Principal = { Service = "ec2.amazonaws.com" }, Action = "sts:AssumeRole" }]
    error_message = "EC2 alone takes the role, by the profile."
  }

  assert {
    condition = jsondecode(aws_s3_bucket_policy.backups[0].policy).Statement == [{
      Sid       = "OnlyTLS"
      Effect    = "Deny"
      Principal = "*"
      Action    = "s3:*"
      Resource  = ["arn:aws:s3:::troop-production-1", "arn:aws:s3:::troop-production-1/*"]
      Condition = { Bool = { "aws:SecureTransport" = "false" } }
    }]
    error_message = "Nobody comes without TLS."
  }
}

run "key_and_name_of_ones_own" {
  command = plan

  variables {
    backups     = { enabled = true, bucket = "example-backups" }
    kms_key_arn = "arn:aws:kms:eu-central-1:123456789012:key/01234567-89ab-cdef-0123-456789abcdef"
  }

  assert {
    condition     = aws_s3_bucket.backups[0].bucket == "example-backups" && length(aws_s3_bucket_lifecycle_configuration.backups[0].rule[0].expiration) == 0
    error_message = "The bucket has the given name, and objects never end."
  }

  assert {
    condition     = one(one(aws_s3_bucket_server_side_encryption_configuration.backups[0].rule).apply_server_side_encryption_by_default).kms_master_key_id == var.kms_key_arn && aws_ebs_volume.storage["storage-1"].kms_key_id == var.kms_key_arn && alltrue([for host in aws_instance.host : host.root_block_device[0].kms_key_id == var.kms_key_arn])
    error_message = "The given key encrypts bucket and disks."
  }

  assert {
    condition     = [for statement in jsondecode(aws_iam_role_policy.backups[0].policy).Statement : [statement.Action, statement.Resource, statement.Condition] if statement.Sid == "Key"] == [[["kms:Decrypt", "kms:GenerateDataKey"], var.kms_key_arn, { StringEquals = { "kms:ViaService" = "s3.eu-central-1.amazonaws.com" } }]]
    error_message = "Storage hosts may use the key, through S3 alone."
  }
}
