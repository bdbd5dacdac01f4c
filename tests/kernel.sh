# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck shell=bash
# Debian's kernels for machines that the tests boot: fetched by apt, unpacked, never
# installed. Wants of the script that sources it: $cache (a directory), skip and fail
# (each with one line, not returning).
: "${cache:?}"
series=6.1 kernel=$cache/kernel

# use_kernel SERIES: another than 6.1, beside it
use_kernel() {
  series=$1
  [ "$series" = 6.1 ] || kernel=$cache/kernel-$series
}

# versioned_package FLAVOUR: of the series, the kernel that linux-image-FLAVOUR stands for;
# of others than Debian's own the newest (such as linux-image-6.12.117+deb12-amd64)
versioned_package() {
  local dots=${series//./\\.}
  {
    apt-cache search --names-only "^linux-image-$dots\.[0-9.]+([+][a-z0-9.]+)?(-[0-9]+)?-$1\$" 2>/dev/null |
      cut -d ' ' -f 1 | sort -V
    apt-cache depends "linux-image-$1" 2>/dev/null |
      sed -n "s/^ *Depends: \(linux-image-$dots\.[^ ]*\)$/\1/p" || true # there may be no such package
  } | tail -n 1
}

# unpack_image VMLINUZ VMLINUX: QEMU enters the ELF image directly, which saves
# 3 s of unpacking xz under emulation (lz4: 0.4 s); without it the packed one boots as well.
unpack_image() {
  local magic start unpack
  for magic in $'\xfd7zXZ xz -dc --single-stream' $'\x02\x21\x4c\x18 lz4 -dc' $'\x28\xb5\x2f\xfd zstd -dc'; do
    unpack=${magic#* }
    command -v "${unpack%% *}" >/dev/null || continue
    while read -r start; do
      # what follows the stream is no part of it: an error at its end is expected
      tail -c "+$((start + 1))" "$1" | $unpack >"$2" 2>/dev/null || true
      [ "$(head -c 4 "$2" | tr -d '\0')" != $'\177ELF' ] || return 0
    done < <(LC_ALL=C grep -aboF "${magic%% *}" "$1" | LC_ALL=C cut -d : -f 1) # digits: bytes would be no text
  done
  rm -f "$2"
}

# fetch_kernel FLAVOUR: $kernel holds the unpacked package and its modules.dep; its
# version is in $kernel/release
fetch_kernel() {
  [ -e "$kernel/release" ] && return
  local need package new release
  for need in apt-get apt-cache dpkg; do
    command -v $need >/dev/null || skip "no $need to get Debian's kernel with"
  done
  package=$(versioned_package "$1")
  if [ -z "$package" ] && [ "$(id -u)" -eq 0 ]; then
    apt-get update -qq >/dev/null 2>&1 || true
    package=$(versioned_package "$1")
  fi
  [ -n "$package" ] || skip "apt knows no linux-image-$1 of version $series"
  rm -rf "$cache"/fetch.*
  new=$(mktemp -d "$cache/fetch.XXXXXX")
  echo "${0##*/}: fetching $package" >&2
  if ! (cd "$new" && apt-get -o APT::Sandbox::User=root download "$package") >"$cache/fetch.log" 2>&1; then
    rm -rf "$new"
    skip "apt-get download $package: $(grep -m 1 '^E:' "$cache/fetch.log" || echo failed)"
  fi
  dpkg -x "$new"/*.deb "$new/kernel" || fail "$package does not unpack"
  rm -f "$new"/*.deb
  release=$(basename "$new"/kernel/lib/modules/*)
  busybox depmod -b "$new/kernel" "$release" || fail 'busybox depmod failed'
  unpack_image "$new/kernel/boot/vmlinuz-$release" "$new/kernel/boot/vmlinux"
  echo "$release" >"$new/kernel/release"
  rm -rf "$kernel"
  mv "$new/kernel" "$kernel"
  rmdir "$new"
}

# boot_image: the quickest to boot of the kernel
boot_image() {
  local image=$kernel/boot/vmlinux
  [ -e "$image" ] || image=$kernel/boot/vmlinuz-$(cat "$kernel/release")
  echo "$image"
}

# module_order NAME…: paths in the kernel's tree, each after all it depends on; none of what is built in
module_order() {
  awk -v wanted="$*" '
    function name(path) { sub(/.*\//, "", path); sub(/\.ko.*/, "", path); gsub(/-/, "_", path); return path }
    function visit(module,    deps, n, i) {
      if (seen[module]++ || builtin[module]) return
      n = split(needs[module], deps, " ")
      for (i = n; i > 0; i--) visit(name(deps[i]))
      if (!(module in file)) { print module > "/dev/stderr"; exit 1 }
      print file[module]
    }
    FILENAME ~ /builtin$/ { builtin[name($0)] = 1; next }
    { path = $1; sub(/:$/, "", path); m = name(path); file[m] = path; $1 = ""; needs[m] = $0 }
    END { n = split(wanted, w, " "); for (i = 1; i <= n; i++) visit(name(w[i])) }
  ' "$kernel/lib/modules/$(cat "$kernel/release")"/modules.{builtin,dep}
}

# put_modules DIR LIST NAME…: the modules and what they need into DIR, their order into DIR/LIST
put_modules() {
  local dir=$1 list=$2 tree module file
  tree=$kernel/lib/modules/$(cat "$kernel/release")
  shift 2
  mkdir -p "$dir"
  for module in $(module_order "$@"); do
    file=$(basename "${module%.xz}")
    case $module in
    *.ko) cp "$tree/$module" "$dir/" ;;
    *.ko.xz) xz -dc "$tree/$module" >"$dir/$file" ;;
    esac
    echo "$file" >>"$dir/$list"
  done
}
