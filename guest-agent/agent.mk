# SPDX-License-Identifier: GPL-2.0-or-later
# vtime-agent: static, by musl, so that it runs in any Linux guest.  Pure files of lib/ are
# compiled for it anew: objects made for another C library may not be linked.
AGENT_CC     := musl-gcc
AGENT_SRC    := $(wildcard guest-agent/*.c)
AGENT_SHARED := lib/wire/frame.c
AGENT_OBJ    := $(AGENT_SRC:%.c=$(BUILD)/obj/musl/%.o) $(AGENT_SHARED:%.c=$(BUILD)/obj/musl/%.o)
AGENT_CPPFLAGS := -D_GNU_SOURCE -I. -Iinclude -Ilib -isystem $(BUILD)/gen -idirafter $(BUILD)/gen/kernel -DVT_RELEASE='"$(RELEASE)"'
AGENT_CFLAGS := -std=c17 -Os -g $(WARN) -ffunction-sections -fdata-sections -fno-asynchronous-unwind-tables

all: $(BUILD)/bin/vtime-agent

$(BUILD)/bin/vtime-agent: $(AGENT_OBJ)
	@mkdir -p $(@D)
	$(Q)$(AGENT_CC) -static -Wl,--gc-sections -o $@ $^

# musl brings no headers of the kernel, nor of libbpf (bpf/skel_internal.h alone is used);
# those of the other C library beside them stay out.
$(BUILD)/gen/kernel: | $(BUILD)/.deps
	$(Q)mkdir -p $@
	$(Q)ln -sfn /usr/include/linux $@/linux
	$(Q)ln -sfn /usr/include/asm-generic $@/asm-generic
	$(Q)ln -sfn /usr/include/bpf $@/bpf
	$(Q)ln -sfn /usr/include/$$($(CC) -dumpmachine)/asm $@/asm

$(BUILD)/obj/musl/%.o: %.c | $(BUILD)/.deps $(BUILD)/gen/kernel
	@mkdir -p $(@D)
	$(Q)$(AGENT_CC) $(AGENT_CPPFLAGS) $(AGENT_CFLAGS) -MMD -MP -c -o $@ $<

# What of it thinks and does not act, for tests: built as all the rest is.
AGENT_PURE := $(addprefix guest-agent/,ring.c link.c spec.c procfs.c gaps.c watch.c readtext.c)
$(BUILD)/libvta.a: $(AGENT_PURE:%.c=$(BUILD)/obj/%.o)
	$(Q)rm -f $@ && ar rcs $@ $^

$(BUILD)/tests/unit/test_agent_%: tests/unit/test_agent_%.c $(BUILD)/libvta.a $(BUILD)/libvt.a
	@mkdir -p $(@D)
	$(Q)$(CC) $(CPPFLAGS) $(CFLAGS) -MMD -MP $(LDFLAGS) -o $@ $< $(BUILD)/libvta.a $(BUILD)/libvt.a -lcmocka $(LDLIBS)

$(BUILD)/fuzz/fuzz_ping: guest-agent/link.c guest-agent/ring.c
