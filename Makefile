# hostroute. `make demo` and `make test` do all of their own set-up on a Debian machine, as root;
# CONTRIBUTING.md says what the other targets are for.

SHELL := /bin/bash
export CGO_ENABLED := 0
# Go wants to stamp the revision into the program and fails where git refuses: in a tree that belongs to
# somebody else, as after `sudo make`, or in none at all.
ifneq ($(shell git rev-parse --verify -q HEAD 2>/dev/null >/dev/null && echo yes),yes)
export GOFLAGS += -buildvcs=false
endif

DEFERRED := $(CURDIR)/.cache/deferred
FUZZTIME ?= 30s

.PHONY: all build setup test demo lint bench fuzz clean

all: build

build:
	@go build -o bin/hostroute ./cmd/hostroute

setup:
	@scripts/setup
	@$(MAKE) --no-print-directory build

# First everything that this kernel can run, and a short fuzz of what guests can send to; then in one boot of
# the VM the tests that need VRF, which the first run has written down. Where the kernel has VRF they all run
# here, and may not be skipped.
test: setup
	@rm -f $(DEFERRED)
	@if scripts/have-vrf; then export HOSTROUTE_REQUIRE_VRF=1; fi; \
	  HOSTROUTE_DEFERRED_TESTS=$(DEFERRED) go test -count=1 ./...
	@scripts/fuzz 3s internal/arrival internal/dhcp ipv6
	@bin/hostroute lab vm test --deferred $(DEFERRED) -- bin/hostroute lab run --short first-light disguise plane-oneway agent-kill migrate elastic-move

demo: setup
	@bin/hostroute lab run first-light

lint:
	@scripts/lint

# First the comparison with BIRD and FRR, then what is measured of parts, one after the other. The longest log
# that was measured, of ten million events, needs an hour, 40 GB of disk and 12 GB of memory: ask for it.
bench: setup
	@bin/hostroute lab bench --dir .cache/bench
	@HOSTROUTE_BENCH_EVENTS=$${HOSTROUTE_BENCH_EVENTS:-1000000} go test -p 1 -run '^$$' -bench . -benchmem -timeout 150m ./...
	@HOSTROUTE_TEST_CONTESTED=10000 go test -count=1 -timeout 30m -v -run TestOwnershipIsLinearizable ./events/log

fuzz:
	@scripts/fuzz $(FUZZTIME)

clean:
	@rm -rf bin .cache
