/* SPDX-License-Identifier: GPL-2.0-or-later */
	.section .rodata
	.global xenoprof_flame_page
	.global xenoprof_flame_page_end
xenoprof_flame_page:
	.incbin "flame_page.html"
xenoprof_flame_page_end:
	.section .note.GNU-stack,"",@progbits
