/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "base/state.h"

const struct vt_state_info vt_states[VT_NR_STATES] = {
    [VT_LOST] = { "LOST", VT_CLASS_UNKNOWN, "unknown: records were lost or contradict each other" },
    [VT_ABSENT] = { "ABSENT", VT_CLASS_NONE, "before creation or after exit" },
    [VT_STOPPED] = { "STOPPED", VT_CLASS_PAUSED, "stopped, traced or frozen" },
    [VT_IRQ] = { "IRQ", VT_CLASS_STOLEN, "on CPU, but a host interrupt runs in its slice, or is due" },
    [VT_POLL] = { "POLL", VT_CLASS_IDLE, "KVM polls after HLT before it blocks" },
    [VT_GUEST] = { "GUEST", VT_CLASS_USED, "on CPU in guest mode" },
    [VT_KVM] = { "KVM", VT_CLASS_OVERHEAD, "on CPU, host kernel serving an exit" },
    [VT_VMM] = { "VMM", VT_CLASS_OVERHEAD, "on CPU outside KVM_RUN: the monitor" },
    [VT_RUN] = { "RUN", VT_CLASS_USED,
                 "on CPU in KVM_RUN (GUEST and KVM merged); of a guest that is not KVM: on CPU" },
    [VT_THROTTLED] = { "THROTTLED", VT_CLASS_STOLEN, "runnable, held by a CPU quota" },
    [VT_WAKING] = { "WAKING", VT_CLASS_STOLEN, "runnable after a wake-up, not yet on a CPU" },
    [VT_PREEMPTED] = { "PREEMPTED", VT_CLASS_STOLEN, "runnable, lost the CPU" },
    [VT_HALTED] = { "HALTED", VT_CLASS_IDLE, "blocked after HLT: the guest is idle" },
    [VT_BLOCKED] = { "BLOCKED", VT_CLASS_STALLED, "blocked in the host" },
    [VT_IDLEQ] = { "IDLE?", VT_CLASS_IDLE, "interruptible sleep of a guest that is not KVM" },
};

const struct vt_vm_kind_info vt_vm_kinds[VT_NR_VM_KINDS] = {
    [VT_VM_KVM] = { "kvm", "KVM" },
    [VT_VM_TCG] = { "tcg", "QEMU/TCG" },
    [VT_VM_UML] = { "uml", "User Mode Linux" },
    [VT_VM_CGROUP] = { "cgroup", "cgroup" },
};

const char *vt_class_name(enum vt_class class)
{
    static const char *const names[VT_NR_CLASSES] = {
        [VT_CLASS_UNKNOWN] = "unknown",   [VT_CLASS_NONE] = "absent",     [VT_CLASS_PAUSED] = "paused",
        [VT_CLASS_STOLEN] = "stolen",     [VT_CLASS_IDLE] = "idle",       [VT_CLASS_USED] = "used",
        [VT_CLASS_OVERHEAD] = "overhead", [VT_CLASS_STALLED] = "stalled",
    };
    return names[class];
}
