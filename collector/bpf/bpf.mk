# SPDX-License-Identifier: GPL-2.0-or-later
# BPF programs: collector/bpf/X.bpf.c -> $(BUILD)/gen/X.skel.h
BPF_ARCH := $(patsubst x86_64,x86,$(patsubst aarch64,arm64,$(shell uname -m)))
BPF_SRC  := $(wildcard collector/bpf/*.bpf.c)
BPF_SKEL := $(BPF_SRC:collector/bpf/%.bpf.c=$(BUILD)/gen/%.skel.h)

$(BUILD)/gen/%.bpf.o: collector/bpf/%.bpf.c $(wildcard collector/bpf/*.h) $(patsubst %,include/vt/%.h,cells ledger slice_pack state) | $(BUILD)/.deps
	@mkdir -p $(@D)
	$(Q)$(CLANG) -target bpf -mcpu=v3 -O2 -g -Wall -Wextra -Wno-unused-parameter -Werror -D__TARGET_ARCH_$(BPF_ARCH) -Iinclude -c -o $@ $<

$(BUILD)/gen/%.skel.h: $(BUILD)/gen/%.bpf.o
	$(Q)$(BPFTOOL) gen skeleton $< name $(subst -,_,$*)_bpf > $@.tmp && mv $@.tmp $@

.SECONDARY: $(BPF_SRC:collector/bpf/%.bpf.c=$(BUILD)/gen/%.bpf.o)

$(BUILD)/obj/collector/%.o: CPPFLAGS += -isystem $(BUILD)/gen
$(OBJ_PROG): | $(BPF_SKEL)
# A skeleton counts as a system header, which -MMD leaves out.
$(BUILD)/obj/collector/probes.o: $(BUILD)/gen/ledger.skel.h
