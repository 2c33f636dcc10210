resource "aws_s3_bucket" "backups" {
  count = var.backups.enabled ? 1 : 0

  bucket        = var.backups.bucket == "" ? null : var.backups.bucket
  bucket_prefix = var.backups.bucket == "" ? substr("${local.name}-", 0, 37) : null # S3's limit

  lifecycle {
    prevent_destroy = true
  }
}

resource "aws_s3_bucket_versioning" "backups" {
  count = var.backups.enabled ? 1 : 0

  bucket = aws_s3_bucket.backups[0].id

  versioning_configuration {
    status = "Enabled"
  }
}

resource "aws_s3_bucket_server_side_encryption_configuration" "backups" {
  count = var.backups.enabled ? 1 : 0

  bucket = aws_s3_bucket.backups[0].id

  rule {
    bucket_key_enabled = var.kms_key_arn != ""

    apply_server_side_encryption_by_default {
      sse_algorithm     = var.kms_key_arn == "" ? "AES256" : "aws:kms"
      kms_master_key_id = var.kms_key_arn == "" ? null : var.kms_key_arn
    }
  }
}

resource "aws_s3_bucket_public_access_block" "backups" {
  count = var.backups.enabled ? 1 : 0

  bucket                  = aws_s3_bucket.backups[0].id
  block_public_acls       = true
  block_public_policy     = true
  ignore_public_acls      = true
  restrict_public_buckets = true
}

resource "aws_s3_bucket_lifecycle_configuration" "backups" {
  count = var.backups.enabled ? 1 : 0

  bucket = aws_s3_bucket.backups[0].id

  rule {
    id     = "backups"
    status = "Enabled"

    filter {
      prefix = local.backups_prefix
    }

    abort_incomplete_multipart_upload {
      days_after_initiation = 7
    }

    transition {
      days          = var.backups.archive_days
      storage_class = "STANDARD_IA"
    }

    dynamic "expiration" {
      for_each = var.backups.expire_days == 0 ? [] : [var.backups.expire_days]

      content {
        days = expiration.value
      }
    }

    noncurrent_version_expiration {
      noncurrent_days = var.backups.keep_days
    }
  }

  depends_on = [aws_s3_bucket_versioning.backups]
}

resource "aws_s3_bucket_policy" "backups" {
  count = var.backups.enabled ? 1 : 0

  bucket = aws_s3_bucket.backups[0].id
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Sid       = "OnlyTLS"
      Effect    = "Deny"
      Principal = "*"
      Action    = "s3:*"
      Resource  = [aws_s3_bucket.backups[0].arn, "${aws_s3_bucket.backups[0].arn}/*"]
      Condition = { Bool = { "aws:SecureTransport" = "false" } }
    }]
  })

  depends_on = [aws_s3_bucket_public_access_block.backups]
}

locals {
  backups_prefix = "${var.environment}/"
}

resource "aws_iam_role" "backups" {
  count = var.backups.enabled ? 1 : 0

  name_prefix = "${local.name}-"
  description = "Storage hosts of ${local.name}"
  # Whoever may create roles can grant them only what the boundary allows.
  permissions_boundary = var.permissions_boundary == "" ? null : var.permissions_boundary
  assume_role_policy = jsonencode({
    Version   = "2012-10-17"
    Statement = [{ Effect = "Allow", Principal = { Service = "ec2.amazonaws.com" }, Action = "sts:AssumeRole" }]
  })
}

resource "aws_iam_role_policy" "backups" {
  count = var.backups.enabled ? 1 : 0

  name = "backups"
  role = aws_iam_role.backups[0].id
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = concat(
      [
        {
          Sid      = "Objects"
          Effect   = "Allow"
          Action   = ["s3:GetObject", "s3:PutObject"]
          Resource = "${aws_s3_bucket.backups[0].arn}/${local.backups_prefix}*"
        },
        {
          Sid       = "List"
          Effect    = "Allow"
          Action    = ["s3:ListBucket"]
          Resource  = aws_s3_bucket.backups[0].arn
          Condition = { StringLike = { "s3:prefix" = "${local.backups_prefix}*" } }
        },
      ],
      var.kms_key_arn == "" ? [] : [
        {
          Sid       = "Key"
          Effect    = "Allow"
          Action    = ["kms:Decrypt", "kms:GenerateDataKey"]
          Resource  = var.kms_key_arn
          Condition = { StringEquals = { "kms:ViaService" = "s3.${var.region}.amazonaws.com" } }
        },
      ],
    )
  })
}

resource "aws_iam_instance_profile" "backups" {
  count = var.backups.enabled ? 1 : 0

  name_prefix = "${local.name}-"
  role        = aws_iam_role.backups[0].name
}
