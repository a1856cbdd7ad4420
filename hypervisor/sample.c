// SPDX-License-Identifier: GPL-2.0-or-later
#include "sample.h"

/* AMD64 Architecture Programmer's Manual, volume 2, appendix B: offsets in a VMCB. */
#define VMCB_EXITCODE 0x70
#define VMCB_CPL 0x4cb
#define VMCB_RIP 0x578
#define VMEXIT_NMI 0x61

#define FLAGS_IF 0x200

static uint64_t after_stgi;

/*
 * SVM holds an NMI that takes the guest out until Xen executes STGI: it is taken at the instruction
 * after that. Xen up to 4.21 has a label there (svm_stgi_label); all have the one STGI in this
 * function.
 */
void sample_init(void)
{
	const unsigned char *code = svm_asm_do_resume;
	uint32_t i;

	after_stgi = 0;
	for (i = 0; i < 509; i++)
		if (code[i] == 0x0f && code[i + 1] == 0x01 && code[i + 2] == 0xdc)
			after_stgi = (uint64_t)(uintptr_t)&code[i + 3];
}

static const char *vmcb_of(const struct vcpu *vcpu)
{
	return XEN_FIELD(const char *const, vcpu, layout.vcpu_vmcb);
}

static uint8_t mode_of_vmcb(const char *vmcb)
{
	return XEN_FIELD(const uint8_t, vmcb, VMCB_CPL) == 3 ? XPH_USER : XPH_KERNEL;
}

/* @regs: the guest's. A 32-bit PV kernel has ring 1. */
static uint8_t mode_of_pv(const struct vcpu *vcpu, const struct cpu_user_regs *regs)
{
	if (domain_is_pv32(vcpu_domain(vcpu)))
		return (XEN_FIELD(const uint16_t, regs, layout.regs_cs) & 3) == 1 ? XPH_KERNEL :
										    XPH_USER;
	return XEN_FIELD(const uint64_t, vcpu, layout.vcpu_flags) & XEN_TF_KERNEL_MODE ?
		       XPH_KERNEL :
		       XPH_USER;
}

/*
 * From where the guest entered Xen. An HVM guest's is in the VMCB, which is the vCPU's own. A PV
 * guest's is at the bottom of the stack, where another domain's may still lie: see
 * vcpu_of_guest_regs(). In Xen's first instructions after a PV guest's entry it may be that of the
 * entry before.
 */
static void add_guest(const struct vcpu *vcpu, const struct domain *domain,
		      struct xph_sample *sample)
{
	if (domain_is_hvm(domain)) {
		const char *vmcb = vmcb_of(vcpu);

		if (!vmcb)
			return;
		sample->guest_pc = XEN_FIELD(const uint64_t, vmcb, VMCB_RIP);
		sample->guest_mode = mode_of_vmcb(vmcb);
	} else {
		if (vcpu_of_guest_regs() != vcpu)
			return;
		sample->guest_pc = regs_pc(guest_regs());
		sample->guest_mode = mode_of_pv(vcpu, guest_regs());
	}
	sample->flags |= XPH_SAMPLE_GUEST_PC;
}

void sample_here(const struct cpu_user_regs *regs, struct xph_sample *sample)
{
	const struct vcpu *vcpu = current_vcpu();
	const struct domain *domain = vcpu_domain(vcpu);
	bool hvm = domain_is_hvm(domain);

	memset(sample, 0, sizeof(*sample));
	sample->tsc = machine_tsc();
	sample->pcpu = this_cpu();
	sample->domain = domain_number(domain);
	sample->vcpu = vcpu_number(vcpu);
	sample->pc = regs_pc(regs);
	sample->mode = XPH_HYPERVISOR;

	/* Idle vCPUs enter from nowhere. */
	if (sample->domain == XPH_DOMAIN_IDLE)
		return;
	/* Xen moves the registers of an NMI that struck a PV guest there (entry.S), as any trap's.
	 */
	if (regs == guest_regs() && !hvm) {
		sample->mode = mode_of_pv(vcpu, regs);
		return;
	}
	if (hvm && sample->pc == after_stgi) {
		const char *vmcb = vmcb_of(vcpu);

		/* Else it struck Xen itself, after another exit, while that held NMIs back. */
		if (vmcb && XEN_FIELD(const uint64_t, vmcb, VMCB_EXITCODE) == VMEXIT_NMI) {
			sample->pc = XEN_FIELD(const uint64_t, vmcb, VMCB_RIP);
			sample->mode = mode_of_vmcb(vmcb);
			return;
		}
	}
	if (!(regs_flags(regs) & FLAGS_IF))
		sample->flags |= XPH_SAMPLE_MASKED;
	add_guest(vcpu, domain, sample);
}
