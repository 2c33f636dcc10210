stage "licences" "dependencies" {
  needs = [stage.build.app] # what is installed says more than the lock file alone
  allow = ["MIT", "ISC", "Apache-2.0", "BSD-*", "0BSD", "BlueOak-1.0.0"]
  accept = {
    "argparse" = "Python-2.0, read by legal in March 2026"
  }
}
