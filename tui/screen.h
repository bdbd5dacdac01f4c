/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The terminal. screen.c is the only file that knows curses. */
#ifndef VT_TUI_SCREEN_H
#define VT_TUI_SCREEN_H

#include "base/err.h"
#include "tui/ui.h"

struct vtop_screen;

/** Takes over the terminal; -ENOTTY or -EINVAL (TERM) with a reason. */
int vtop_screen_open(bool colours, struct vtop_screen **ret, struct vt_err *err);

/** Gives the terminal back as it was. NULL is fine. */
void vtop_screen_close(struct vtop_screen *screen);

/** The next key typed (enum vtop_key_code or ASCII), VTOP_KEY_NONE if there is none; never waits. */
int vtop_screen_key(struct vtop_screen *screen);

/** Draws all; the terminal gets only what differs from before. */
void vtop_screen_draw(struct vtop_screen *screen, struct vtop_ui *ui);

#endif
