/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The payload's kernel: as few instructions as can be, because there are back
 * ends that interpret CPL 0.
 */
#include "vmm-core/payload/abi.h"

    .section .head, "a"
    .long VP_MAGIC, kernel_entry, image_end, bss_end
    .long exceptions, breakpoint, timer, spurious

    .text
/* edi = vCPU index, rsp = kernel stack; all tables but the TSS are loaded already. */
kernel_entry:
    mov %edi, %ebx
    mov $VP_SEL_TSS, %eax
    ltr %ax             /* emulated processors know an I/O bitmap by this only */
    call kernel_main
    mov %ebx, %edi
    mov %ebx, %eax
    shl $16, %eax
    add $VP_AREAS + VP_USTACK_TOP - 8, %eax
    push $VP_SEL_UDATA
    push %rax
    push $0x202
    push $VP_SEL_UCODE
    push $guest_main
    iretq

/*
 * Timer interrupt: what an OS without steal accounting does at a tick.
 * charged[idle] += now - last; last = now; ticks++.
 */
    .balign 16
timer:
    push %rax
    push %rdx
    rdtsc
    shl $32, %rdx
    or %rax, %rdx
    mov %rdx, %rax
    xchg %rax, VP_PCPU_VA + PCPU_LAST
    sub %rax, %rdx
    mov VP_PCPU_VA + PCPU_IDLE, %eax
    add %rdx, VP_PCPU_VA + PCPU_CHARGED(, %rax, 8)
    incq VP_PCPU_VA + PCPU_TICKS
    movabs $VP_APIC + 0xb0, %rdx
    movl $0, (%rdx)
    pop %rdx
    pop %rax
    iretq

/*
 * int3 from CPL 3 (spoils rax): wait for an interrupt that has not been seen.
 * The gate leaves interrupts off, so none can slip in between look and HLT.
 */
    .balign 16
breakpoint:
    mov VP_PCPU_VA + PCPU_TICKS, %eax
    cmp VP_PCPU_VA + PCPU_SEEN, %eax
    jne 1f
    sti
    hlt
1:  iretq

spurious:
    iretq

    .balign VP_EXC_STRIDE
exceptions:
    .set vector, 0
    .rept 32
    .balign VP_EXC_STRIDE
    .if !(vector == 8 || (vector >= 10 && vector <= 14) || vector == 17 || vector == 21 || vector >= 29)
    push $0
    .endif
    push $vector
    jmp exception
    .set vector, vector + 1
    .endr

exception:
    mov %rsp, %rdi
    call kernel_panic
1:  hlt
    jmp 1b

    .section .note.GNU-stack, "", @progbits
