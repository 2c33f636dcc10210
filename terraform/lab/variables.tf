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
    condition     = can(regex("^(ssh|ecdsa|sk)-[^\n]+$", trimspace(var.ssh_public_key)))
    error_message = "Give one line as in the file that ssh-keygen names *.pub."
  }
}

variable "troop_project" {
  description = "What tells this lab from others on this machine. Set by troop for a shared store. Empty: the module's folder."
  type        = string
  nullable    = false
  default     = ""

  validation {
    condition     = trimspace(var.troop_project) == var.troop_project
    error_message = "Leave it to troop."
  }
}

variable "hosts" {
  description = "The hosts by name, each with its role or its roles. Memory and disk in MiB or GiB, cpus in cores. Tags become inventory groups, vars inventory variables."
  type = map(object({
    role   = optional(string)
    roles  = optional(list(string), [])
    cpus   = optional(number, 1)
    memory = optional(string, "512MiB")
    disk   = optional(string, "2GiB")
    tags   = optional(map(string), {})
    vars   = optional(map(string), {})
  }))
  nullable = false
  default = {
    web-1     = { role = "production" }
    canary-1  = { role = "canary" }
    router-1  = { role = "router" }
    storage-1 = { role = "storage" }
  }

  validation {
    condition = alltrue([
      for host in var.hosts : length(compact(concat([host.role], host.roles))) > 0 &&
      alltrue([for role in compact(concat([host.role], host.roles)) : contains(["production", "canary", "router", "storage"], role)])
    ])
    error_message = "A host has one role or several: production, canary, router or storage."
  }

  validation {
    condition     = alltrue([for name, _ in var.hosts : can(regex("^[a-z]([a-z0-9-]{0,30}[a-z0-9])?$", name))])
    error_message = "A host's name is a letter, then letters, digits and dashes, at most 32 in all, lower case."
  }

  validation {
    condition     = alltrue([for host in var.hosts : host.cpus >= 0.05])
    error_message = "A host needs at least 0.05 cpus."
  }

  validation {
    condition = alltrue(flatten([
      for host in var.hosts : [for size in [host.memory, host.disk] : can(regex("^[1-9][0-9]*[MG]iB$", size))]
    ]))
    error_message = "Memory and disk are whole numbers of MiB or GiB, such as 512MiB."
  }

  validation {
    condition     = length(var.hosts) >= 1 && length(var.hosts) <= 200
    error_message = "A lab has 1 to 200 hosts."
  }
}

variable "subnet" {
  description = "The hosts' subnet, a /24. Empty: one of 16384 in 10.64.0.0/10, derived from the lab's folder."
  type        = string
  nullable    = false
  default     = ""

  validation {
    condition     = var.subnet == "" || (can(cidrhost(var.subnet, 254)) && endswith(var.subnet, ".0/24"))
    error_message = "Give an IPv4 subnet of 256 addresses, such as 172.30.5.0/24."
  }
}
