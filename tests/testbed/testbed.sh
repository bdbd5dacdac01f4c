#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# The testbed: a full KVM host (one of Debian's kernels, kvm-amd) inside QEMU/TCG,
# on this machine's own root, read-only. See README.md beside this file.
set -eu -o pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)
repo=$(cd "$here/../.." && pwd -P)
cache=${VT_TESTBED_DIR:-$repo/build/testbed}
PATH=$PATH:/usr/sbin:/sbin

# What the machine is made of; what these need is read from modules.dep.
top_modules='virtio_pci virtio_console 9pnet_virtio 9p overlay kvm-amd'

usage() {
  cat <<'EOF'
usage: testbed.sh run [--kernel SERIES] [--smp N | --icount] [--memory MIB] [--timeout SECS]
                      [--out DIR] -- COMMAND…
       testbed.sh fetch [--kernel SERIES]   only get and unpack the kernel package
       testbed.sh kernel [--kernel SERIES]  print the path of the kernel's boot image

Runs COMMAND as root in a KVM host inside QEMU/TCG that sees this machine's
files read-only (writes stay in its memory); what COMMAND puts into /out is
copied into DIR. Exit: COMMAND's own code; 124 it took longer than SECS
(default 180, boot included); 125 the testbed itself failed; 77 it cannot run here.
EOF
}

skip() { echo "testbed: cannot run here: $1" >&2; exit 77; }
fail() { echo "testbed: $1" >&2; exit 125; }
bad_usage() { echo "testbed: $1 (see --help)" >&2; exit 2; }
# shellcheck source=tests/kernel.sh
. "$here/../kernel.sh"

# quote WORD…: for any sh; ash and dash do not know all that printf %q writes
quote() {
  local word words='' inner="'\\''"
  for word; do words+=" '${word//"'"/$inner}'"; done
  printf %s "${words# }"
}

# make_initramfs DIR: DIR/initramfs from init.sh, stage2.sh, busybox, modules
make_initramfs() {
  local root=$1/initrd applet
  mkdir -p "$root/bin"
  cp "$(command -v busybox)" "$root/bin/busybox"
  for applet in sh mount umount mkdir insmod cp switch_root poweroff; do
    ln -s busybox "$root/bin/$applet"
  done
  install -m 755 "$here/init.sh" "$root/init"
  install -m 644 "$here/stage2.sh" "$root/stage2.sh"
  # shellcheck disable=SC2086  # a list of words
  put_modules "$root/modules" list $top_modules
  {
    echo "TB_REPO=$(quote "$repo") TB_CWD=$(quote "$PWD") TB_KERNEL=$(quote "$kernel")"
    # idle, time that goes by instructions passes much faster than ours, whose limit is our own
    echo "TB_END=$(($(date +%s) + timeout * ${icount:-1})) TB_OUT=$(quote "$out")"
    echo "TB_COMMAND=$(quote "$(quote "${command[@]}")")"
  } >"$root/settings"
  (cd "$root" && find . | cpio --quiet -o -H newc) >"$1/initramfs"
}

# boot DIR: runs the machine to its end; its streams are ours. One thread takes
# turns at all CPUs: with one thread each, QEMU before 8.1 can keep a stale
# translation of code that another CPU patches, and the machine freezes (README.md).
boot() {
  local dir=$1 share=() cpus=(-smp "$smp" -accel 'tcg,thread=single') copiers port status=0
  mkfifo "$dir/stdout" "$dir/stderr"
  cat "$dir/stdout" &
  copiers=$!
  cat "$dir/stderr" >&2 &
  copiers="$copiers $!"
  [ -z "$out" ] || share=(-virtfs "local,path=${out//,/,,},mount_tag=out,security_model=none")
  [ -z "$icount" ] || cpus=(-smp 1 -accel 'tcg,thread=single' -icount 'shift=0,sleep=off')
  timeout -k 2 "$timeout" qemu-system-x86_64 "${cpus[@]}" -m "$memory" \
    -cpu max,+svm,+invtsc -nodefaults -no-user-config -display none -no-reboot \
    -kernel "$(boot_image)" -initrd "$dir/initramfs" \
    -append 'console=ttyS0 loglevel=5 tsc=reliable panic=-1' \
    -serial "file:$dir/console" -device virtio-serial-pci \
    -chardev "file,id=stdout,path=$dir/stdout" -device virtserialport,chardev=stdout,name=stdout \
    -chardev "file,id=stderr,path=$dir/stderr" -device virtserialport,chardev=stderr,name=stderr \
    -chardev "file,id=status,path=$dir/status" -device virtserialport,chardev=status,name=status \
    -virtfs local,path=/,mount_tag=root,security_model=none,readonly=on,multidevs=remap \
    "${share[@]}" </dev/null 2>"$dir/qemu" &
  machine=$!
  wait "$machine" || status=$?
  machine=
  # A copier whose pipe QEMU never opened still waits for a writer.
  for port in stdout stderr; do : <>"$dir/$port"; done
  # shellcheck disable=SC2086  # a list of process ids
  wait $copiers || true
  return "$status"
}

# give_up DIR WHY: the machine's own words, then ours
give_up() {
  # TCG may not know invtsc, which is then done without
  sed '/invtsc/d; s/^/testbed: qemu: /' "$1/qemu" >&2
  { tail -n 40 "$1/console" 2>/dev/null || true; } | sed 's/^/testbed: console: /' >&2
  fail "$2; console log: $cache/console.log"
}

clean_up() {
  [ -z "$machine" ] || kill "$machine" 2>/dev/null || true
  if [ -e "$dir/console" ]; then mv -f "$dir/console" "$cache/console.log"; fi
  rm -rf "$dir"
}

run() {
  local status=0
  [ -z "$out" ] || { mkdir -p "$out" && out=$(cd "$out" && pwd -P); } || fail "cannot write to $out"
  dir=$(mktemp -d "$cache/run.XXXXXX")
  trap clean_up EXIT
  trap 'exit 129' HUP INT TERM
  make_initramfs "$dir"
  boot "$dir" || status=$?
  [ "$status" -ne 124 ] || give_up "$dir" "not finished after $timeout s"
  [ -s "$dir/status" ] || give_up "$dir" 'the machine ended without a word'
  status=$(cat "$dir/status")
  [ "$status" -ne 124 ] || echo "testbed: the command took longer than $timeout s" >&2
  return "$status"
}

# number NAME VALUE
number() { [[ $2 =~ ^[1-9][0-9]{0,5}$ ]] || bad_usage "$1 wants a number, not '$2'"; }

smp=2 memory=2048 timeout=180 out='' icount='' command=() machine='' dir='' action=${1:---help}
shift || true
while [ $# -gt 0 ]; do
  case $1 in
  --smp | --memory | --timeout) number "$1" "${2:-}"; printf -v "${1#--}" %s "$2"; shift 2 ;;
  --icount) icount=20; shift ;;
  --kernel)
    [[ ${2:-} =~ ^[1-9][0-9]*\.[0-9]+$ ]] || bad_usage "--kernel wants a version such as 6.12, not '${2:-}'"
    use_kernel "$2"; shift 2 ;;
  --out) out=${2:-}; [ -n "$out" ] || bad_usage '--out wants a directory'; shift 2 ;;
  --) shift; command=("$@"); break ;;
  *) bad_usage "unknown option $1" ;;
  esac
done
case $action in
-h | --help) usage; exit 0 ;;
run) [ ${#command[@]} -gt 0 ] || bad_usage 'no command' ;;
fetch | kernel) ;;
*) bad_usage "unknown action $action" ;;
esac

for need in qemu-system-x86_64 busybox cpio; do
  command -v $need >/dev/null || skip "no $need"
done
mkdir -p "$cache" 2>/dev/null || fail "cannot write to $cache"
exec 9>"$cache/lock"
flock 9
fetch_kernel amd64
exec 9>&-
case $action in
run) run ;;
kernel) echo "$kernel/boot/vmlinuz-$(cat "$kernel/release")" ;;
esac
