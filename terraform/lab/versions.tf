terraform {
  required_version = ">= 1.5"

  required_providers {
    lab = {
      source = "troop.local/troop/lab" # terraform-provider-lab; troop uses the binary in its own folder
    }
  }
}
