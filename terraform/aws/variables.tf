variable "environment" {
  description = "Name of the environment. Set by troop."
  type        = string
  nullable    = false

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{0,30}$", var.environment))
    error_message = "Use a letter, then letters, digits and dashes, at most 31 in all, lower case."
  }
}

variable "ssh_public_key" {
  description = "SSH public key for the hosts, in authorized_keys format. Set by troop."
  type        = string
  nullable    = false

  validation {
    condition     = can(regex("^ssh-(ed25519|rsa) [^\n]+$", trimspace(var.ssh_public_key)))
    error_message = "Give one line as in the file that ssh-keygen names *.pub. EC2 accepts the types ed25519 and rsa."
  }
}

variable "region" {
  description = "AWS region, such as eu-central-1."
  type        = string
  nullable    = false

  validation {
    condition     = can(regex("^[a-z]{2}(-[a-z]+)+-[0-9]$", var.region))
    error_message = "Give a region's code, such as eu-central-1, not a zone or a place. `aws ec2 describe-regions` lists them."
  }
}

variable "ssh_cidrs" {
  description = "IPv4 networks that may use SSH, such as 203.0.113.7/32 for one machine. Must include the machine that runs troop, or the jump host; may be empty with connection = \"ssm\"."
  type        = list(string)
  nullable    = false

  validation {
    condition     = alltrue([for cidr in var.ssh_cidrs : can(cidrnetmask(cidr)) && try(cidrsubnet(cidr, 0, 0) == cidr, false)])
    error_message = "Give IPv4 networks by their first address and length, such as 203.0.113.0/24 or 203.0.113.7/32."
  }

  validation {
    condition     = alltrue([for cidr in var.ssh_cidrs : try(tonumber(split("/", cidr)[1]) >= 8, true)])
    error_message = "SSH is not opened to more than a /8. Name the networks that need it."
  }
}

variable "connection" {
  description = "How troop reaches the hosts: ssh, or ssm, SSH through a session of AWS Systems Manager, for which no port is open. The latter needs an instance_profile, or the account's Default Host Management Configuration."
  type        = string
  nullable    = false
  default     = "ssh"

  validation {
    condition     = contains(["ssh", "ssm"], var.connection)
    error_message = "A connection is ssh or ssm."
  }
}

variable "jump" {
  description = "Host to connect through, such as ops@bastion.example.com, as ProxyJump of ssh_config. Empty: none."
  type        = string
  nullable    = false
  default     = ""

  validation {
    condition     = var.jump == "" || can(regex("^[A-Za-z0-9_][A-Za-z0-9_.@:,/-]*$", var.jump))
    error_message = "Give USER@HOST:PORT, or several of them, separated by commas."
  }
}

variable "instance_profile" {
  description = "Name of an existing instance profile for the hosts, such as one whose role has AmazonSSMManagedInstanceCore. Storage hosts with backups have their own instead. Empty: none."
  type        = string
  nullable    = false
  default     = ""

  validation {
    condition     = can(regex("^[A-Za-z0-9+=,.@_-]{0,128}$", var.instance_profile))
    error_message = "Give the profile's name, not its ARN. `aws iam list-instance-profiles` lists them."
  }
}

variable "instance_type" {
  description = "Default instance type of the hosts."
  type        = string
  nullable    = false
  default     = "t3.small"

  validation {
    condition     = can(regex("^[a-z0-9-]+\\.[a-z0-9-]+$", var.instance_type))
    error_message = "Give a type such as t3.small. `aws ec2 describe-instance-types` lists them."
  }
}

variable "architecture" {
  description = "Architecture of all hosts: amd64, or arm64 for types such as t4g.small."
  type        = string
  nullable    = false
  default     = "amd64"

  validation {
    condition     = contains(["amd64", "arm64"], var.architecture)
    error_message = "An architecture is amd64 or arm64."
  }
}

variable "image" {
  description = "Image of the hosts: a name in images, of which each new host gets the newest, or an image's id. Another value replaces all hosts."
  type        = string
  nullable    = false
  default     = "debian-12"

  validation {
    condition     = can(regex("^(ami-[0-9a-f]{8,17}|[a-z][a-z0-9.-]*)$", var.image))
    error_message = "An image is debian-12, ubuntu-22.04, ubuntu-24.04, a name of your own in images, or an id such as ami-0123456789abcdef0."
  }
}

# Debian and Canonical publish their accounts: https://wiki.debian.org/Cloud/AmazonEC2Image,
# https://documentation.ubuntu.com/aws/aws-how-to/instances/find-ubuntu-images/
variable "images" {
  description = "Images by name: the owner's account, the image's name there, with ARCH for the architecture and * for any text, and the SSH user."
  type = map(object({
    owner = string
    name  = string
    user  = string
  }))
  nullable = false
  default = {
    "debian-12"    = { owner = "136693071363", name = "debian-12-ARCH-*", user = "admin" }
    "ubuntu-22.04" = { owner = "099720109477", name = "ubuntu/images/hvm-ssd/ubuntu-jammy-22.04-ARCH-server-*", user = "ubuntu" }
    "ubuntu-24.04" = { owner = "099720109477", name = "ubuntu/images/hvm-ssd-gp3/ubuntu-noble-24.04-ARCH-server-*", user = "ubuntu" }
  }

  validation {
    condition     = alltrue([for image in var.images : can(regex("^([0-9]{12}|self|amazon|aws-marketplace)$", image.owner)) && can(regex("^[a-z_][a-z0-9_-]{0,31}$", image.user))])
    error_message = "An owner is an account of 12 digits, self or amazon; a user is the image's default user, such as admin."
  }
}

variable "image_user" {
  description = "SSH user with sudo. Empty: the image's user in images, or admin for an image's id."
  type        = string
  nullable    = false
  default     = ""

  validation {
    condition     = var.image_user == "" || can(regex("^[a-z_][a-z0-9_-]{0,31}$", var.image_user))
    error_message = "Give the image's default user, such as admin, ubuntu or ec2-user."
  }
}

variable "hosts" {
  description = "The hosts by name. An instance type or zone that is not given follows instance_type and the number at the name's end. The disk is the root volume, data the volume of a storage host, both in GiB. Tags are the instance's, and become groups of the inventory; vars become its host variables."
  type = map(object({
    role          = string
    instance_type = optional(string, "")
    zone          = optional(string, "")
    disk          = optional(string, "20GiB")
    data          = optional(string, "50GiB")
    tags          = optional(map(string), {})
    vars          = optional(map(string), {})
  }))
  nullable = false
  default = {
    web-1     = { role = "production" }
    canary-1  = { role = "canary" }
    router-1  = { role = "router" }
    storage-1 = { role = "storage" }
  }

  validation {
    condition     = alltrue([for host in var.hosts : contains(["production", "canary", "router", "storage"], host.role)])
    error_message = "A role is production, canary, router or storage."
  }

  validation {
    condition     = alltrue([for name, _ in var.hosts : can(regex("^[a-z]([a-z0-9-]{0,30}[a-z0-9])?$", name))])
    error_message = "A host's name is a letter, then letters, digits and dashes, at most 32 in all, lower case."
  }

  validation {
    condition     = alltrue([for host in var.hosts : host.instance_type == "" || can(regex("^[a-z0-9-]+\\.[a-z0-9-]+$", host.instance_type))])
    error_message = "An instance type is one such as t3.small. `aws ec2 describe-instance-types` lists them."
  }

  validation {
    condition     = alltrue([for host in var.hosts : host.zone == "" || can(regex("^[a-z]{2}(-[a-z]+)+-[0-9][a-z]$", host.zone))])
    error_message = "A zone is the region and a letter, such as eu-central-1a."
  }

  validation {
    condition = alltrue(flatten([
      for host in var.hosts : [for size in [host.disk, host.data] : can(regex("^[1-9][0-9]{0,4}GiB$", size)) && try(tonumber(trimsuffix(size, "GiB")) <= 16384, false)]
    ]))
    error_message = "Disk and data are whole numbers of GiB, at most 16384, such as 20GiB."
  }

  validation {
    condition     = alltrue([for host in var.hosts : try(tonumber(trimsuffix(host.disk, "GiB")) >= 8, true)])
    error_message = "A disk has at least 8GiB: images do not fit on less."
  }

  validation {
    condition     = alltrue(flatten([for host in var.hosts : [for key, _ in host.tags : key != "Name" && !can(regex("^(aws|troop):", lower(key)))]]))
    error_message = "The tag Name and tags that start with aws: or troop: are reserved."
  }

  validation {
    condition     = length([for host in var.hosts : host if host.role == "router"]) == 1
    error_message = "An environment has exactly one router, which also keeps its flags and events."
  }
}

variable "host_keys" {
  description = "SSH host keys by host, in the forms that ssh-keygen -t ed25519 writes. They are pinned from the first connection on. They end up in the state and in the host's user data; another key replaces the host."
  type = map(object({
    private = string
    public  = string
  }))
  nullable  = false
  sensitive = true
  default   = {}

  validation {
    condition = alltrue([
      for key in var.host_keys : startswith(key.private, "-----BEGIN OPENSSH PRIVATE KEY-----\n") && can(regex("^ssh-ed25519 [A-Za-z0-9+/=]+( [^\n]*)?\n?$", key.public))
    ])
    error_message = "Give both files of `ssh-keygen -t ed25519 -N '' -f FILE`: FILE as private, FILE.pub as public."
  }
}

variable "vpc_cidr" {
  description = "IPv4 network of the new VPC, without subnet_ids. Each zone gets a sixteenth of it."
  type        = string
  nullable    = false
  default     = "10.80.0.0/16"

  validation {
    condition     = can(cidrnetmask(var.vpc_cidr)) && try(cidrsubnet(var.vpc_cidr, 0, 0) == var.vpc_cidr && contains(range(16, 25), tonumber(split("/", var.vpc_cidr)[1])), false)
    error_message = "Give an IPv4 network from /16 to /24 by its first address, such as 10.80.0.0/16."
  }
}

variable "zones" {
  description = "Zones of the new VPC. Empty: the region's first two."
  type        = list(string)
  nullable    = false
  default     = []

  validation {
    condition     = alltrue([for zone in var.zones : can(regex("^[a-z]{2}(-[a-z]+)+-[0-9][a-z]$", zone))]) && length(distinct(var.zones)) == length(var.zones)
    error_message = "A zone is the region and a letter, such as eu-central-1a, and named once."
  }
}

variable "subnet_ids" {
  description = "Existing subnets of one VPC, instead of a new VPC. Hosts are in the subnets' zones."
  type        = list(string)
  nullable    = false
  default     = []

  validation {
    condition     = alltrue([for id in var.subnet_ids : can(regex("^subnet-[0-9a-f]{8,17}$", id))])
    error_message = "A subnet's id looks like subnet-0123456789abcdef0. `aws ec2 describe-subnets` lists them."
  }
}

variable "public_addresses" {
  description = "Whether hosts have public addresses, and the router an elastic one. Otherwise troop needs a VPN or a machine in the VPC, and subnet_ids with internet access."
  type        = bool
  nullable    = false
  default     = true
}

variable "client_cidrs" {
  description = "IPv4 networks that may access the application on the router."
  type        = list(string)
  nullable    = false
  default     = ["0.0.0.0/0"]

  validation {
    condition     = alltrue([for cidr in var.client_cidrs : can(cidrnetmask(cidr)) && try(cidrsubnet(cidr, 0, 0) == cidr, false)])
    error_message = "Give IPv4 networks by their first address and length, such as 203.0.113.0/24."
  }
}

variable "egress_cidrs" {
  description = "IPv4 networks that hosts may access. The first configuration needs the system's package mirrors."
  type        = list(string)
  nullable    = false
  default     = ["0.0.0.0/0"]

  validation {
    condition     = alltrue([for cidr in var.egress_cidrs : can(cidrnetmask(cidr)) && try(cidrsubnet(cidr, 0, 0) == cidr, false)])
    error_message = "Give IPv4 networks by their first address and length, such as 203.0.113.0/24."
  }
}

variable "router_port" {
  description = "Port of the router. Follows router_bind of the playbooks."
  type        = number
  nullable    = false
  default     = 80

  validation {
    condition     = var.router_port >= 1 && var.router_port <= 65535 && floor(var.router_port) == var.router_port
    error_message = "A port is a whole number from 1 to 65535."
  }
}

variable "router_tls_port" {
  description = "Port of the router for HTTPS, such as 443; 0 leaves it closed. Follows router_bind_tls of the playbooks."
  type        = number
  nullable    = false
  default     = 0

  validation {
    condition     = var.router_tls_port >= 0 && var.router_tls_port <= 65535 && floor(var.router_tls_port) == var.router_tls_port
    error_message = "A port is a whole number from 1 to 65535, or 0."
  }
}

variable "app_port" {
  description = "Port of the application. It also uses the 39 next ones: each of up to ten services has four, for a new release beside the old one and for the canary. Follows app_port of the playbooks."
  type        = number
  nullable    = false
  default     = 3000

  validation {
    condition     = var.app_port >= 1024 && var.app_port <= 65496 && floor(var.app_port) == var.app_port
    error_message = "Give a whole number from 1024 to 65534: the application is not root, and also uses the next port."
  }
}

variable "kms_key_arn" {
  description = "Key that encrypts disks and backups. Empty: the account's default keys."
  type        = string
  nullable    = false
  default     = ""

  validation {
    condition     = var.kms_key_arn == "" || can(regex("^arn:aws[a-z-]*:kms:[a-z0-9-]+:[0-9]{12}:key/[0-9a-f-]+$", var.kms_key_arn))
    error_message = "Give the key's ARN, such as arn:aws:kms:eu-central-1:123456789012:key/01234567-89ab-cdef-0123-456789abcdef."
  }
}

variable "backups" {
  description = "A bucket for backups, which storage hosts may write and read under the environment's name. Old versions are kept for keep_days; objects move to a cheaper class after archive_days and expire after expire_days (0: never)."
  type = object({
    enabled      = optional(bool, false)
    bucket       = optional(string, "")
    keep_days    = optional(number, 30)
    archive_days = optional(number, 30)
    expire_days  = optional(number, 0)
  })
  nullable = false
  default  = {}

  validation {
    condition     = var.backups.bucket == "" || can(regex("^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$", var.backups.bucket))
    error_message = "A bucket's name has 3 to 63 lower-case letters, digits, dashes and dots. Empty: a generated name."
  }

  validation {
    condition     = var.backups.keep_days >= 1 && var.backups.archive_days >= 30 && (var.backups.expire_days == 0 || var.backups.expire_days > var.backups.archive_days)
    error_message = "Keep old versions for at least 1 day, archive after at least 30 (S3's minimum), and expire later than that, or never with 0."
  }
}

variable "permissions_boundary" {
  description = "ARN of the permissions boundary of the storage hosts' role. The IAM policy in the README requires it. Empty: none."
  type        = string
  nullable    = false
  default     = ""

  validation {
    condition     = var.permissions_boundary == "" || can(regex("^arn:aws[a-z-]*:iam::([0-9]{12}|aws):policy/.+$", var.permissions_boundary))
    error_message = "Give a policy's ARN, such as arn:aws:iam::123456789012:policy/troop-boundary."
  }
}

variable "tags" {
  description = "Tags of all resources, in addition to troop:environment, troop:module and, on hosts, troop:role and Name."
  type        = map(string)
  nullable    = false
  default     = {}

  validation {
    condition     = alltrue([for key, _ in var.tags : key != "Name" && !can(regex("^(aws|troop):", lower(key)))])
    error_message = "The tag Name and tags that start with aws: or troop: are reserved. Choose another key."
  }
}
