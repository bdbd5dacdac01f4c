# SPDX-License-Identifier: GPL-2.0-or-later
# tests/guests: programs that go into guests (static, by musl) and one beside them.
$(BUILD)/guests/bin/loop: tests/guests/loop.c | $(BUILD)/.deps
	@mkdir -p $(@D)
	$(Q)musl-gcc -D_GNU_SOURCE $(CFLAGS) -static -s -o $@ $<

$(BUILD)/guests/bin/line: tests/guests/line.c | $(BUILD)/.deps
	@mkdir -p $(@D)
	$(Q)$(CC) -D_GNU_SOURCE $(CFLAGS) -o $@ $<

.PHONY: guests
guests: $(BUILD)/guests/bin/loop $(BUILD)/guests/bin/line
