#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# The one place that declares what vtime needs, for building, running its demo
# and testing. Installs what is missing; does nothing when all is there.
set -eu

build='gcc make clang llvm lld bpftool libbpf-dev libelf-dev zlib1g-dev libsqlite3-dev
  libncurses-dev libcjson-dev libcap-ng-dev pkg-config musl-tools linux-libc-dev'
# libperf: the distribution's, or built from the kernel's source (tools/libperf.sh)
pkg-config --exists libperf 2>/dev/null || build="$build linux-source-6.1 xz-utils"
run='gnuplot-nox'
tests='libcmocka-dev bats sqlite3 jq tmux clang-format cppcheck shellcheck
  libclang-rt-14-dev linux-perf bpftrace util-linux procps qemu-system-x86 busybox-static cpio xz-utils
  musl-tools user-mode-linux lz4 zstd'

missing=
for p in $build $run $tests; do
  dpkg-query -W -f '${Status}' "$p" 2>/dev/null | grep -q 'ok installed' || missing="$missing $p"
done
[ -z "$missing" ] && exit 0

if [ "$(id -u)" -ne 0 ]; then
  echo "vtime needs these packages; run as root: apt-get install$missing" >&2
  exit 1
fi
echo "vtime: installing$missing" >&2
export DEBIAN_FRONTEND=noninteractive
apt-get update -q
# shellcheck disable=SC2086  # a list of words
apt-get install -q -y --no-install-recommends $missing
