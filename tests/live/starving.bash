# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck shell=bash
# For the tests that starve Linux guests.
load helpers
load ../guests/guests

setup_file() {
  guests_image
}

teardown_file() { end_guests; }

setup() {
  needs_root
  guests_needed
  run_vt=$BATS_TEST_TMPDIR/run.vt
}

teardown() {
  end_rivals
  end_guests
  end_children
}
