# Grüße: letters beyond ASCII count as one column and several bytes.
variable "a" {
  type    = string
  default = "ü"
  valu    = 1
}
