-- SPDX-License-Identifier: GPL-2.0-or-later
-- A vtime recording, schema version 6. docs/SCHEMA.md explains it.
-- Times: _ns at host times is CLOCK_MONOTONIC of the host; durations end in
-- _ns too. The first column of a table grows with every new row: a reader
-- that remembers the greatest one it saw asks for what is new.
-- The order of columns is the order of lib/store/rows.c.

-- Facts of the host and of the recording, one per row.
CREATE TABLE meta (
  key   TEXT PRIMARY KEY NOT NULL,
  value ANY NOT NULL
) STRICT, WITHOUT ROWID;

-- What the numbers in the columns state, reason, kind and type mean.
CREATE TABLE code (
  kind    TEXT NOT NULL,
  value   INTEGER NOT NULL,
  name    TEXT NOT NULL,
  meaning TEXT NOT NULL,
  PRIMARY KEY (kind, value)
) STRICT, WITHOUT ROWID;

-- The CPUs (hardware threads) that were online when the recording began.
CREATE TABLE cpu (
  id       INTEGER PRIMARY KEY,
  cpu      INTEGER NOT NULL UNIQUE,
  core_id  INTEGER NOT NULL, -- the platform's number, unique within a package; -1: not told
  package  INTEGER NOT NULL, -- socket; -1: not told
  node     INTEGER NOT NULL, -- of NUMA; -1: not told
  capacity INTEGER NOT NULL, -- of 1024, which the host's fastest has; 0: not told
  sibling  INTEGER NOT NULL  -- least CPU of its core: sibling hardware threads have the same
) STRICT;

CREATE TABLE vm (
  rev           INTEGER PRIMARY KEY AUTOINCREMENT, -- a renamed VM gets a new one
  id            INTEGER NOT NULL UNIQUE,
  kind          INTEGER NOT NULL, -- code 'vm'
  tgid          INTEGER NOT NULL,
  start_time_ns INTEGER NOT NULL, -- of the process: with tgid a unique key
  name          TEXT NOT NULL
) STRICT;

-- How a VM's vCPUs were told from its other threads, where KVM's own structures do not tell;
-- the newest row of a VM counts.
CREATE TABLE vm_found (
  id    INTEGER PRIMARY KEY,
  vm    INTEGER NOT NULL REFERENCES vm (id),
  found INTEGER NOT NULL -- code 'found'
) STRICT;

-- One life of one vCPU: bound to a thread.
CREATE TABLE vcpu (
  id            INTEGER PRIMARY KEY,
  vm            INTEGER NOT NULL REFERENCES vm (id),
  vcpu_index    INTEGER NOT NULL, -- KVM's vcpu_id
  tid           INTEGER NOT NULL,
  start_time_ns INTEGER NOT NULL, -- of the thread
  born_ns       INTEGER NOT NULL  -- first instant accounted
) STRICT;

-- From at_ns on: guest TSC = offset + (host TSC * ratio >> frac_bits), modulo 2^64.
CREATE TABLE tsc_epoch (
  id           INTEGER PRIMARY KEY,
  vcpu         INTEGER NOT NULL REFERENCES vcpu (id),
  at_ns        INTEGER NOT NULL,
  offset_ticks INTEGER NOT NULL,
  ratio        INTEGER NOT NULL, -- 0: unscaled
  frac_bits    INTEGER NOT NULL
) STRICT;

-- Host TSC and CLOCK_MONOTONIC read together.
CREATE TABLE clock_pair (
  id        INTEGER PRIMARY KEY,
  at_ns     INTEGER NOT NULL,
  tsc_ticks INTEGER NOT NULL,
  bound_ns  INTEGER NOT NULL
) STRICT;

-- Losses counted; at_ns is when the counter was found to have grown.
CREATE TABLE loss (
  id     INTEGER PRIMARY KEY,
  at_ns  INTEGER NOT NULL,
  reason INTEGER NOT NULL, -- code 'loss'
  count  INTEGER NOT NULL
) STRICT;

-- What the measurement itself cost, cumulated since the start.
CREATE TABLE observer (
  id            INTEGER PRIMARY KEY,
  at_ns         INTEGER NOT NULL,
  cpu_ns        INTEGER NOT NULL, -- of the collector
  bpf_ns        INTEGER NOT NULL, -- run time of its BPF programs, 0: not known
  bpf_runs      INTEGER NOT NULL,
  rss_bytes     INTEGER NOT NULL,
  host_steal_ns INTEGER NOT NULL, -- the host's own steal, all CPUs
  host_irq_ns   INTEGER NOT NULL
) STRICT;

-- Who had a CPU while a vCPU waited on its run queue, and was no vCPU himself
-- (those tell by their slices). Nothing is told of a CPU on which nobody waits.
CREATE TABLE occupancy (
  id      INTEGER PRIMARY KEY,
  from_ns INTEGER NOT NULL,
  to_ns   INTEGER NOT NULL,
  cpu     INTEGER NOT NULL,
  kind    INTEGER NOT NULL, -- code 'occupant'
  tid     INTEGER NOT NULL,
  tgid    INTEGER NOT NULL,
  comm    TEXT NOT NULL     -- of the thread, when it left the CPU
) STRICT;

-- A vCPU that waited was moved from one CPU's run queue to another's.
CREATE TABLE move (
  id       INTEGER PRIMARY KEY,
  vcpu     INTEGER NOT NULL REFERENCES vcpu (id),
  at_ns    INTEGER NOT NULL,
  from_cpu INTEGER NOT NULL,
  to_cpu   INTEGER NOT NULL
) STRICT;

-- Exits of one vCPU for one reason, cumulated since it was born: written when
-- they grew. log2_N counts exits with 2^N <= kernel_ns < 2^(N+1).
CREATE TABLE exits (
  id         INTEGER PRIMARY KEY,
  vcpu       INTEGER NOT NULL REFERENCES vcpu (id),
  at_ns      INTEGER NOT NULL,
  reason     INTEGER NOT NULL, -- codes 'exit-vmx' or 'exit-svm', by meta's exit_isa
  count      INTEGER NOT NULL,
  kernel_ns  INTEGER NOT NULL, -- in KVM_RUN: no HLT sleep, polling, pre-emption or interrupt
  user_ns    INTEGER NOT NULL, -- in the monitor
  log2_0     INTEGER NOT NULL,
  log2_1     INTEGER NOT NULL,
  log2_2     INTEGER NOT NULL,
  log2_3     INTEGER NOT NULL,
  log2_4     INTEGER NOT NULL,
  log2_5     INTEGER NOT NULL,
  log2_6     INTEGER NOT NULL,
  log2_7     INTEGER NOT NULL,
  log2_8     INTEGER NOT NULL,
  log2_9     INTEGER NOT NULL,
  log2_10    INTEGER NOT NULL,
  log2_11    INTEGER NOT NULL,
  log2_12    INTEGER NOT NULL,
  log2_13    INTEGER NOT NULL,
  log2_14    INTEGER NOT NULL,
  log2_15    INTEGER NOT NULL,
  log2_16    INTEGER NOT NULL,
  log2_17    INTEGER NOT NULL,
  log2_18    INTEGER NOT NULL,
  log2_19    INTEGER NOT NULL,
  log2_20    INTEGER NOT NULL,
  log2_21    INTEGER NOT NULL,
  log2_22    INTEGER NOT NULL,
  log2_23    INTEGER NOT NULL,
  log2_24    INTEGER NOT NULL,
  log2_25    INTEGER NOT NULL,
  log2_26    INTEGER NOT NULL,
  log2_27    INTEGER NOT NULL,
  log2_28    INTEGER NOT NULL,
  log2_29    INTEGER NOT NULL,
  log2_30    INTEGER NOT NULL,
  log2_31    INTEGER NOT NULL
) STRICT;

-- What a vCPU accessed that KVM or its monitor had to serve, cumulated since
-- born_ns: written when it grew. Only with record --exit-addresses.
CREATE TABLE exit_address (
  id       INTEGER PRIMARY KEY,
  vcpu     INTEGER NOT NULL REFERENCES vcpu (id),
  at_ns    INTEGER NOT NULL,
  kind     INTEGER NOT NULL, -- code 'access'
  is_write INTEGER NOT NULL,
  address  INTEGER NOT NULL, -- port; MMIO: the exact guest-physical address; index of the MSR
  count    INTEGER NOT NULL
) STRICT;

-- KVM's own statistics of a vCPU: what the kernel calls them. None: they could not be read.
CREATE TABLE kvm_stat (
  id   INTEGER PRIMARY KEY,
  name TEXT NOT NULL,
  unit TEXT NOT NULL -- 'ns', 'bytes', ...; empty: a plain count
) STRICT;

-- What one of them had grown by since vcpu.born_ns: written when it grew.
CREATE TABLE kvm_count (
  id    INTEGER PRIMARY KEY,
  vcpu  INTEGER NOT NULL REFERENCES vcpu (id),
  at_ns INTEGER NOT NULL,
  stat  INTEGER NOT NULL REFERENCES kvm_stat (id),
  count INTEGER NOT NULL
) STRICT;

-- A thread that helps a VM and is no vCPU: of its process, or a vhost worker.
CREATE TABLE helper (
  id            INTEGER PRIMARY KEY,
  vm            INTEGER NOT NULL REFERENCES vm (id),
  tid           INTEGER NOT NULL,
  start_time_ns INTEGER NOT NULL,
  born_ns       INTEGER NOT NULL, -- first instant accounted
  comm          TEXT NOT NULL
) STRICT;

-- Its time by state, cumulated since born_ns: written when it grew.
CREATE TABLE helper_time (
  id         INTEGER PRIMARY KEY,
  helper     INTEGER NOT NULL REFERENCES helper (id),
  at_ns      INTEGER NOT NULL,
  on_cpu_ns  INTEGER NOT NULL,
  waited_ns  INTEGER NOT NULL, -- for a CPU
  blocked_ns INTEGER NOT NULL,
  stopped_ns INTEGER NOT NULL,
  lost_ns    INTEGER NOT NULL
) STRICT;

-- A helper waited for a CPU, for no less than meta's helper_wait_ns.
CREATE TABLE helper_wait (
  id      INTEGER PRIMARY KEY,
  helper  INTEGER NOT NULL REFERENCES helper (id),
  from_ns INTEGER NOT NULL,
  to_ns   INTEGER NOT NULL
) STRICT;

-- Of from_ns..to_ns, in which the vCPU was on a CPU, so much of it was stolen from this host itself.
CREATE TABLE outer_steal (
  id       INTEGER PRIMARY KEY,
  vcpu     INTEGER NOT NULL REFERENCES vcpu (id),
  from_ns  INTEGER NOT NULL,
  to_ns    INTEGER NOT NULL,
  steal_ns INTEGER NOT NULL
) STRICT;

-- The kernel's integrals of one vCPU, cumulated since born_ns up to last_ns;
-- from last_ns to at_ns it was in `state`. The view `integral` adds the two.
CREATE TABLE checkpoint (
  id                INTEGER PRIMARY KEY,
  vcpu              INTEGER NOT NULL REFERENCES vcpu (id),
  at_ns             INTEGER NOT NULL,
  last_ns           INTEGER NOT NULL,
  state             INTEGER NOT NULL, -- code 'state'
  lost_ns           INTEGER NOT NULL,
  absent_ns         INTEGER NOT NULL,
  stopped_ns        INTEGER NOT NULL,
  irq_ns            INTEGER NOT NULL,
  poll_ns           INTEGER NOT NULL,
  guest_ns          INTEGER NOT NULL,
  kvm_ns            INTEGER NOT NULL,
  vmm_ns            INTEGER NOT NULL,
  run_ns            INTEGER NOT NULL,
  throttled_ns      INTEGER NOT NULL,
  waking_ns         INTEGER NOT NULL,
  preempted_ns      INTEGER NOT NULL,
  halted_ns         INTEGER NOT NULL,
  blocked_ns        INTEGER NOT NULL,
  idleq_ns          INTEGER NOT NULL,
  switches          INTEGER NOT NULL,
  migrations        INTEGER NOT NULL,
  exits             INTEGER NOT NULL,
  user_exits        INTEGER NOT NULL,
  halts             INTEGER NOT NULL,
  wake_idle_ns      INTEGER NOT NULL, -- WAKING while the CPU was idle
  in_no_wake        INTEGER NOT NULL, -- edges refused, see code 'desync'
  in_on_cpu         INTEGER NOT NULL,
  out_off_cpu       INTEGER NOT NULL,
  out_guest         INTEGER NOT NULL,
  mode              INTEGER NOT NULL,
  backwards         INTEGER NOT NULL,
  open_slice        BLOB NOT NULL,    -- the slice under way, coded as chunk.data
  proc_run_ns       INTEGER NOT NULL, -- schedstat, 0: not readable
  proc_run_delay_ns INTEGER NOT NULL,
  proc_at_ns        INTEGER NOT NULL
) STRICT;

-- Slices (wait-then-run cycles) of one vCPU, contiguous, coded: lib/store/chunk.h.
CREATE TABLE chunk (
  id        INTEGER PRIMARY KEY,
  vcpu      INTEGER NOT NULL REFERENCES vcpu (id),
  first_seq INTEGER NOT NULL,
  begin_ns  INTEGER NOT NULL, -- t_out of the first slice
  end_ns    INTEGER NOT NULL, -- t_end of the last
  slices    INTEGER NOT NULL,
  data      BLOB NOT NULL
) STRICT;

-- Each perf_event that was asked for, tried alone.
CREATE TABLE counter_event (
  id     INTEGER PRIMARY KEY,
  vcpu   INTEGER NOT NULL, -- 0: tried on the collector, at its start; else that vCPU's failed
  at_ns  INTEGER NOT NULL,
  event  INTEGER NOT NULL, -- code 'counter'
  side   INTEGER NOT NULL, -- code 'side'
  error  INTEGER NOT NULL, -- errno, 0: it is there
  reason TEXT NOT NULL
) STRICT;

-- Readings of a vCPU's counters, cumulated since they were opened and not
-- scaled: running_ns < enabled_ns where events took turns on the PMU. A vCPU
-- whose counters stood still has no row until they go on.
CREATE TABLE counter (
  id         INTEGER PRIMARY KEY,
  vcpu       INTEGER NOT NULL REFERENCES vcpu (id),
  at_ns      INTEGER NOT NULL,
  event      INTEGER NOT NULL, -- code 'counter'
  side       INTEGER NOT NULL, -- code 'side'
  count      INTEGER NOT NULL,
  enabled_ns INTEGER NOT NULL, -- the thread was on a CPU
  running_ns INTEGER NOT NULL  -- and the event was counted
) STRICT;

-- What the guests said. Not trusted. The id is common to hello, clock_view,
-- mark, gaps, system, os_view, cpus, process, run, task, tasks and event, in
-- order of arrival. 64-bit values are the guest's bits: one of 2^63 or more
-- shows as negative. host_ns is when the host had the record; one that was
-- imported later came when the recording had ended.
CREATE TABLE hello (
  id       INTEGER PRIMARY KEY,
  vm       INTEGER NOT NULL REFERENCES vm (id),
  host_ns  INTEGER NOT NULL,
  host_tsc INTEGER NOT NULL, -- 0: no trusted relay
  kind     INTEGER NOT NULL, -- code 'guest'
  nr_vcpus INTEGER NOT NULL,
  tick_ns  INTEGER NOT NULL, -- period of the tick clock, 0: tickless
  name     TEXT NOT NULL,    -- printable: hostile bytes show as \xHH
  name_hex TEXT              -- the bytes in hex, where they differ from `name`
) STRICT;

-- The guest's clocks, read between two reads of its TSC.
CREATE TABLE clock_view (
  id               INTEGER PRIMARY KEY,
  vm               INTEGER NOT NULL REFERENCES vm (id),
  host_ns          INTEGER NOT NULL,
  host_tsc         INTEGER NOT NULL,
  vcpu_index       INTEGER NOT NULL,
  have             INTEGER NOT NULL, -- bits: which readings are valid, code 'have'
  tsc_before       INTEGER NOT NULL,
  tsc_after        INTEGER NOT NULL,
  kvmclock_ns      INTEGER NOT NULL,
  steal_ns         INTEGER NOT NULL,
  ticks            INTEGER NOT NULL,
  tick_ns          INTEGER NOT NULL,
  charged_ns       INTEGER NOT NULL,
  monotonic_ns     INTEGER NOT NULL,
  cputime_ns       INTEGER NOT NULL,
  work_done        INTEGER NOT NULL, -- units of the workload
  pv_tsc_timestamp INTEGER NOT NULL, -- the pvclock page as read
  pv_system_time   INTEGER NOT NULL,
  pv_mul           INTEGER NOT NULL,
  pv_shift         INTEGER NOT NULL
) STRICT;

-- Begin, end or point of a benchmark, with the clocks as in clock_view.
CREATE TABLE mark (
  id               INTEGER PRIMARY KEY,
  vm               INTEGER NOT NULL REFERENCES vm (id),
  host_ns          INTEGER NOT NULL,
  host_tsc         INTEGER NOT NULL,
  vcpu_index       INTEGER NOT NULL,
  have             INTEGER NOT NULL,
  tsc_before       INTEGER NOT NULL,
  tsc_after        INTEGER NOT NULL,
  kvmclock_ns      INTEGER NOT NULL,
  steal_ns         INTEGER NOT NULL,
  ticks            INTEGER NOT NULL,
  tick_ns          INTEGER NOT NULL,
  charged_ns       INTEGER NOT NULL,
  monotonic_ns     INTEGER NOT NULL,
  cputime_ns       INTEGER NOT NULL,
  work_done        INTEGER NOT NULL,
  pv_tsc_timestamp INTEGER NOT NULL,
  pv_system_time   INTEGER NOT NULL,
  pv_mul           INTEGER NOT NULL,
  pv_shift         INTEGER NOT NULL,
  kind             INTEGER NOT NULL, -- code 'mark'
  mark             INTEGER NOT NULL, -- pairs a begin with its end
  name             TEXT NOT NULL,
  name_hex         TEXT
) STRICT;

-- What the gap workload saw since its begin mark; its newest gaps are in `gap`.
CREATE TABLE gaps (
  id              INTEGER PRIMARY KEY,
  vm              INTEGER NOT NULL REFERENCES vm (id),
  host_ns         INTEGER NOT NULL,
  host_tsc        INTEGER NOT NULL,
  vcpu_index      INTEGER NOT NULL,
  nr              INTEGER NOT NULL, -- rows in `gap`
  threshold_ticks INTEGER NOT NULL,
  count           INTEGER NOT NULL,
  sum_ticks       INTEGER NOT NULL,
  longest_ticks   INTEGER NOT NULL
) STRICT;

CREATE TABLE gap (
  gaps      INTEGER NOT NULL REFERENCES gaps (id),
  nr        INTEGER NOT NULL, -- from 0
  at_tsc    INTEGER NOT NULL, -- guest TSC of the last read before it
  len_ticks INTEGER NOT NULL,
  PRIMARY KEY (gaps, nr)
) STRICT, WITHOUT ROWID;

-- An operating system with vtime-agent, of itself: after hello, and again when it changed.
CREATE TABLE system (
  id              INTEGER PRIMARY KEY,
  vm              INTEGER NOT NULL REFERENCES vm (id),
  host_ns         INTEGER NOT NULL,
  host_tsc        INTEGER NOT NULL,
  session         INTEGER NOT NULL, -- of the agent's life, drawn at random
  boot_id_0       INTEGER NOT NULL, -- two halves of the boot id
  boot_id_1       INTEGER NOT NULL,
  tsc_khz         INTEGER NOT NULL, -- 0: not told
  nr_online       INTEGER NOT NULL,
  nr_possible     INTEGER NOT NULL,
  user_hz         INTEGER NOT NULL,
  view_mhz        INTEGER NOT NULL, -- views each 1000 s
  task_source     INTEGER NOT NULL, -- code 'tasks'
  release         INTEGER NOT NULL, -- the agent's: major << 16 | minor
  kernel          TEXT NOT NULL,
  kernel_hex      TEXT, -- see hello.name_hex
  clocksource     TEXT NOT NULL,
  clocksource_hex TEXT,
  hypervisor      TEXT NOT NULL, -- empty: none
  hypervisor_hex  TEXT
) STRICT;

-- The system's clocks: tsc_N <= the reading of clock N <= tsc_N+1, in the order of the
-- columns.
CREATE TABLE os_view (
  id              INTEGER PRIMARY KEY,
  vm              INTEGER NOT NULL REFERENCES vm (id),
  host_ns         INTEGER NOT NULL,
  host_tsc        INTEGER NOT NULL,
  cpu             INTEGER NOT NULL,
  have            INTEGER NOT NULL, -- bit per clock, from monotonic
  tsc_0           INTEGER NOT NULL,
  tsc_1           INTEGER NOT NULL,
  tsc_2           INTEGER NOT NULL,
  tsc_3           INTEGER NOT NULL,
  tsc_4           INTEGER NOT NULL,
  tsc_5           INTEGER NOT NULL,
  monotonic_ns    INTEGER NOT NULL,
  raw_ns          INTEGER NOT NULL,
  realtime_ns     INTEGER NOT NULL,
  boottime_ns     INTEGER NOT NULL,
  tai_ns          INTEGER NOT NULL,
  uptime_ns       INTEGER NOT NULL, -- /proc/uptime
  idle_ns         INTEGER NOT NULL,
  ntp_offset_ns   INTEGER NOT NULL, -- adjtimex(2)
  ntp_freq        INTEGER NOT NULL, -- ppm * 2^16
  ntp_maxerror_ns INTEGER NOT NULL,
  ntp_esterror_ns INTEGER NOT NULL,
  ntp_status      INTEGER NOT NULL,
  ntp_state       INTEGER NOT NULL,
  ntp_tick_us     INTEGER NOT NULL,
  tai_offset_s    INTEGER NOT NULL
) STRICT;

-- The system's CPU times: its rows are in `cpu_time`.
CREATE TABLE cpus (
  id         INTEGER PRIMARY KEY,
  vm         INTEGER NOT NULL REFERENCES vm (id),
  host_ns    INTEGER NOT NULL,
  host_tsc   INTEGER NOT NULL,
  tsc_before INTEGER NOT NULL,
  tsc_after  INTEGER NOT NULL,
  nr         INTEGER NOT NULL -- rows in `cpu_time`
) STRICT;

-- Of /proc/stat.
CREATE TABLE cpu_time (
  cpus       INTEGER NOT NULL REFERENCES cpus (id),
  nr         INTEGER NOT NULL, -- from 0
  cpu        INTEGER NOT NULL,
  online     INTEGER NOT NULL,
  user_ns    INTEGER NOT NULL,
  nice_ns    INTEGER NOT NULL,
  system_ns  INTEGER NOT NULL,
  idle_ns    INTEGER NOT NULL,
  iowait_ns  INTEGER NOT NULL,
  irq_ns     INTEGER NOT NULL,
  softirq_ns INTEGER NOT NULL,
  steal_ns   INTEGER NOT NULL,
  guest_ns   INTEGER NOT NULL,
  PRIMARY KEY (cpus, nr)
) STRICT, WITHOUT ROWID;

-- A process of the guest, all its threads.
CREATE TABLE process (
  id          INTEGER PRIMARY KEY,
  vm          INTEGER NOT NULL REFERENCES vm (id),
  host_ns     INTEGER NOT NULL,
  host_tsc    INTEGER NOT NULL,
  tsc_before  INTEGER NOT NULL,
  tsc_after   INTEGER NOT NULL,
  start_ticks INTEGER NOT NULL, -- since the guest's boot, user_hz: with pid a unique key
  pid         INTEGER NOT NULL,
  ppid        INTEGER NOT NULL,
  threads     INTEGER NOT NULL,
  mark        INTEGER NOT NULL, -- of the benchmark that it belongs to; 0: chosen by name or pid
  utime_ns    INTEGER NOT NULL, -- its own and those of children waited for
  stime_ns    INTEGER NOT NULL,
  run_ns      INTEGER NOT NULL, -- schedstat of its threads; both 0: the kernel has none
  delay_ns    INTEGER NOT NULL,
  comm        TEXT NOT NULL,
  comm_hex    TEXT
) STRICT;

-- What wait4(2) said of a benchmark's command.
CREATE TABLE run (
  id           INTEGER PRIMARY KEY,
  vm           INTEGER NOT NULL REFERENCES vm (id),
  host_ns      INTEGER NOT NULL,
  host_tsc     INTEGER NOT NULL,
  mark         INTEGER NOT NULL,
  repeat       INTEGER NOT NULL, -- which of `of`, from 1
  of           INTEGER NOT NULL,
  status       INTEGER NOT NULL, -- wait(2)'s word
  pid          INTEGER NOT NULL,
  elapsed_ns   INTEGER NOT NULL, -- CLOCK_MONOTONIC
  utime_ns     INTEGER NOT NULL,
  stime_ns     INTEGER NOT NULL,
  maxrss_kib   INTEGER NOT NULL,
  minor_faults INTEGER NOT NULL,
  major_faults INTEGER NOT NULL,
  voluntary    INTEGER NOT NULL,
  involuntary  INTEGER NOT NULL
) STRICT;

-- Who a tid is, before its first stretch.
CREATE TABLE task (
  id       INTEGER PRIMARY KEY,
  vm       INTEGER NOT NULL REFERENCES vm (id),
  host_ns  INTEGER NOT NULL,
  host_tsc INTEGER NOT NULL,
  tid      INTEGER NOT NULL,
  tgid     INTEGER NOT NULL,
  mark     INTEGER NOT NULL, -- of the benchmark whose command it descends from; 0: none
  comm     TEXT NOT NULL,
  comm_hex TEXT
) STRICT;

-- Stretches of tasks on one vCPU, packed: include/vt/task_pack.h.
CREATE TABLE tasks (
  id       INTEGER PRIMARY KEY,
  vm       INTEGER NOT NULL REFERENCES vm (id),
  host_ns  INTEGER NOT NULL,
  host_tsc INTEGER NOT NULL,
  base_tsc INTEGER NOT NULL, -- before the first stretch
  cpu      INTEGER NOT NULL,
  source   INTEGER NOT NULL, -- code 'tasks'
  nr       INTEGER NOT NULL, -- stretches
  lost     INTEGER NOT NULL, -- stretches missing before the first
  data     BLOB NOT NULL
) STRICT;

-- What befell the system.
CREATE TABLE event (
  id       INTEGER PRIMARY KEY,
  vm       INTEGER NOT NULL REFERENCES vm (id),
  host_ns  INTEGER NOT NULL,
  host_tsc INTEGER NOT NULL,
  tsc      INTEGER NOT NULL,
  kind     INTEGER NOT NULL, -- code 'event'
  cpu      INTEGER NOT NULL,
  a        INTEGER NOT NULL, -- see the code
  b        INTEGER NOT NULL,
  text     TEXT NOT NULL,
  text_hex TEXT
) STRICT;

-- A question to a guest's agent and its answer: sent <= guest_received <= guest_sent <=
-- received.  The guest's two readings are its word, the rest is the host's.
CREATE TABLE exchange (
  id                 INTEGER PRIMARY KEY,
  vm                 INTEGER NOT NULL REFERENCES vm (id),
  session            INTEGER NOT NULL, -- see system.session
  sent_ns            INTEGER NOT NULL,
  received_ns        INTEGER NOT NULL,
  sent_tsc           INTEGER NOT NULL, -- host TSC, just before sending
  received_tsc       INTEGER NOT NULL, -- just after receiving
  guest_received_tsc INTEGER NOT NULL, -- the guest's TSC
  guest_sent_tsc     INTEGER NOT NULL
) STRICT;

-- What befell an agent's channel. At most one row per kind, channel and writing.
CREATE TABLE channel_event (
  id       INTEGER PRIMARY KEY,
  vm       INTEGER NOT NULL REFERENCES vm (id),
  at_ns    INTEGER NOT NULL, -- the first of them
  kind     INTEGER NOT NULL, -- code 'channel'
  count    INTEGER NOT NULL, -- see the code
  text     TEXT NOT NULL,
  text_hex TEXT
) STRICT;

-- The integrals at at_ns itself: the states of a row sum to at_ns - born_ns.
CREATE VIEW integral AS
SELECT c.id, v.vm, c.vcpu, v.vcpu_index, c.at_ns,
  lost_ns      + (state = 0) * (at_ns - last_ns) AS lost_ns,
  absent_ns    + (state = 1) * (at_ns - last_ns) AS absent_ns,
  stopped_ns   + (state = 2) * (at_ns - last_ns) AS stopped_ns,
  irq_ns       + (state = 3) * (at_ns - last_ns) AS irq_ns,
  poll_ns      + (state = 4) * (at_ns - last_ns) AS poll_ns,
  guest_ns     + (state = 5) * (at_ns - last_ns) AS guest_ns,
  kvm_ns       + (state = 6) * (at_ns - last_ns) AS kvm_ns,
  vmm_ns       + (state = 7) * (at_ns - last_ns) AS vmm_ns,
  run_ns       + (state = 8) * (at_ns - last_ns) AS run_ns,
  throttled_ns + (state = 9) * (at_ns - last_ns) AS throttled_ns,
  waking_ns    + (state = 10) * (at_ns - last_ns) AS waking_ns,
  preempted_ns + (state = 11) * (at_ns - last_ns) AS preempted_ns,
  halted_ns    + (state = 12) * (at_ns - last_ns) AS halted_ns,
  blocked_ns   + (state = 13) * (at_ns - last_ns) AS blocked_ns,
  idleq_ns     + (state = 14) * (at_ns - last_ns) AS idleq_ns
FROM checkpoint AS c JOIN vcpu AS v ON v.id = c.vcpu;
