# SPDX-License-Identifier: GPL-2.0-or-later
# The guest payload: freestanding, flat, embedded by vmm-core/image.c.  Its
# application part, the same object file, is linked into vtime too: --bare.
PAYLOAD_SRC := $(wildcard vmm-core/payload/*.c vmm-core/payload/*.S)
PAYLOAD_OBJ := $(PAYLOAD_SRC:vmm-core/payload/%=$(BUILD)/obj/payload/%.o)
PAYLOAD_APP := $(BUILD)/obj/payload/app.c.o
PAYLOAD_CFLAGS := -std=c17 -O2 -g $(WARN) -ffreestanding -fno-stack-protector -fcf-protection=none \
  -mgeneral-regs-only -fno-asynchronous-unwind-tables -fPIE -fvisibility=hidden -fno-omit-frame-pointer

$(BUILD)/obj/payload/%.o: vmm-core/payload/% | $(BUILD)/.deps
	@mkdir -p $(@D)
	$(Q)$(CC) -I. -Iinclude $(PAYLOAD_CFLAGS) -MMD -MP -c -o $@ $<

$(BUILD)/gen/payload.elf: $(PAYLOAD_OBJ) vmm-core/payload/payload.lds
	@mkdir -p $(@D)
	$(Q)$(LD) -nostdlib -static --no-pie --no-warn-rwx-segments -z noexecstack --build-id=none \
	  -T vmm-core/payload/payload.lds -o $@ $(PAYLOAD_OBJ)

$(BUILD)/gen/payload.bin: $(BUILD)/gen/payload.elf
	$(Q)objcopy -O binary $< $@

$(BUILD)/obj/vmm-core/image.o: $(BUILD)/gen/payload.bin
$(BUILD)/obj/vmm-core/image.o: CPPFLAGS += -DVMM_PAYLOAD='"$(BUILD)/gen/payload.bin"'
$(BUILD)/bin/vtime $(BUILD)/libvt.a: $(PAYLOAD_APP)
