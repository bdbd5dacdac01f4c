# SPDX-License-Identifier: GPL-2.0-or-later
# Who has which vCPU when: guest-agent/bpf/tasks.bpf.c -> $(BUILD)/gen/tasks.lskel.h,
# a light skeleton that needs no library at run time.
$(BUILD)/gen/tasks.bpf.o: guest-agent/bpf/tasks.bpf.c $(wildcard guest-agent/bpf/*.h) | $(BUILD)/.deps
	@mkdir -p $(@D)
	$(Q)$(CLANG) -target bpf -mcpu=v3 -O2 -g -Wall -Wextra -Wno-unused-parameter -Werror -D__TARGET_ARCH_x86 -c -o $@ $<

$(BUILD)/gen/tasks.lskel.h: $(BUILD)/gen/tasks.bpf.o
	$(Q)$(BPFTOOL) gen skeleton -L $< name tasks_bpf > $@.tmp && mv $@.tmp $@

TASKS_SRC := $(wildcard guest-agent/task*.c)
# What thinks, for the unit tests.
TASKS_PURE := guest-agent/task_line.c guest-agent/task_who.c guest-agent/task_time.c
$(BUILD)/libvt.a: $(TASKS_PURE:%.c=$(BUILD)/obj/%.o)

# The agent's compiler: a static program that needs nothing of the guest. Headers of the
# kernel and of libbpf (bpf/skel_internal.h, which alone is used) come after musl's own.
MUSL_CC     := musl-gcc
MUSL_CFLAGS := -idirafter /usr/include -idirafter /usr/include/$(shell gcc -print-multiarch) -isystem $(BUILD)/gen

$(BUILD)/musl/guest-agent/tasks_bpf.o: $(BUILD)/gen/tasks.lskel.h
$(BUILD)/musl/%.o: %.c | $(BUILD)/.deps
	@mkdir -p $(@D)
	$(Q)$(MUSL_CC) $(CPPFLAGS) $(CFLAGS) $(MUSL_CFLAGS) -MMD -MP -c -o $@ $<

# The parts that watch tasks, as the agent has them, with a front end for tests.
$(BUILD)/tests/live/taskpeer: $(TASKS_SRC:%.c=$(BUILD)/musl/%.o) $(BUILD)/musl/tests/live/taskpeer.o
	@mkdir -p $(@D)
	$(Q)$(MUSL_CC) -static -o $@ $^
