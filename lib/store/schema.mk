# SPDX-License-Identifier: GPL-2.0-or-later
# schema.sql is the schema: embedded as a string.
$(BUILD)/gen/schema.sql.h: lib/store/schema.sql | $(BUILD)/.deps
	@mkdir -p $(@D)
	$(Q){ echo 'static const char vt_schema_sql[] ='; sed -e 's/\\/\\\\/g; s/"/\\"/g; s/.*/"&\\n"/' $<; echo ';'; } > $@

# A static pattern: a pattern rule without a recipe would add no dependency.
$(patsubst %.c,$(BUILD)/obj/%.o,$(wildcard lib/store/*.c)): $(BUILD)/gen/schema.sql.h
