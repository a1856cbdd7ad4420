/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A function whose caller is to be found with the help of register 268,435,454: libdw 0.188 makes
   room for all up to there, 8 bytes each. */
	.text
	.globl	hostile
	.type	hostile, @function
hostile:
	.cfi_startproc
	/* DW_CFA_offset_extended, the register as ULEB128, the offset */
	.cfi_escape 0x05, 0xfe, 0xff, 0xff, 0x7f, 0x01
	nop
	ret
	.cfi_endproc
	.size	hostile, .-hostile
	.section .note.GNU-stack,"",@progbits
