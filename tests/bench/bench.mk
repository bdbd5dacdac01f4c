# SPDX-License-Identifier: GPL-2.0-or-later
# What bench.sh runs besides vtime and perf.
BENCH := $(BUILD)/bench
BENCH_BIN := $(BENCH)/empty $(BENCH)/pingpong $(BENCH)/slicesize $(BENCH)/replay $(BENCH)/exitcost $(BENCH)/timer

$(BENCH)/%: tests/bench/%.c $(OBJ_LIB)
	@mkdir -p $(@D)
	$(Q)$(CC) $(CPPFLAGS) $(CFLAGS) -o $@ $< $(OBJ_LIB) $(LDLIBS)

$(BENCH)/exitcost: CPPFLAGS += -isystem $(BUILD)/gen
$(BENCH)/exitcost: $(BUILD)/gen/ledger.skel.h

# The recorder and the correlator themselves; what probes.h promises is its own.
$(BENCH)/replay: tests/bench/replay.c $(BUILD)/libvt.a
	@mkdir -p $(@D)
	$(Q)$(CC) $(CPPFLAGS) $(CFLAGS) -o $@ $< $(BUILD)/libvt.a $(LDLIBS)

$(BENCH)/empty.bpf.o: tests/bench/empty.bpf.c | $(BUILD)/.deps
	@mkdir -p $(@D)
	$(Q)$(CLANG) -target bpf -mcpu=v3 -O2 -g -Wall -Wextra -Werror -c -o $@ $<

# `make check` builds them, too: a figure is wanted seldom, and must not find its program broken.
.PHONY: bench-programs bench
bench-programs: $(BENCH_BIN) $(BENCH)/empty.bpf.o

bench: all bench-programs $(BUILD)/tests/live/agentpeer $(BUILD)/guests/bin/chatter
	BUILD=$(BUILD) tests/bench/bench.sh
