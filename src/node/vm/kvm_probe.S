// A boot sector that goes where operating systems go and firmware does not: protected mode and back
// through IRET, long mode with paging, timer interrupts. What stands in for KVM inside some VMs and
// containers boots SeaBIOS and then hangs or gives up here (seen: "KVM internal error" at the first
// 32-bit IRET). Its last words go to QEMU's debug port.
//
// Modes, tables and bits: Intel SDM volume 3, chapters 3, 5, 6, 10 (IA-32e mode initialisation).
  .section .note.GNU-stack, "", @progbits
  .section .rodata
  .globl px_kvm_probe_begin, px_kvm_probe_end

  .set origin, 0x7c00       // where a BIOS puts a boot sector
  .set page_tables, 0x10000 // three pages: PML4, PDPT, page directory
  .set idt, 0x13000
  .set stack, 0x7000
  .set code32, 0x08
  .set code64, 0x10
  .set data, 0x18

px_kvm_probe_begin:
  .code16
  cli
  xorw %ax, %ax
  movw %ax, %ds
  movw %ax, %ss
  movw $stack, %sp
  lgdtl gdt_pointer - px_kvm_probe_begin + origin
  movl %cr0, %eax
  orl $1, %eax              // PE
  movl %eax, %cr0
  ljmpl $code32, $(protected - px_kvm_probe_begin + origin)

  .code32
protected:
  movw $data, %ax
  movw %ax, %ds
  movw %ax, %es
  movw %ax, %ss
  movl $stack, %esp
  pushfl
  pushl $code32
  pushl $(returned - px_kvm_probe_begin + origin)
  iretl
returned:
  // The first 2 MiB, where they are.
  cld
  movl $page_tables, %edi
  xorl %eax, %eax
  movl $(4 * 4096 / 4), %ecx
  rep stosl
  movl $(page_tables + 0x1000 + 3), page_tables
  movl $(page_tables + 0x2000 + 3), page_tables + 0x1000
  movl $0x83, page_tables + 0x2000
  movl $page_tables, %eax
  movl %eax, %cr3
  movl %cr4, %eax
  orl $0x20, %eax           // PAE
  movl %eax, %cr4
  movl $0xc0000080, %ecx    // EFER
  rdmsr
  orl $0x100, %eax          // LME
  wrmsr
  movl %cr0, %eax
  orl $0x80000000, %eax     // PG
  movl %eax, %cr0
  ljmpl $code64, $(long_mode - px_kvm_probe_begin + origin)

  .code64
long_mode:
  // The BIOS leaves the timer running at 18.2 Hz, its interrupt at vector 8, as a gate of 64 bits.
  movl $(tick - px_kvm_probe_begin + origin), %eax
  movw %ax, idt + 8 * 16
  movw $code64, idt + 8 * 16 + 2
  movw $0x8e00, idt + 8 * 16 + 4
  lidt idt_pointer - px_kvm_probe_begin + origin
  movb $0xfe, %al           // the timer alone
  outb %al, $0x21
  xorl %ebx, %ebx
wait:
  sti
  hlt
  cmpl $3, %ebx
  jb wait
  cli
  movl $(words - px_kvm_probe_begin + origin), %esi
  movl $(words_end - words), %ecx
  movw $0x402, %dx          // QEMU's isa-debugcon
  rep outsb
stop:
  hlt
  jmp stop

tick:
  incl %ebx
  movb $0x20, %al
  outb %al, $0x20           // end of interrupt
  iretq

words:
  .ascii "a guest runs"
words_end:

  .balign 8
gdt:
  .quad 0
  .quad 0x00cf9b000000ffff  // code of 32 bits, 4 GiB
  .quad 0x00af9b000000ffff  // code of 64 bits
  .quad 0x00cf93000000ffff  // data
gdt_pointer:
  .word gdt_pointer - gdt - 1
  .long gdt - px_kvm_probe_begin + origin
idt_pointer:
  .word 9 * 16 - 1
  .quad idt

  .fill 510 - (. - px_kvm_probe_begin), 1, 0
  .word 0xaa55
px_kvm_probe_end:
