# What the WDK's BufferOverflowFastFailK.lib brings to a driver that is linked with /guard:cf, for x64: the pointers through
# which its indirect calls go, which the kernel replaces when it enforces control flow guard, and the load configuration that
# says where they and the table of valid targets are. The linker defines the __guard names of the tables.

    .section .00cfg, "dr"
    .balign 8
    .globl __guard_check_icall_fptr
__guard_check_icall_fptr:
    .quad check_nothing
    .globl __guard_dispatch_icall_fptr
__guard_dispatch_icall_fptr:
    .quad call_rax

    .text
    .balign 16
check_nothing:
    ret
    .balign 16
call_rax:
    jmpq *%rax

# IMAGE_LOAD_CONFIG_DIRECTORY64, up to and with the table of long jump targets.
    .section .rdata, "dr"
    .balign 8
    .globl _load_config_used
_load_config_used:
    .long 192
    .zero 108
    .quad __guard_check_icall_fptr      # 112
    .quad __guard_dispatch_icall_fptr
    .quad __guard_fids_table
    .quad __guard_fids_count
    .long __guard_flags                 # 144
    .zero 12
    .quad __guard_iat_table             # 160
    .quad __guard_iat_count
    .quad __guard_longjmp_table
    .quad __guard_longjmp_count
