# troop: `make help` lists the targets.
SHELL       := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

GOLANGCI := v2.15.0
NFPM     := v2.45.0
VERSION  := $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
STAGES   := build test analysis deploy doctor maintenance
BINARIES := troop troop-agent troop-relay $(STAGES:%=troop-plugin-%) terraform-provider-lab
PACKAGES := ansible-core chromium debootstrap e2fsprogs gcc git haproxy iproute2 lcov libc6-dev openssh-client openssh-server openssl php-pcov phpunit postgresql protobuf-compiler python3-grpcio python3-protobuf python3-pytest python3-pytest-cov python3-venv python3-yaml rake redis-server ruby-minitest shellcheck stress-ng systemd-container testssl.sh zstd
# What holds goroutines that share something, and is tested for it in tens of seconds.
RACE     := ./core/agent ./core/bus ./core/engine ./core/loader ./core/remote ./plugins/analysis/secrets ./plugins/deploy/agent ./plugins/doctor/... ./plugins/maintenance/... ./plugins/sdk/...
# Half of the time of the tests in the lab: two labs at once are as many as two cores carry.
HALF     := TestPipeline|TestTeam|TestTakenHosts|TestGiven
# Too long for every change; make soak has them.
LONG     := TestDuty|TestServices
LINTERS  := ansible-lint shellcheck
RELEASE  := git jq
# A release has all programs for PLATFORMS, and only troop for CLIENTS.
PLATFORMS := linux_amd64 linux_arm64
CLIENTS   := darwin_amd64 darwin_arm64
BIN       := bin
BENCH    := earlyoom monit packer rsync
export PATH
# Static binaries run on any host. Without folder and commit in the binary, builds are reproducible in every checkout, so
# that colleagues can share a plugin lock. Builds and tests share one build cache.
export CGO_ENABLED := 0
export GOFLAGS     := $(GOFLAGS) -trimpath -buildvcs=false
LDFLAGS            := -s -w -X main.version=$(VERSION)

help: ## list the targets
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: setup build authority ## make the lab and deploy the HEAD commit of the example to production there
	@examples/demo.sh up lab

demo-one: setup build authority ## the same on one host, which is router, production and canary
	@examples/demo.sh up one

demo-down: build ## remove the labs and everything the demos made
	@examples/demo.sh down

build: ## compile troop and its plugins into bin/
	@test -x bin/troop || echo "compiling troop and its plugins; the first time takes a few minutes"
	@$(MAKE) --no-print-directory $(BINARIES:%=$(BIN)/%)

# One binary each; go build skips what is up to date. Hosts have a third less in memory without gRPC's pages of its own: they
# reach methods by reflection, which keeps those of all types in a binary.
$(BIN)/troop: FORCE
	@go build -ldflags '$(LDFLAGS)' -o $@ ./core/cmd/$(@F)

$(BIN)/troop-agent $(BIN)/troop-relay: FORCE
	@go build -tags grpcnotrace -ldflags '$(LDFLAGS)' -o $@ ./core/cmd/$(@F)

$(BIN)/troop-plugin-%: FORCE
	@go build -tags grpcnotrace -ldflags '-s -w' -o $@ ./plugins/$*

$(BIN)/terraform-provider-lab: FORCE
	@go build -ldflags '-s -w' -o $@ ./plugins/$(@F)

FORCE:

release: ## archives, Debian packages, SBOM, licences and checksums in dist/
	@$(call need,$(RELEASE))
	@$(call tool,nfpm,$(NFPM),github.com/goreleaser/nfpm/v2/cmd/nfpm)
	@VERSION="$(VERSION)" BINARIES="$(BINARIES)" PLATFORMS="$(PLATFORMS)" CLIENTS="$(CLIENTS)" NFPM=.tools/nfpm-$(NFPM) .ci/release

test: setup build tofu ## the tests of each change: unit, integration, and end to end in the lab
	@go vet ./...
	@go test -timeout 20m ./...
	@CGO_ENABLED=1 go test -race -timeout 15m $(RACE)
	@$(MAKE) --no-print-directory -j2 test-e2e test-lab
	@$(MAKE) --no-print-directory test-aws AWS_TESTS=-short

# Into Go's cache, as plugins/sdk/tooltest asks for it: the first time takes minutes, longer than a test may wait.
tofu:
	@echo "building OpenTofu for its tests, if Go's cache does not have it; that takes a few minutes"
	@cd plugins/sdk/tooltest/testdata/tofu && CGO_ENABLED=0 GOFLAGS= go tool -n tofu >/dev/null

test-e2e:
	@go test -tags lab -timeout 60m -v -run '$(HALF)' ./core/e2e

test-lab:
	@go test -tags lab -timeout 60m -v -p 1 -skip '$(HALF)|$(LONG)|TestTree' ./core/e2e ./core/terraform ./core/ansible ./core/environment

test-aws: build ## the real hashicorp/aws on moto, where both are there, whole; AWS_MIRROR=FOLDER names a provider mirror
	@AWS_MIRROR="$(AWS_MIRROR)" .ci/test-aws $(AWS_TESTS)

soak: setup build ## a day's duty in a browser, two services, then an hour of deploys and faults at random in the lab, under load; SOAK=10m SEED=1 RATE=200
	@go test -tags lab,soak -count=1 -timeout 60m -v -run '$(LONG)' ./core/e2e
	@TROOP_SOAK="$(SOAK)" TROOP_SOAK_SEED="$(SEED)" TROOP_SOAK_RATE="$(RATE)" go test -tags lab,soak -timeout 0 -v -run TestSoak ./core/e2e

rounds: setup ## 10,000 hosts at random for the doctor; kill the agent of maintenance 1,000 times among faults; ROUNDS=1000 SEED=1
	@TROOP_ROUNDS="$(ROUNDS)" TROOP_ROUNDS_SEED="$(SEED)" go test -v -count=1 -run TestModel ./plugins/doctor
	@TROOP_ROUNDS="$(or $(ROUNDS),1000)" TROOP_ROUNDS_SEED="$(SEED)" go test -timeout 0 -v -count=1 -run TestKilledRounds ./plugins/maintenance

screenshots: setup build ## pictures of the server's pages, wide and narrow, in dist/screenshots; of a plan, in docs
	@mkdir -p dist/screenshots
	@TROOP_SCREENSHOTS=$(CURDIR)/dist/screenshots go test -count=1 -run 'TestGolden|TestPages' ./core/terraform ./core/server
	@chromium --headless=new --no-sandbox --hide-scrollbars --window-size=1000,1250 --screenshot=docs/plan.png dist/screenshots/ec2-first.html
	@TROOP_SCREENSHOTS=$(CURDIR)/dist/screenshots go test -tags lab,soak -count=1 -timeout 60m -run 'TestDuty|TestPipeline/(the_first|people)' ./core/e2e

lint: tools ## gofumpt, golangci-lint, ansible-lint, terraform fmt, shellcheck
	@.tools/golangci-lint-$(GOLANGCI) run --build-tags lab,lint,aws,soak ./...
	@LINTER=$(CURDIR)/.tools/golangci-lint-$(GOLANGCI) go test -tags lint -run TestTreeArrows ./core/e2e
	@cd playbooks && ansible-lint --offline -q
	@terraform fmt -check -recursive terraform
	@shellcheck .ci/run .ci/release .ci/test-aws examples/*.sh

bench: setup build ## run the benchmarks, with a comparable tool where there is one
	@$(call need,$(BENCH))
	@go test -run '^$$' -bench . -benchtime 3x -tags lab -timeout 60m ./core/e2e ./core/terraform
	@go test -run '^$$' -bench . -benchtime 2x -timeout 30m ./core/cmd/troop
	@go test -v -run Operating -timeout 30m ./plugins/deploy/verdict -trials 200
	@go test -run '^$$' -bench . -timeout 30m ./core/engine ./core/flags/ofrep ./core/manifest ./core/loader ./core/server ./core/store ./plugins/build/archive ./plugins/deploy ./plugins/doctor ./plugins/maintenance

fmt: tools ## format everything
	@.tools/golangci-lint-$(GOLANGCI) fmt ./...
	@terraform fmt -recursive terraform

prices: ## renew core/price/prices.json from AWS' public price list (needs a network)
	@go run ./core/price/refresh

generate: ## regenerate code, the reference pages and docs/manifest.md
	@go generate ./...

clean: ## remove build products (for the lab: make demo-down)
	@rm -rf bin dist .tools

setup: ## install missing packages on this machine (Debian, root)
	@$(call need,$(PACKAGES))
	@command -v go >/dev/null || { echo "go not found: install Go 1.26 or newer" >&2; exit 1; }
	@command -v node >/dev/null || { echo "node not found: install Node.js 20 or newer" >&2; exit 1; }
	@command -v terraform >/dev/null || command -v tofu >/dev/null || { echo "terraform not found: install Terraform 1.5 or newer, or OpenTofu" >&2; exit 1; }

authority: # an ACME authority for tests, and its DNS server
	@cd plugins/sdk/tooltest/testdata/pebble && CGO_ENABLED=0 GOFLAGS= GOBIN=$(CURDIR)/.tools go install tool

tools:
	@$(call need,$(LINTERS))
	@$(call tool,golangci-lint,$(GOLANGCI),github.com/golangci/golangci-lint/v2/cmd/golangci-lint)

# tool builds a pinned version of a Go program for this machine.
define tool
test -x .tools/$(1)-$(2) || { echo "building $(1) $(2)"; \
  GOBIN=$(CURDIR)/.tools go install $(3)@$(2) && mv .tools/$(1) .tools/$(1)-$(2); }
endef

# need installs missing Debian packages.
define need
missing=$$(for p in $(1); do dpkg-query -Wf '$${db:Status-Abbrev}' $$p 2>/dev/null | grep -q '^ii' || echo $$p; done); \
if [ -n "$$missing" ]; then \
  if [ "$$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then \
    echo "missing:" $$missing >&2; echo "install them, or run make as root on Debian" >&2; exit 1; fi; \
  echo "installing" $$missing; apt-get update -q >/dev/null; \
  DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends $$missing >/dev/null; fi
endef

.PHONY: FORCE help demo demo-one demo-down authority build release test test-e2e test-lab soak rounds screenshots lint bench fmt generate prices clean setup tools
