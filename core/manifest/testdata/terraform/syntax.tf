variable "a" {
  default = "x"
}

locals {
  b = "ü"
