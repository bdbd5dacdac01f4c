#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
# record --exit-addresses against the monitor's own count, and against perf's count of the
# same tracepoints (6.1, SVM).
bats_require_minimum_version 1.5.0
load testbed

# Runs inside.
inside() {
  vtime=$1
  cd /out || exit 1
  for io in pio mmio; do
    "$vtime" record -q --exit-addresses -o $io.vt -- perf stat -a -x, -o $io.perf \
      -e kvm:kvm_pio -e kvm:kvm_mmio --filter 'type != 0' -e kvm:kvm_msr -- \
      "$vtime" run --name guest --cpu 1 --workload io --io-kind $io --work 2000 --json >$io.run
    "$vtime" report --json $io.vt >$io.json
    "$vtime" report $io.vt >$io.txt
  done
}

setup_file() {
  command -v perf >/dev/null || return 0
  testbed_run --timeout 150 -- bash -c "$(declare -f inside); inside '$vtime'"
}

setup() {
  command -v perf >/dev/null || skip "no perf"
  testbed_needed
}

@test "the monitor's port and MMIO address are counted as the monitor counts them" {
  for how in 'pio port 0x5658' 'mmio MMIO 0xd0000000'; do
    read -r io kind address <<<"$how"
    [ "$(jq .monitor.service_count "$result/out/$io.run")" -eq 2000 ]
    jq -e --arg k "$kind" --arg a "$address" '[.guests[].vcpus[].addresses[] | select(.kind == $k and .hex == $a)
      | [.access, .count, .name]] == [["write", 2000, "work (vtime run)"]]' \
      "$result/out/$io.json"
  done
}

@test "ports, MMIO and MSRs are as many as perf counts of their tracepoints" {
  for io in pio mmio; do
    for pair in port:kvm_pio MMIO:kvm_mmio MSR:kvm_msr; do
      ours=$(jq --arg k "${pair%:*}" '[.guests[].vcpus[].addresses[] | select(.kind == $k).count] | add // 0' "$result/out/$io.json")
      theirs=$(awk -F, -v e="kvm:${pair#*:}" '$3 == e { print $1 }' "$result/out/$io.perf")
      echo "# $io, ${pair%:*}: ours $ours, perf's $theirs" >&3
      [ "$theirs" -gt 0 ]
      [ "$ours" -eq "$theirs" ]
    done
  done
}

@test "exits are those summed by reason, those without a sum and the one under way" {
  for io in pio mmio; do
    jq -e '.guests[].vcpus[] | (.exits_total - ([.exits[].count] | add)) as $under_way | $under_way == 0 or $under_way == 1' \
      "$result/out/$io.json"
  done
}

@test "the text report names them" {
  grep -Eq '^  guest +port +0x5658 +write +2000 .* work \(vtime run\)$' "$result/out/pio.txt"
  grep -Eq '^  guest +MMIO +0xd0000000 +write +2000 .* work \(vtime run\)$' "$result/out/mmio.txt"
  grep -Eq ' MSR +0x4b564d01 +write .* KVM system time$' "$result/out/pio.txt"
}
