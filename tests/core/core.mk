# SPDX-License-Identifier: GPL-2.0-or-later
# CO-RE against recorded kernels: see README.md.
$(BUILD)/tests/unit/test_core: CPPFLAGS += -isystem $(BUILD)/gen
$(BUILD)/tests/unit/test_core: $(BUILD)/gen/ledger.skel.h

$(BUILD)/core/btfcut: tests/core/btfcut.c | $(BUILD)/.deps
	@mkdir -p $(@D)
	$(Q)$(CC) $(CPPFLAGS) $(CFLAGS) -o $@ $< -lbpf
