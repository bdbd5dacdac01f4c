# SPDX-License-Identifier: GPL-2.0-or-later
# vtime. The targets a person types:
#   make            build into build/bin
#   make demo       the four-guest experiment (root)
#   make test       everything CI runs: check, live, testbed
#   make check      unit tests, sanitizers, fuzz smoke, linters: under a minute
#   make bench      cost of the measurement, as ratios in one run (root)
#   make install    with DESTDIR and PREFIX
# What a folder adds of its own stands in its *.mk.

# V=1 shows the commands.
Q := $(if $(V),,@)
MAKEFLAGS += -j$(shell nproc) --output-sync=target --no-print-directory

BUILD   ?= build
PREFIX  ?= /usr/local
UNITDIR ?= $(PREFIX)/lib/systemd/system
DESTDIR ?=
CC      := gcc
CLANG   := clang
BPFTOOL := PATH="$$PATH:/usr/sbin:/sbin" bpftool
RELEASE := 0.1

CPPFLAGS := -D_GNU_SOURCE -I. -Iinclude -Ilib -I$(BUILD)/gen -DVT_RELEASE='"$(RELEASE)"'
WARN     := -Wall -Wextra -Wshadow -Wconversion -Werror
CFLAGS   := -std=c17 -O2 -g -fno-omit-frame-pointer $(WARN)
# GCC's generic x86 clears and copies a slice by rep stos and rep movs, which was 40 % of a refresh of vtop.
ifeq ($(shell uname -m),x86_64)
CFLAGS   += -mmemset-strategy=unrolled_loop:512:noalign,libcall:-1:noalign \
            -mmemcpy-strategy=unrolled_loop:512:noalign,libcall:-1:noalign
endif
LDFLAGS  :=
LDLIBS   := -lbpf -lelf -lz -lsqlite3 -lcjson -lncursesw -ltinfo -lcap-ng -lm -lpthread
ifdef SAN
CFLAGS  += -fsanitize=address,undefined -fno-sanitize-recover=undefined -O1
LDFLAGS += -fsanitize=address,undefined
endif

SRC_LIB  := $(filter-out lib/cli/main.c,$(wildcard lib/*/*.c))
SRC_PROG := $(wildcard collector/*.c correlator/*.c tui/*.c reports/*.c vmm-core/*.c)
OBJ_LIB  := $(SRC_LIB:%.c=$(BUILD)/obj/%.o)
OBJ_PROG := $(SRC_PROG:%.c=$(BUILD)/obj/%.o)
OBJ_MAIN := $(BUILD)/obj/lib/cli/main.o

.PHONY: all
all: $(BUILD)/bin/vtime $(BUILD)/bin/vtop

$(BUILD)/bin/vtime: $(OBJ_MAIN) $(OBJ_LIB) $(OBJ_PROG)
	@mkdir -p $(@D)
	$(Q)$(CC) $(LDFLAGS) -o $@ $^ $(LDLIBS)

$(BUILD)/bin/vtop: $(BUILD)/bin/vtime
	$(Q)ln -sf vtime $@

# Everything but the front door, for tests to link against.
$(BUILD)/libvt.a: $(OBJ_LIB) $(OBJ_PROG)
	$(Q)rm -f $@ && ar rcs $@ $^

$(BUILD)/obj/%.o: %.c | $(BUILD)/.deps
	@mkdir -p $(@D)
	$(Q)$(CC) $(CPPFLAGS) $(CFLAGS) -MMD -MP -c -o $@ $<

# The one place that declares what vtime needs is tools/deps.sh.
$(BUILD)/.deps: tools/deps.sh
	@mkdir -p $(@D)
	tools/deps.sh
	@touch $@

.PHONY: deps
deps:
	tools/deps.sh

include collector/bpf/bpf.mk
include collector/libperf.mk
include lib/store/schema.mk
include vmm-core/payload/payload.mk
include tests/tests.mk
include guest-agent/tasks.mk

.PHONY: demo
demo: all
	$(BUILD)/bin/vtime demo

.PHONY: install
install: all
	install -d $(DESTDIR)$(PREFIX)/bin $(DESTDIR)$(PREFIX)/share/man/man1 $(DESTDIR)$(PREFIX)/share/doc/vtime
	install -m 755 $(BUILD)/bin/vtime $(DESTDIR)$(PREFIX)/bin/vtime
	ln -sf vtime $(DESTDIR)$(PREFIX)/bin/vtop
	install -m 644 $(wildcard docs/man/*.1) $(DESTDIR)$(PREFIX)/share/man/man1/
	install -d $(DESTDIR)$(UNITDIR)
	sed 's,@BINDIR@,$(PREFIX)/bin,g' packaging/vtime.service.in >$(DESTDIR)$(UNITDIR)/vtime.service
	chmod 644 $(DESTDIR)$(UNITDIR)/vtime.service
	install -m 644 README.md LICENSE $(wildcard docs/*.md) $(DESTDIR)$(PREFIX)/share/doc/vtime/

.PHONY: clean
clean:
	rm -rf $(BUILD)

.PHONY: format
format:
	clang-format -i $$(git ls-files '*.c' '*.h')

-include $(shell find $(BUILD)/obj $(BUILD)/tests -name '*.d' 2>/dev/null)
