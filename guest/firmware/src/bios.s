# What a PC's BIOS boots, from a disk and from a network: real-mode code. Both programs write lines to the first
# serial port (see lib.rs) and then switch the machine off.
#
# Addresses are differences of labels: the code runs at a place of its own, and not where the linker puts it.

.code16

# Writes the string at %si, which ends with a zero.
.macro SERIAL_OUTPUT name
\name:
    movw $0x3fd, %dx
1:  inb %dx, %al
    testb $0x20, %al
    jz 1b
    movw $0x3f8, %dx
    lodsb
    testb %al, %al
    jz 2f
    outb %al, %dx
    jmp \name
2:  ret
.endm

# The power management registers of QEMU's machines, as SeaBIOS places them: q35, pc.
.macro POWER_OFF
    movw $0x2000, %ax
    movw $0x604, %dx
    outw %ax, %dx
    movw $0xb004, %dx
    outw %ax, %dx
3:  hlt
    jmp 3b
.endm

# ---- The first sector of a disk, which the BIOS loads to 0x7c00: loads the rest, to 0x7e00. ------------------------

.set FIRST, 0x7c00

.global stickler_bios_first, stickler_bios_first_end
stickler_bios_first:
    ljmp $0, $(first_begin - stickler_bios_first + FIRST)
first_begin:
    cli
    xorw %ax, %ax
    movw %ax, %ds
    movw %ax, %es
    movw %ax, %ss
    movw $FIRST, %sp
    sti
    cld
    # The packet of function 0x42: its size, sectors, where to, and the first sector.
    pushl $0
    pushl $1
    pushw $0
    pushw $0x7e00
    pushw $4
    pushw $16
    movw %sp, %si
    movb $0x42, %ah
    int $0x13
    jc first_failed
    ljmp $0, $0x7e00
first_failed:
    movw $(first_message - stickler_bios_first + FIRST), %si
    call first_say
    POWER_OFF
SERIAL_OUTPUT first_say
first_message:
    .asciz "\r\nexercise: failed: read: the firmware could not read the boot program (int 13h)\r\n"
stickler_bios_first_end:

# ---- The rest: copies sectors. -------------------------------------------------------------------------------------

.set REST, 0x7e00
# The segment that sectors are read into.
.set BUFFER, 0x1000

.global stickler_bios_rest, stickler_bios_rest_parameters, stickler_bios_rest_end
stickler_bios_rest:
    movb %dl, (drive - stickler_bios_rest + REST)
    movw $(rest_mark - stickler_bios_rest + REST), %si
    call rest_say
    # So many sectors are done.
    xorl %ebx, %ebx
    movw $(chunks - stickler_bios_rest + REST), %di
rest_next:
    movzbl (%di), %ecx
    testw %cx, %cx
    jz rest_copied
    incw %di
    movl (from - stickler_bios_rest + REST), %ebp
    addl %ebx, %ebp
    movb $0x42, %ah
    call transfer
    jc rest_unread
    call add_up
    movl (to - stickler_bios_rest + REST), %ebp
    addl %ebx, %ebp
    movb $0x43, %ah
    call transfer
    jnc rest_written
    movb $1, (unwritten - stickler_bios_rest + REST)
rest_written:
    addl %ecx, %ebx
    jmp rest_next
rest_copied:
    movl (sum - stickler_bios_rest + REST), %eax
    cmpl (expected - stickler_bios_rest + REST), %eax
    jne rest_wrong
    movw $(rest_unwritten_message - stickler_bios_rest + REST), %si
    cmpb $0, (unwritten - stickler_bios_rest + REST)
    jne rest_end
    movw $(rest_passed - stickler_bios_rest + REST), %si
    jmp rest_end
rest_unread:
    movw $(rest_unread_message - stickler_bios_rest + REST), %si
    jmp rest_end
rest_wrong:
    movw $(rest_wrong_message - stickler_bios_rest + REST), %si
rest_end:
    call rest_say
    POWER_OFF

# Reads (%ah = 0x42) or writes (0x43) %ecx sectors at %ebp. Sets the carry flag if the BIOS cannot.
transfer:
    pushl $0
    pushl %ebp
    pushw $BUFFER
    pushw $0
    pushw %cx
    pushw $16
    movw %sp, %si
    xorb %al, %al
    movb (drive - stickler_bios_rest + REST), %dl
    int $0x13
    # Pops leave the flags alone.
    popl %eax
    popl %eax
    popl %eax
    popl %eax
    ret

# Adds the %ecx sectors in the buffer to the sum: it is turned left by one bit, and a double word is added.
add_up:
    pushw %cx
    movl (sum - stickler_bios_rest + REST), %edx
    shlw $7, %cx
    xorw %si, %si
    pushw $BUFFER
    popw %ds
1:  lodsl
    roll $1, %edx
    addl %eax, %edx
    loop 1b
    xorw %ax, %ax
    movw %ax, %ds
    movl %edx, (sum - stickler_bios_rest + REST)
    popw %cx
    ret

SERIAL_OUTPUT rest_say

drive:
    .byte 0
unwritten:
    .byte 0
sum:
    .long 0
# Filled in when the disk is made.
stickler_bios_rest_parameters:
from:
    .long 0
to:
    .long 0
expected:
    .long 0
# How many sectors at a time, and a zero.
chunks:
    .fill 16, 1, 0
rest_mark:
    .asciz "\r\n@mark boot-sector\r\n"
rest_passed:
    .asciz "\r\nexercise: passed\r\n"
rest_unread_message:
    .asciz "\r\nexercise: failed: read: the firmware could not read (int 13h)\r\n"
rest_wrong_message:
    .asciz "\r\nexercise: failed: read: what the firmware read is wrong (int 13h)\r\n"
rest_unwritten_message:
    .asciz "\r\nexercise: failed: write: the firmware could not write (int 13h)\r\n"
stickler_bios_rest_end:

# ---- What a network boots, which is loaded to 0x7c00: compares what was loaded with it. ----------------------------

.global stickler_bios_net, stickler_bios_net_parameters, stickler_bios_net_end
stickler_bios_net:
    ljmp $0, $(net_begin - stickler_bios_net + FIRST)
net_begin:
    cld
    xorw %ax, %ax
    movw %ax, %ds
    movw $(net_mark - stickler_bios_net + FIRST), %si
    call net_say
    movw (net_words - stickler_bios_net + FIRST), %cx
    movl (net_expected - stickler_bios_net + FIRST), %ebx
    xorl %edx, %edx
    xorw %si, %si
    # The data begins a kilobyte behind the code, at 0x8000.
    pushw $0x800
    popw %ds
1:  lodsl
    roll $1, %edx
    addl %eax, %edx
    loop 1b
    xorw %ax, %ax
    movw %ax, %ds
    movw $(net_wrong - stickler_bios_net + FIRST), %si
    cmpl %ebx, %edx
    jne 2f
    movw $(net_passed - stickler_bios_net + FIRST), %si
2:  call net_say
    POWER_OFF
SERIAL_OUTPUT net_say
stickler_bios_net_parameters:
net_expected:
    .long 0
net_words:
    .word 0
net_mark:
    .asciz "\r\n@mark network-program\r\n"
net_passed:
    .asciz "\r\nexercise: passed\r\n"
net_wrong:
    .asciz "\r\nexercise: failed: network: what the firmware loaded is wrong\r\n"
stickler_bios_net_end:

.code64
