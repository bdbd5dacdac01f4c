# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck shell=bash disable=SC2054  # QEMU's commas
# Linux guests for tests: by QEMU's emulation, by KVM, and User Mode Linux, each with
# vtime-agent and a channel for commands. For bats files and, in the testbed, for any bash.
#
#   start_tcg_guest one --transport virtio --cpu 1
#   guest_do one 'vtime-agent bench --name loop -- loop 100000000'
#   end_guest one
#
# What belongs to a guest is in $GUESTS_DIR/NAME: pid, agent (the host's end of the
# agent's channel: a unix socket), console, control.out (all that its init said).
# A guest ends with the shell that started it: never start one in a subshell.

guests_repo=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd -P)
GUESTS_DIR=${GUESTS_DIR:-${BATS_FILE_TMPDIR:?}/guests}
# Seconds: one guest boots in 3 on an idle machine.
GUEST_BOOT_SECONDS=${GUEST_BOOT_SECONDS:-90}
rivals=()

# guests_image: for setup_file: all that guests boot from; where it is not to be had,
# guests_needed skips the tests
guests_image() {
  local code=0
  mkdir -p "$GUESTS_DIR"
  "$guests_repo/tests/guests/guest.sh" image 2>"$GUESTS_DIR/image.err" 3>&- || code=$?
  [ $code -ne 77 ] || return 0
  cat "$GUESTS_DIR/image.err" >&2
  rm -f "$GUESTS_DIR/image.err"
  return $code
}

# guests_needed: for setup
guests_needed() {
  [ ! -e "$GUESTS_DIR/image.err" ] || skip "$(tail -n 1 "$GUESTS_DIR/image.err")"
}

# Options of all start_*_guest but for uml's:
#   --smp N                 vCPUs (1)
#   --memory MIB            (160)
#   --transport KIND        the agent's channel: virtio (default), tty, tcp:PORT (a port of
#                           this machine that the agent connects to), vsock:CID, none
#   --agent WORDS           more options for vtime-agent
#   --cpu LIST              CPU for vCPU 0, for vCPU 1…; one alone: for all of them
#   --disk MIB              a disk of zeros, /dev/vda (uml: /dev/ubda)
#   --append WORDS          more for the kernel's command line
#   --shared                its memory is a file, `memory` in its directory
#   --no-wait               return before it has booted: await_guest does the rest
# Uml knows --agent, --cpu, --memory, --disk, --append and --no-wait; its agent's channel is a tty.
guest_options() {
  smp=1 memory=160 transport=virtio options='' cpus='' disk='' append='' await=1 shared=''
  while [ $# -gt 0 ]; do
    case $1 in
    --smp) smp=$2 ;;
    --memory) memory=$2 ;;
    --transport) transport=$2 ;;
    --agent) options=${2// /,} ;;
    --cpu) cpus=$2 ;;
    --disk) disk=$2 ;;
    --append) append=$2 ;;
    --shared) shared=1 && shift && continue ;;
    --no-wait) await='' && shift && continue ;;
    *) echo "guests: unknown option $1" >&2 && return 2 ;;
    esac
    shift 2
  done
}

# make_place NAME: an empty directory of the guest, its path in $place
make_place() {
  place=$GUESTS_DIR/$1
  [ ! -e "$place/pid" ] || end_guest "$1"
  rm -rf "$place"
  mkdir -p "$place"
  mkfifo "$place/control.in"
  : >"$place/control.out"
  [ -z "$disk" ] || truncate -s "${disk}M" "$place/disk"
}

# launch COMMAND…: in the background, in a session of its own, and ended with this shell
launch() {
  setpriv --pdeathsig KILL setsid "$@" </dev/null >"$place/stdout" 2>&1 3>&- &
  guest_pid=$!
  echo "$guest_pid" >"$place/pid"
}

# start_qemu_guest NAME ACCELERATOR CPU-MODEL KERNEL-WORDS OPTION…
start_qemu_guest() {
  local name=$1 accelerator=$2 model=$3 words=$4
  local smp memory transport options cpus disk append await shared place lists='' more=()
  shift 4
  guest_options "$@" || return
  make_place "$name"
  # a unix socket on which QEMU listens, whoever comes
  local agent="socket,id=agent,path=$place/agent,server=on,wait=off"
  case $transport in
  virtio)
    words+=' vt.agent=virtio'
    more+=(-chardev "$agent" -device virtserialport,chardev=agent,name=org.vtime.agent.0)
    ;;
  tty)
    words+=' vt.agent=tty:/dev/ttyS1'
    more+=(-chardev "$agent" -serial chardev:agent)
    ;;
  tcp:*)
    words+=" vt.agent=tcp:10.0.2.2:${transport#tcp:}"
    more+=(-netdev user,id=net -device virtio-net-pci,netdev=net,romfile=)
    lists+=,net
    ;;
  vsock:*)
    words+=' vt.agent=vsock'
    more+=(-device "vhost-vsock-pci,guest-cid=${transport#vsock:}")
    lists+=,vsock
    ;;
  none) ;;
  *) echo "guests: unknown transport $transport" >&2 && return 2 ;;
  esac
  if [ -n "$disk" ]; then
    more+=(-drive "file=$place/disk,format=raw,if=virtio,cache=none")
    lists+=,blk
  fi
  if [ -n "$shared" ]; then
    more+=(-object "memory-backend-file,id=memory,size=${memory}M,mem-path=$place/memory,share=on")
    more+=(-machine memory-backend=memory)
  fi
  # QEMU opens the two files of a pipe for reading and writing: it waits for nobody
  ln -sf control.out "$place/control.pipe.out"
  ln -sf control.in "$place/control.pipe.in"
  launch qemu-system-x86_64 -accel "$accelerator" -cpu "$model" -name "guest=$name,debug-threads=on" \
    -smp "$smp" -m "$memory" -nodefaults -no-user-config -display none \
    -kernel "$("$guests_repo/tests/guests/guest.sh" kernel)" -initrd "$(guest_initramfs)" \
    -append "console=ttyS0 quiet $words vt.name=$name vt.options=$options vt.modules=${lists#,} $append" \
    -serial "file:$place/console" -device virtio-serial-pci \
    -chardev "pipe,id=control,path=$place/control.pipe" -device virtserialport,chardev=control,name=control \
    "${more[@]}"
  [ -z "$cpus" ] || echo "$smp $cpus" >"$place/pin"
  [ -z "$await" ] || await_guest "$name"
}

guest_initramfs() { echo "${VT_GUESTS_DIR:-$guests_repo/build/guests}/initramfs"; }

# pin_vcpus NAME: of QEMU, whose threads are named "CPU 0/TCG" and the like; only now, so
# that it boots as quickly as it can
pin_vcpus() {
  local smp cpus list i comm
  read -r smp cpus <"$GUESTS_DIR/$1/pin"
  IFS=, read -r -a list <<<"$cpus"
  for i in $(seq 0 $((smp - 1))); do
    comm=$(grep -ls "^CPU $i/" "/proc/$(cat "$GUESTS_DIR/$1/pid")/task/"*/comm) || return
    comm=${comm%/comm}
    taskset -pc "${list[$i]:-${list[0]}}" "${comm##*/}" >/dev/null
  done
}

# pin_guest NAME CPU: with all its monitor's threads, as `taskset` would have it. Where a thread that serves
# timers and devices has another CPU, its lock goes to and fro between the two, and vCPUs sleep for it.
pin_guest() { taskset -apc "$2" "$(cat "$GUESTS_DIR/$1/pid")" >/dev/null; }

# start_tcg_guest NAME OPTION…: QEMU emulates the CPU; each vCPU is a thread.
# Under emulation timer interrupts come late: without the two words the kernel would
# panic over one or give up the TSC.
start_tcg_guest() {
  local name=$1
  shift
  start_qemu_guest "$name" tcg,thread=multi max 'tsc=reliable no_timer_check' "$@"
}

# start_kvm_guest NAME OPTION…: where /dev/kvm has hardware, or emulated hardware, beneath it.
# Without pv-eoi a guest leaves guest mode soon after each interrupt, for its end: see
# ../testbed/README.md for what QEMU's emulation does until then.
start_kvm_guest() {
  local name=$1
  shift
  start_qemu_guest "$name" kvm host,kvm-pv-eoi=off '' "$@"
}

# start_uml_guest NAME OPTION…: the same initramfs on Debian's User Mode Linux, all of it
# on the CPUs of --cpu
start_uml_guest() {
  local name=$1 smp memory transport options cpus disk append await shared place more=()
  shift
  guest_options "$@" || return
  make_place "$name"
  mkfifo "$place/control.fifo"
  # UML polls what it writes to, and a file cannot be polled
  cat "$place/control.fifo" >>"$place/control.out" 3>&- &
  echo $! >"$place/copier"
  [ -z "$disk" ] || more=("ubd0s=$place/disk")
  # shellcheck disable=SC2086  # a list of words
  launch taskset -c "${cpus:-0-$(($(nproc) - 1))}" "$guests_repo/build/guests/bin/line" "$place/agent" 5 -- \
    linux.uml "umid=$name" "uml_dir=$place" "initrd=$(guest_initramfs)" "mem=${memory}M" quiet zswap.enabled=0 \
    con=null con0=null,fd:1 ssl=null ssl0=fd:5 ssl1=fd:6,fd:7 "${more[@]}" \
    "vt.name=$name" "vt.options=$options" vt.agent=tty:/dev/ttyS0 vt.control=tty:/dev/ttyS1 $append 6<>"$place/control.in" 7>"$place/control.fifo"
  [ -z "$await" ] || await_guest "$name"
}

# is_alive NAME: its process runs; one that ended is there until this shell waits for it
is_alive() {
  local stat=Z
  { read -r stat <"/proc/$(cat "$GUESTS_DIR/$1/pid")/stat"; } 2>/dev/null
  stat=${stat##*) }
  [[ $stat != [ZX]* ]]
}

# listen NAME OFFSET: opens descriptor $said onto what its init says after so many bytes
listen() {
  exec {said}< <(exec tail -s 0.2 -c "+$(($2 + 1))" -f "$GUESTS_DIR/$1/control.out" 2>/dev/null 3>&-)
  listener=$!
}

# hear NAME UNTIL: the next line is in $line; 124: the second UNTIL of this shell came
# before, 125: the guest is gone
hear() {
  local part=''
  line=''
  while ! IFS= read -r -t 0.5 -u "$said" part; do
    line+=$part
    is_alive "$1" || return 125
    [ "$SECONDS" -lt "$2" ] || return 124
  done
  line+=$part
}

stop_listening() {
  kill "$listener" 2>/dev/null || true
  exec {said}<&-
}

# await_guest NAME: until it has booted and is where it belongs; its console is shown if
# it does not boot
await_guest() {
  local line='' said listener code=0 until=$((SECONDS + GUEST_BOOT_SECONDS))
  listen "$1" 0
  while [ $code -eq 0 ] && [[ $line != 'guest ready '* ]]; do hear "$1" $until || code=$?; done
  stop_listening
  [ $code -eq 0 ] || {
    echo "guests: $1 does not boot" >&2
    tail -n 20 "$GUESTS_DIR/$1/stdout" "$GUESTS_DIR/$1/console" >&2 2>/dev/null
    return 1
  }
  [ ! -e "$GUESTS_DIR/$1/pin" ] || pin_vcpus "$1"
}

# guest_do NAME LINE [SECONDS]: runs a line of shell in it; output and status are the
# line's. 124: no answer in SECONDS (60), 125: the guest is gone. Several at once may run.
guest_do() {
  local dir=$GUESTS_DIR/$1 token=t$BASHPID.$RANDOM$RANDOM until=$((SECONDS + ${3:-60}))
  local line said listener code=0
  [[ $2 != *$'\n'* ]] || return 2
  listen "$1" "$(stat -c %s "$dir/control.out")"
  echo "$token $2" 1<>"$dir/control.in"
  print_answer "$1" "$token" "$until" || code=$?
  stop_listening
  return "$code"
}

# print_answer NAME TOKEN UNTIL: what init.sh puts between its two lines
print_answer() {
  local held=''
  while hear "$1" "$3" || return; do
    [ "$line" != "$2 begin" ] || break
  done
  hear "$1" "$3" || return
  while [[ $line != "$2 end "* ]]; do
    held=$line
    hear "$1" "$3" || return
    # a newline was put before the end: an output that ends with its own leaves an empty line
    if [[ $line == "$2 end "* ]]; then printf %s "$held"; else printf '%s\n' "$held"; fi
  done
  return "${line##* }"
}

# end_guest NAME: and all that belongs to it
end_guest() {
  local dir=$GUESTS_DIR/$1 pid
  while read -r pid; do
    kill -KILL "$pid" 2>/dev/null || true
    wait "$pid" 2>/dev/null || true
  done < <(cat "$dir/pid" "$dir/copier" 2>/dev/null)
  rm -f "$dir/pid" "$dir/copier"
}

# cpu_used NAME: what all its processes have really used of CPUs until now by the host's
# account, in ms; of threads that have ended too
cpu_used() {
  local pid
  pid=$(cat "$GUESTS_DIR/$1/pid")
  # after the name in brackets: session 4; user, system, and those of children that ended 12 to 15
  cat /proc/[0-9]*/stat 2>/dev/null | sed 's/.*) //' |
    awk -v session="$pid" -v hz="$(getconf CLK_TCK)" '
      $4 == session { ticks += $12 + $13 + $14 + $15 } END { print int(ticks * 1000 / hz) }'
}

# cut_channel, join_channel NAME: of the agent of a UML guest: as if the line were cut
cut_channel() {
  kill -USR1 "$(cat "$GUESTS_DIR/$1/agent.pid")"
}

join_channel() { cut_channel "$1"; }

# end_guests: all of this file, and the rivals; for teardown
end_guests() {
  local place
  for place in "$GUESTS_DIR"/*/; do
    [ ! -e "$place/pid" ] || end_guest "$(basename "$place")"
  done
  end_rivals
}

# start_rivals N CPU: busy loops on a CPU, each in a session of its own, which autogroup
# weighs as one; they are under way when it returns
start_rivals() {
  local pid
  for _ in $(seq "$1"); do
    setpriv --pdeathsig KILL setsid taskset -c "$2" sh -c 'while :; do :; done' </dev/null >/dev/null 2>&1 3>&- &
    rivals+=($!)
  done
  for pid in "${rivals[@]}"; do await_rival "$pid" || return; done
}

# await_rival PID: until it has used the CPU for 100 ms, which its start does not take
await_rival() {
  local ran
  for _ in $(seq 500); do
    read -r ran _ <"/proc/$1/schedstat"
    [ "$ran" -lt 100000000 ] || return 0
    sleep 0.02
  done
  return 1
}

end_rivals() {
  local pid
  for pid in "${rivals[@]}"; do
    kill -KILL "$pid" 2>/dev/null || true
    wait "$pid" 2>/dev/null || true
  done
  rivals=()
}
