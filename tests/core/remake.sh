#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# remake.sh 6.1|6.12|running: cuts tests/core/linux-*.btf anew, after a change of
# `names`. See README.md.
set -eu -o pipefail
cd "$(dirname "$0")/../.."
export LC_ALL=C # what grep prints below are bytes
build=${BUILD:-build}
make -s BUILD="$build" "$build/core/btfcut"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# unpack_vmlinux VMLINUZ: to $work/vmlinux; packed by xz (6.1) or zstd (6.12)
unpack_vmlinux() {
  local at unpack
  while IFS=: read -r at _; do
    for unpack in 'xz -dc --single-stream' 'zstd -dc'; do
      tail -c "+$((at + 1))" "$1" | $unpack >"$work/vmlinux" 2>/dev/null || true
      [ "$(head -c 4 "$work/vmlinux" | tr -d '\0')" != $'\177ELF' ] || return 0
    done
  done < <(grep -abo $'\xfd7zXZ\|\x28\xb5\x2f\xfd' "$1")
  echo "remake.sh: no kernel found in $1" >&2
  exit 1
}

# cut_package DIR FIXTURE: of an unpacked Debian kernel package
cut_package() {
  local module modules=()
  unpack_vmlinux "$1"/boot/vmlinuz-*
  for module in kvm kvm-amd kvm-intel; do
    cp "$1"/lib/modules/*/kernel/arch/x86/kvm/$module.ko* "$work"
    [ ! -e "$work/$module.ko.xz" ] || xz -d "$work/$module.ko.xz"
    modules+=("$work/$module.ko")
  done
  "$build/core/btfcut" "$2" tests/core/names "$work/vmlinux" "${modules[@]}"
}

case ${1:-} in
6.1 | 6.12)
  image=$(tests/testbed/testbed.sh kernel --kernel "$1")
  cut_package "${image%/boot/*}" "tests/core/linux-$1-debian.btf"
  ;;
running)
  modules=()
  for m in kvm kvm_amd kvm_intel; do
    [ ! -e /sys/kernel/btf/$m ] || modules+=("/sys/kernel/btf/$m")
  done
  "$build/core/btfcut" "tests/core/linux-$(uname -r | cut -d . -f 1,2).btf" tests/core/names \
    /sys/kernel/btf/vmlinux "${modules[@]}"
  ;;
*)
  echo 'usage: remake.sh 6.1|6.12|running' >&2
  exit 2
  ;;
esac
