# SPDX-License-Identifier: GPL-2.0-or-later
# Who has which vCPU when: guest-agent/bpf/tasks.bpf.c -> $(BUILD)/gen/tasks.lskel.h,
# a light skeleton that needs no library at run time.
$(BUILD)/gen/tasks.bpf.o: guest-agent/bpf/tasks.bpf.c $(wildcard guest-agent/bpf/*.h) | $(BUILD)/.deps
	@mkdir -p $(@D)
	$(Q)$(CLANG) -target bpf -mcpu=v3 -O2 -g -Wall -Wextra -Wno-unused-parameter -Werror -D__TARGET_ARCH_x86 -c -o $@ $<

$(BUILD)/gen/tasks.lskel.h: $(BUILD)/gen/tasks.bpf.o
	$(Q)$(BPFTOOL) gen skeleton -L $< name tasks_bpf > $@.tmp && mv $@.tmp $@

$(BUILD)/obj/musl/guest-agent/tasks_bpf.o: $(BUILD)/gen/tasks.lskel.h

TASKS_SRC := $(wildcard guest-agent/task*.c) guest-agent/readtext.c
# What thinks, for the unit tests.
TASKS_PURE := guest-agent/task_line.c guest-agent/task_who.c guest-agent/task_time.c
$(BUILD)/libvt.a: $(TASKS_PURE:%.c=$(BUILD)/obj/%.o)

# The parts that watch tasks, as the agent has them, with a front end for tests.
$(BUILD)/tests/live/taskpeer: $(TASKS_SRC:%.c=$(BUILD)/obj/musl/%.o) $(BUILD)/obj/musl/tests/live/taskpeer.o
	@mkdir -p $(@D)
	$(Q)$(AGENT_CC) -static -o $@ $^
