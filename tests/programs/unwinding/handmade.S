// Functions with unwind information as only people write it; each spends RDI rounds in a loop.
#define FUNCTION(name) .globl name; .type name, @function; name
#define END(name) .size name, . - name
	.text

// CFA = *(RSP + 8 + 8 * R9) + 8: RSP is saved behind a vector of R9 words.
FUNCTION(indexed):
	.cfi_startproc
	mov $24, %r9d
	mov %rsp, %rax
	.cfi_def_cfa_register rax
	sub $256, %rsp
	and $-64, %rsp
	mov %rax, 8(%rsp,%r9,8)
	.cfi_escape 0x0f, 10, 0x77, 8, 0x79, 0, 0x38, 0x1e, 0x22, 0x06, 0x23, 8
1:	imul $3, %rax, %rax
	dec %rdi
	jnz 1b
	mov 8(%rsp,%r9,8), %rsp
	.cfi_def_cfa rsp, 8
	ret
	.cfi_endproc
END(indexed)

// RBP, RSP and the return address are in a structure that RDX points to, as behind setcontext.
FUNCTION(in_structure):
	.cfi_startproc
	lea -128(%rsp), %rdx
	mov %rbp, 24(%rdx)
	lea 8(%rsp), %rax
	mov %rax, 40(%rdx)
	mov (%rsp), %rax
	mov %rax, 48(%rdx)
	.cfi_remember_state
	.cfi_def_cfa rdx, 0
	.cfi_offset rbp, 24
	.cfi_offset rsp, 40
	.cfi_offset rip, 48
	xor %ebp, %ebp
1:	imul $3, %rax, %rax
	dec %rdi
	jnz 1b
	mov 24(%rdx), %rbp
	.cfi_restore_state
	ret
	.cfi_endproc
END(in_structure)

// RBP, which the caller needs, is in R9 while it counts.
FUNCTION(rbp_elsewhere):
	.cfi_startproc
	mov %rbp, %r9
	.cfi_register rbp, r9
1:	mov %rdi, %rbp
	dec %rdi
	jnz 1b
	mov %r9, %rbp
	.cfi_restore rbp
	mov %rdi, %rax
	ret
	.cfi_endproc
END(rbp_elsewhere)

// The return address is in R11, as in vfork.
FUNCTION(address_elsewhere):
	.cfi_startproc
	pop %r11
	.cfi_adjust_cfa_offset -8
	.cfi_register rip, r11
1:	imul $3, %rax, %rax
	dec %rdi
	jnz 1b
	push %r11
	.cfi_adjust_cfa_offset 8
	.cfi_rel_offset rip, 0
	ret
	.cfi_endproc
END(address_elsewhere)

// The description of `outer` reaches over `inner`, which has its own. Written by hand: an assembler nests none.
FUNCTION(outer):
	sub $72, %rsp
	add $72, %rsp
	ret
END(outer)
FUNCTION(inner):
	push %rbx
.Lpushed:
1:	imul $3, %rax, %rax
	dec %rdi
	jnz 1b
	pop %rbx
.Lpopped:
	ret
END(inner)
.Lend:
	.section .eh_frame, "a", @unwind
.Lcie:	.long .Lcie_end - .Lcie_id
.Lcie_id: .long 0
	.byte 1
	.asciz "zR"
	.uleb128 1
	.sleb128 -8
	.byte 16
	.uleb128 1
	.byte 0x1b
	.byte 0x0c, 7, 8, 0x90, 1
	.balign 8, 0
.Lcie_end:
	.long .Linner_end - .Linner_id
.Linner_id: .long .Linner_id - .Lcie
	.long inner - .
	.long .Lend - inner
	.uleb128 0
	.byte 0x40 + (.Lpushed - inner), 0x0e, 16, 0x83, 2
	.byte 0x40 + (.Lpopped - .Lpushed), 0x0e, 8, 0xc3
	.balign 8, 0
.Linner_end:
	.long .Louter_end - .Louter_id
.Louter_id: .long .Louter_id - .Lcie
	.long outer - .
	.long .Lend - outer
	.uleb128 0
	.byte 0x44, 0x0e, 80
	.byte 0x44, 0x0e, 8
	.balign 8, 0
.Louter_end:
	.text

// CFA = RBX + 16, RSP is anything, and it calls, as the loader's trampolines do for functions that are bound late.
FUNCTION(by_call):
	.cfi_startproc
	push %rbx
	.cfi_adjust_cfa_offset 8
	.cfi_rel_offset rbx, 0
	mov %rsp, %rbx
	.cfi_def_cfa_register rbx
	sub $512, %rsp
	and $-64, %rsp
	call called
	mov %rbx, %rsp
	.cfi_def_cfa_register rsp
	pop %rbx
	.cfi_adjust_cfa_offset -8
	.cfi_restore rbx
	ret
	.cfi_endproc
END(by_call)

// CFA = RAX + 8, and it calls a function that leaves RAX alone, as AES-GCM of OpenSSL does.
FUNCTION(by_convention):
	.cfi_startproc
	mov %rsp, %rax
	.cfi_def_cfa_register rax
	sub $512, %rsp
	and $-64, %rsp
	call called_by_convention
	mov %rax, %rsp
	.cfi_def_cfa_register rsp
	ret
	.cfi_endproc
END(by_convention)

FUNCTION(called_by_convention):
	.cfi_startproc
1:	imul $3, %rdx, %rdx
	dec %rdi
	jnz 1b
	ret
	.cfi_endproc
END(called_by_convention)

FUNCTION(called):
	.cfi_startproc
	push %r12
	.cfi_adjust_cfa_offset 8
	.cfi_rel_offset r12, 0
	push %rbx
	.cfi_adjust_cfa_offset 8
	.cfi_rel_offset rbx, 0
	mov %rdi, %rbx
1:	imul $3, %rax, %rax
	dec %rbx
	jnz 1b
	pop %rbx
	.cfi_adjust_cfa_offset -8
	.cfi_restore rbx
	pop %r12
	.cfi_adjust_cfa_offset -8
	.cfi_restore r12
	ret
	.cfi_endproc
END(called)
	.section .note.GNU-stack, "", @progbits
