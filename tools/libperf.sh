#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# tools/libperf.sh DIR: builds libperf from Debian's kernel source, which has no
# package of its own for it, and puts include/ and lib/ into DIR. All of the
# archive must be read to find these few folders: 8 s; building takes one.
set -eu
dir=$1
tar=$(find /usr/src -maxdepth 1 -name 'linux-source-*.tar.xz' | sort -V | tail -n 1)
if [ -z "$tar" ]; then
  echo "libperf: no /usr/src/linux-source-*.tar.xz; tools/deps.sh installs it" >&2
  exit 1
fi
root=$(basename "$tar" .tar.xz)
mkdir -p "$dir"
work=$(mktemp -d "$dir/work.XXXXXX")
trap 'rm -rf "$work"' EXIT
# shellcheck disable=SC2046  # a list of members
tar -C "$work" -xJf "$tar" --strip-components=1 $(printf "$root/tools/%s " \
  lib/perf lib/api lib/zalloc.c lib/str_error_r.c include scripts build arch/x86/include)
# Our own make's variables and CFLAGS are none of its business.
unset MAKEFLAGS MFLAGS MAKELEVEL MAKEOVERRIDES CFLAGS CPPFLAGS LDFLAGS BUILD SAN V
if ! make -C "$work/tools/lib/perf" "prefix=$work/out" "libdir=$work/out/lib" \
  all install_lib install_headers >"$work/log" 2>&1; then
  cat "$work/log" >&2
  exit 1
fi
rm -rf "${dir:?}/include" "${dir:?}/lib"
mv "$work/out/include" "$dir/include"
mkdir -p "$dir/lib"
cp "$work/tools/lib/api/libapi.a" "$dir/lib/"
# last: what make looks for
mv "$work/out/lib/libperf.a" "$dir/lib/"
