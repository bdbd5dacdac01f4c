# SPDX-License-Identifier: GPL-2.0-or-later
# tests/unit/test_X.c and tests/property/test_X.c: one cmocka program each.
UNIT_SRC := $(wildcard tests/unit/test_*.c tests/property/test_*.c)
UNIT_BIN := $(UNIT_SRC:tests/%.c=$(BUILD)/tests/%)

$(BUILD)/tests/%: tests/%.c $(BUILD)/libvt.a
	@mkdir -p $(@D)
	$(Q)$(CC) $(CPPFLAGS) $(CFLAGS) -MMD -MP $(LDFLAGS) -o $@ $< $(BUILD)/libvt.a -lcmocka $(LDLIBS)

include tests/core/core.mk
include tests/guests/guests.mk

# runs every unit test; used for the plain and the sanitized build
.PHONY: unit
unit: $(UNIT_BIN)
	@set -e; for t in $(UNIT_BIN); do $$t; done

.PHONY: check
check: all unit bench-programs check-layers lint
	$(MAKE) BUILD=$(BUILD)/asan SAN=1 unit fuzz-smoke

.PHONY: check-layers
check-layers:
	tests/check-layers.sh

.PHONY: lint
lint:
	clang-format --dry-run --Werror $$(git ls-files '*.c' '*.h')
	cppcheck --quiet --std=c11 --enable=warning,performance,portability --inline-suppr --error-exitcode=1 \
	  --suppressions-list=tests/cppcheck.suppress -Iinclude -Ilib -I. $$(git ls-files '*.c' | grep -v '\.bpf\.c$$')
	shellcheck -x $$(git ls-files '*.sh' .ci/run)

# tests/fuzz/fuzz_X.c: a fuzz entry, run for some seconds over its corpus, as many at a time as there are
# CPUs. Corpora are kept small: libFuzzer's -set_cover_merge=1 -use_counters=0 of what ten minutes found.
FUZZ_SRC := $(wildcard tests/fuzz/fuzz_*.c)
FUZZ_BIN := $(FUZZ_SRC:tests/fuzz/%.c=$(BUILD)/fuzz/%)
FUZZ_SECONDS ?= 5

.PHONY: fuzz-smoke $(FUZZ_BIN:%=%.smoke)
fuzz-smoke: $(FUZZ_BIN:%=%.smoke)

$(FUZZ_BIN:%=%.smoke): $(BUILD)/fuzz/%.smoke: $(BUILD)/fuzz/%
	@mkdir -p $(BUILD)/fuzz/corpus-$*
	@$< -max_total_time=$(FUZZ_SECONDS) -verbosity=0 -print_final_stats=0 -artifact_prefix=$(BUILD)/fuzz/$*- \
	  $(BUILD)/fuzz/corpus-$* $(wildcard tests/fuzz/corpus/$*)
	@echo "$*: $(FUZZ_SECONDS) s, no crash"

# Fuzz targets name the sources they exercise in a line "fuzz-sources: ...".
$(BUILD)/fuzz/%: tests/fuzz/%.c $(SRC_LIB) | $(BUILD)/.deps
	@mkdir -p $(@D)
	$(Q)$(CLANG) -std=c17 $(CPPFLAGS) -g -O1 -fsanitize=fuzzer,address,undefined -o $@ $< \
	  $$(sed -n 's/.*fuzz-sources: \([^*]*\).*/\1/p' $<) -lsqlite3 -lm

WITNESSES := $(patsubst tests/%.c,$(BUILD)/tests/%.o,$(wildcard tests/live/*.bpf.c))

# what live tests run
LIVE_BIN := schedule oddvmm witness slowdisk.so manager stall storm gaps agentsim agentpeer taskpeer
.PHONY: live
live: all guests $(LIVE_BIN:%=$(BUILD)/tests/live/%) $(WITNESSES)
	tests/run-bats.sh live

# LD_PRELOADed by tests
$(BUILD)/tests/live/%.so: tests/live/%.c | $(BUILD)/.deps
	@mkdir -p $(@D)
	$(Q)$(CC) $(CPPFLAGS) $(CFLAGS) -fPIC -shared -o $@ $<

$(BUILD)/tests/live/%.bpf.o: tests/live/%.bpf.c collector/bpf/kernel.h | $(BUILD)/.deps
	@mkdir -p $(@D)
	$(Q)$(CLANG) -target bpf -mcpu=v3 -O2 -g -Wall -Wextra -Wno-unused-parameter -Werror -D__TARGET_ARCH_x86 -I. -c -o $@ $<

.PHONY: testbed
testbed: all guests $(LIVE_BIN:%=$(BUILD)/tests/live/%) $(WITNESSES)
	tests/run-bats.sh testbed

# One after the other: live and testbed measure.
.PHONY: test
test:
	$(MAKE) check
	$(MAKE) live
	$(MAKE) testbed

include tests/bench/bench.mk
