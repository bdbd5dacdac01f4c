# SPDX-License-Identifier: GPL-2.0-or-later
# tests/guests: programs that go into guests (static, by musl) and one beside them.
GUEST_PROGRAMS := $(addprefix $(BUILD)/guests/bin/,loop chatter tscpage)
$(GUEST_PROGRAMS): $(BUILD)/guests/bin/%: tests/guests/%.c | $(BUILD)/.deps
	@mkdir -p $(@D)
	$(Q)musl-gcc -D_GNU_SOURCE $(CFLAGS) -static -s -o $@ $<

$(BUILD)/guests/bin/line: tests/guests/line.c | $(BUILD)/.deps
	@mkdir -p $(@D)
	$(Q)$(CC) -D_GNU_SOURCE $(CFLAGS) -o $@ $<

.PHONY: guests
guests: $(GUEST_PROGRAMS) $(BUILD)/guests/bin/line
