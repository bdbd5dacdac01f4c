/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The front door's register of commands.  A program folder registers its
 * command with one line, and the front door finds it: adding a command changes
 * no other folder.
 */
#ifndef VT_CLI_COMMAND_H
#define VT_CLI_COMMAND_H

/* Exit codes of every command. */
enum { VT_EXIT_OK = 0, VT_EXIT_FAILURE = 1, VT_EXIT_USAGE = 2 };

struct vt_command {
    const char *name;
    const char *summary; /* one line for `vtime --help` */
    int rank;            /* order in the help */
    /* argv[0] is the command's name; returns the exit code */
    int (*main)(int argc, char **argv);
};

#define VT_COMMAND(id, rank_, name_, summary_, main_)                                                        \
    static const struct vt_command vt_command_##id = { name_, summary_, rank_, main_ };                      \
    static const struct vt_command *const vt_command_ptr_##id                                                \
        __attribute__((used, section("vt_commands"))) = &vt_command_##id

/** getopt's complaint is already on stderr: adds the way to the help; returns VT_EXIT_USAGE. */
int vt_usage_error(const char *command);

#endif
