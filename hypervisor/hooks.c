// SPDX-License-Identifier: GPL-2.0-or-later
#include "hooks.h"
#include "abi.h"
#include "door.h"
#include "session.h"
#include "xen.h"

/* Weak: see struct optional. */
extern int reserve_lapic_nmi(void) __attribute__((weak));
extern void release_lapic_nmi(void) __attribute__((weak));
extern const int ss_initialized __attribute__((weak));

volatile struct optional optional = { reserve_lapic_nmi, release_lapic_nmi, &ss_initialized };

/*
 * struct livepatch_func of xen/include/public/sysctl.h, version 2: Xen 4.14 to 4.22. The loader
 * fills in old_size and the first bytes of the function that is replaced, and the notes below.
 */
struct function {
	const char *name;
	long (*new_address)(unsigned int op, void *pointer);
	void *old_address; /* Xen looks it up */
	uint32_t new_size;
	uint32_t old_size;
	uint8_t version;
	uint8_t reserved[39];
	uint8_t expected_flags; /* bit 0: on; bits 1 to 5: how many bytes */
	uint8_t expected[31];
};
_Static_assert(sizeof(struct function) == 104, "version 2");

static const char replaced[] = "do_xenpmu_op";
static struct function functions[1] __attribute__((section(".livepatch.funcs"), used)) = {
	{ .name = replaced, .new_address = xenoprof_op, .new_size = 64, .version = 2 },
};

/*
 * ELF notes of 20 bytes that say which build of Xen this is for. Xen compares
 * .livepatch.xen_depends with itself, .livepatch.depends with what is applied on top of it.
 */
struct note {
	uint32_t name_size, size, type;
	char name[4];
	uint8_t build_id[20];
};
#define NOTE() { .name_size = 4, .size = 20, .type = 3, .name = "GNU" }
static const struct note depends __attribute__((section(".livepatch.depends"), used, aligned(4))) =
	NOTE();
static const struct note xen_depends
	__attribute__((section(".livepatch.xen_depends"), used, aligned(4))) = NOTE();

/* The number goes to the loader, which has the words for it. */
int xenoprof_preapply(struct payload *payload)
{
	int refusal;

	(void)payload;
	if (layout.magic != XPH_LAYOUT_MAGIC || layout.version != XPH_LAYOUT_VERSION ||
	    layout.livepatch_func_size != sizeof(struct function)) {
		printk("xenoprof: refused: its layout is not this Xen's\n");
		return -XPH_REFUSED_LAYOUT;
	}
	refusal = session_refusal();
	if (refusal)
		printk("xenoprof: refused: error %d\n", refusal);
	return -refusal;
}

/* Xen goes on to the rendezvous if this succeeds, and may fail there: nothing must stay half
 * closed. */
int xenoprof_prerevert(struct payload *payload)
{
	(void)payload;
	return session_end();
}

/*
 * Somebody may have begun again since xenoprof_prerevert(). Here all CPUs wait: nobody is in a
 * call, nobody can be. An NMI into code that is gone would bring the host down.
 */
int xenoprof_revert(struct payload *payload)
{
	if (!session_is_free())
		return -XEN_EBUSY;
	return revert_payload(payload);
}

#define HOOK(name, type, function)                                                                 \
	static type *const hook_##name __attribute__((section(".livepatch.hooks." #name), used)) = \
		function
typedef int hook(struct payload *payload);
HOOK(preapply, hook, xenoprof_preapply);
HOOK(prerevert, hook, xenoprof_prerevert);
HOOK(revert, hook, xenoprof_revert);
