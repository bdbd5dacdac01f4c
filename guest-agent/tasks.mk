# SPDX-License-Identifier: GPL-2.0-or-later
# Who has which vCPU when: guest-agent/bpf/tasks.bpf.c -> $(BUILD)/gen/tasks.lskel.h,
# a light skeleton that needs no library at run time.
$(BUILD)/gen/tasks.bpf.o: guest-agent/bpf/tasks.bpf.c $(wildcard guest-agent/bpf/*.h) | $(BUILD)/.deps
	@mkdir -p $(@D)
	$(Q)$(CLANG) -target bpf -mcpu=v3 -O2 -g -Wall -Wextra -Wno-unused-parameter -Werror -D__TARGET_ARCH_x86 -c -o $@ $<

$(BUILD)/gen/tasks.lskel.h: $(BUILD)/gen/tasks.bpf.o
	$(Q)$(BPFTOOL) gen skeleton -L $< name tasks_bpf > $@.tmp && mv $@.tmp $@

ifndef AGENT_CC # agent.mk is not there yet
AGENT_CC       := musl-gcc
AGENT_CPPFLAGS := $(CPPFLAGS) -idirafter /usr/include -idirafter /usr/include/$(shell gcc -print-multiarch)
AGENT_CFLAGS   := $(CFLAGS)
$(BUILD)/obj/musl/%.o: %.c | $(BUILD)/.deps
	@mkdir -p $(@D)
	$(Q)$(AGENT_CC) $(AGENT_CPPFLAGS) $(AGENT_CFLAGS) -MMD -MP -c -o $@ $<
endif

TASKS_SRC := $(wildcard guest-agent/task*.c)
# What thinks, for the unit tests.
TASKS_PURE := guest-agent/task_line.c guest-agent/task_who.c guest-agent/task_time.c
$(BUILD)/libvt.a: $(TASKS_PURE:%.c=$(BUILD)/obj/%.o)

# Compiled as all of the agent is (agent.mk); beside the skeleton it needs bpf/skel_internal.h.
$(BUILD)/obj/musl/guest-agent/tasks_bpf.o: $(BUILD)/gen/tasks.lskel.h
$(BUILD)/obj/musl/guest-agent/tasks_bpf.o: AGENT_CPPFLAGS += -isystem $(BUILD)/gen -idirafter /usr/include

# What watches tasks, as the agent has it, with a front end for tests.
$(BUILD)/tests/live/taskpeer: $(TASKS_SRC:%.c=$(BUILD)/obj/musl/%.o) $(BUILD)/obj/musl/tests/live/taskpeer.o
	@mkdir -p $(@D)
	$(Q)$(AGENT_CC) -static -o $@ $^

live testbed: $(BUILD)/tests/live/taskpeer
