#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# What the Linux guests of the tests boot: Debian's cloud kernel and an initramfs with
# busybox, vtime-agent and benchmarks of known work. See README.md beside this file.
set -eu -o pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)
repo=$(cd "$here/../.." && pwd -P)
cache=${VT_GUESTS_DIR:-$repo/build/guests}
PATH=$PATH:/usr/sbin:/sbin

# Kinds of modules that a guest may be told to load (init.sh), and what makes each of them.
declare -A modules=(
  [console]='virtio_pci virtio_console' [blk]='virtio_pci virtio_blk'
  [net]='virtio_pci virtio_net' [vsock]='virtio_pci vmw_vsock_virtio_transport'
)

usage() {
  cat <<'EOT'
usage: guest.sh image     get the kernel, make the initramfs, where they are not there or old
       guest.sh kernel    the same, and print the path of the kernel's boot image

Both are kept in build/guests (VT_GUESTS_DIR names another place). Exit: 0; 125 it
failed; 77 it cannot be done here, with the reason.
EOT
}

skip() { echo "guest: cannot boot guests here: $1" >&2; exit 77; }
fail() { echo "guest: $1" >&2; exit 125; }
# shellcheck source=tests/kernel.sh
. "$here/../kernel.sh"

# The programs of the image that are built here.
programs=("$repo/build/bin/vtime-agent" "$repo/build/guests/bin"/{loop,chatter,tscpage})

# is_fresh: the initramfs is newer than all it is made of
is_fresh() {
  local part
  [ -e "$cache/initramfs" ] || return 1
  for part in "${programs[@]}" "$here/init.sh" "$here/guest.sh" "$here/../kernel.sh" "$kernel/release"; do
    [ "$part" -ot "$cache/initramfs" ] || return 1
  done
}

make_initramfs() {
  local root=$1/root applet kind
  mkdir -p "$root/bin" "$root/proc" "$root/sys" "$root/dev"
  cp "$(command -v busybox)" "$root/bin/busybox"
  for applet in $(busybox --list); do
    [ "$applet" = busybox ] || ln -s busybox "$root/bin/$applet"
  done
  install -m 755 "${programs[@]}" "$root/bin/"
  install -m 755 "$here/init.sh" "$root/init"
  # shellcheck disable=SC2086  # lists of words
  for kind in "${!modules[@]}"; do put_modules "$root/modules" "$kind.list" ${modules[$kind]}; done
  (cd "$root" && find . | cpio --quiet -o -H newc) >"$1/initramfs"
  # a reader of the old one keeps it
  mv "$1/initramfs" "$cache/initramfs"
}

image() {
  local need dir
  for need in qemu-system-x86_64 busybox cpio; do
    command -v $need >/dev/null || skip "no $need"
  done
  for need in "${programs[@]}"; do [ -x "$need" ] || fail "no $need (make all guests)"; done
  mkdir -p "$cache" || fail "cannot write to $cache"
  exec 9>"$cache/lock"
  flock 9
  fetch_kernel cloud-amd64
  if ! is_fresh; then
    rm -rf "$cache"/image.*
    dir=$(mktemp -d "$cache/image.XXXXXX")
    make_initramfs "$dir"
    rm -rf "$dir"
  fi
  exec 9>&-
}

case ${1:---help} in
-h | --help) usage ;;
image) image ;;
kernel) image && boot_image ;;
*) echo "guest: unknown action $1 (see --help)" >&2; exit 2 ;;
esac
