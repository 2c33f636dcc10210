variable "a" {
  type = string
  default = {
    x = 1
  }
}

variable "b" {
  type    = strin
  default = "x"
}
