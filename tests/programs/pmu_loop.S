// SPDX-License-Identifier: GPL-2.0-or-later
// A program of known length, to hold a counter against: kIterations rounds of 20 instructions, 4 of
// them branches, with loads and stores between. 100,000,000 instructions and 20,000,000 branches in
// the rounds, 4 instructions and 1 branch around them.
#define kIterations 5000000

	.globl _start
	.text
_start:
	mov $kIterations, %ecx
round:
	add $1, %rax
	mov %rax, first(%rip)
	add first(%rip), %rbx
	call leaf			// branch; 4 instructions there, its ret a branch
	xor %rax, %rdx
	mov %rdx, second(%rip)
	lea 3(%rbx), %rsi
	jmp 1f				// branch
	ud2
1:	add second(%rip), %rsi
	imul $7, %rsi, %rdi
	sub %rdi, %rdx
	nop
	shl $1, %rdx
	or $1, %rdx
	dec %ecx
	jnz round			// branch

	xor %edi, %edi
	mov $60, %eax			// exit(0)
	syscall				// branch
leaf:
	push %rbx
	add $5, %rdx
	pop %rbx
	ret				// branch

	.bss
first:	.skip 8
second:	.skip 8
	.section .note.GNU-stack, "", @progbits
