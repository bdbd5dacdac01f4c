# SPDX-License-Identifier: GPL-2.0-or-later
# libperf, the collector's way to perf_event: the distribution's if it has one,
# else built from the kernel's source, once: the builds that a build starts
# (sanitizers) inherit LIBPERF_DIR.
ifeq ($(shell pkg-config --exists libperf 2>/dev/null && echo yes),yes)
LIBPERF_CPPFLAGS := $(patsubst -I%,-isystem %,$(shell pkg-config --cflags libperf))
LDLIBS := $(shell pkg-config --libs libperf) $(LDLIBS)
LIBPERF_A :=
else
export LIBPERF_DIR ?= $(abspath $(BUILD))/libperf
LIBPERF_CPPFLAGS := -isystem $(LIBPERF_DIR)/include
LIBPERF_A := $(LIBPERF_DIR)/lib/libperf.a
LDLIBS := $(LIBPERF_A) $(LIBPERF_DIR)/lib/libapi.a $(LDLIBS)
endif

$(BUILD)/obj/collector/counters.o: CPPFLAGS += $(LIBPERF_CPPFLAGS)
$(BUILD)/obj/collector/counters.o $(BUILD)/bin/vtime $(BUILD)/libvt.a: | $(LIBPERF_A)

ifneq ($(LIBPERF_A),)
$(LIBPERF_A): tools/libperf.sh | $(BUILD)/.deps
	$(Q)tools/libperf.sh $(LIBPERF_DIR)
endif
