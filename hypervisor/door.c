// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Xenoprof's hypervisor half, as a live patch for an unmodified Xen. Reading begins here.
 *
 *	door.c		the hypercall: arguments come in, results go out
 *	session.c	who may call what, and when: the initiator's session, what a domain does for
 *itself slots.c, ring.h	the domains that take part, and their buffers cpu.c		each
 *CPU's counters and NMIs; throttling sample.c	where an NMI struck counters.c	the processors'
 *models tick.c		the timer: interrupts for domains, domains that went, the initiator's lease
 *	hooks.c		what makes it a live patch: which function it replaces; before, when
 *reverted abi.h		what callers see layout.def, symbols.def	what it has to know
 *of the running Xen, and who finds it out xen.h, machine.h	all that it uses of Xen and of the
 *processor
 *
 * Contexts: hypercalls and the timer, with interrupts on; interrupts between CPUs (cpu.c); NMIs
 *(sample.c, the handler in cpu.c, the producer's side of ring.h), which take no lock, allocate
 *nothing, touch no memory of a guest and no register that has not been tried before.
 */
#include "door.h"
#include "abi.h"
#include "session.h"
#include "xen.h"

static long with_session(uint64_t argument, long (*function)(uint64_t))
{
	struct xph_session session;

	if (!copy_in(&session, argument, sizeof(session)))
		return -XEN_EFAULT;
	return function(session.session);
}

static long version(uint64_t argument)
{
	struct xph_version version;

	session_version(&version);
	return copy_out(argument, &version, sizeof(version)) ? 0 : -XEN_EFAULT;
}

static long claim(uint64_t argument)
{
	struct xph_claim claim = { 0 };
	long error = session_claim(&claim);

	if (error)
		return error;
	if (copy_out(argument, &claim, sizeof(claim)))
		return 0;
	session_release(claim.session);
	return -XEN_EFAULT;
}

static long domains(uint64_t argument)
{
	struct xph_domains domains;

	if (!copy_in(&domains, argument, sizeof(domains)))
		return -XEN_EFAULT;
	return session_domains(&domains);
}

static long counters(uint64_t argument)
{
	struct xph_counters counters;

	if (!copy_in(&counters, argument, sizeof(counters)))
		return -XEN_EFAULT;
	return session_counters(&counters);
}

static long start(uint64_t argument)
{
	struct xph_start start;

	if (!copy_in(&start, argument, sizeof(start)))
		return -XEN_EFAULT;
	return session_start(&start);
}

static long notify(uint64_t argument)
{
	struct xph_notify notify;

	if (!copy_in(&notify, argument, sizeof(notify)))
		return -XEN_EFAULT;
	return session_notify(&notify);
}

static long read(uint64_t argument, long (*function)(const struct xph_read *))
{
	struct xph_read read;

	if (!copy_in(&read, argument, sizeof(read)))
		return -XEN_EFAULT;
	return function(&read);
}

static long totals(uint64_t argument)
{
	struct xph_totals totals;
	long error;

	if (!copy_in(&totals, argument, sizeof(totals)))
		return -XEN_EFAULT;
	error = session_totals(&totals);
	if (error)
		return error;
	return copy_out(argument, &totals, sizeof(totals)) ? 0 : -XEN_EFAULT;
}

long xenoprof_op(unsigned int op, void *pointer)
{
	uint64_t argument = (uintptr_t)pointer;

	/* What Xen itself answers while its option vpmu is off; with it on we are not here. */
	if (op < XPH_OP_FIRST || op - XPH_OP_FIRST > 0xffff)
		return -XEN_EOPNOTSUPP;
	/*
	 * Their 64-bit pointers in our structures would not be checked by the limits of their
	 * address space.
	 */
	if (domain_is_pv32(vcpu_domain(current_vcpu())))
		return -XEN_EOPNOTSUPP;
	if (op == XPH_VERSION)
		return version(argument);
	if (op == XPH_CLAIM)
		return claim(argument);
	if (op == XPH_DOMAINS)
		return domains(argument);
	if (op == XPH_COUNTERS)
		return counters(argument);
	if (op == XPH_START)
		return start(argument);
	if (op == XPH_STOP)
		return with_session(argument, session_stop);
	if (op == XPH_RELEASE)
		return with_session(argument, session_release);
	if (op == XPH_READ_PARTS)
		return read(argument, session_read_parts);
	if (op == XPH_ARM)
		return session_arm();
	if (op == XPH_DISARM)
		return session_disarm();
	if (op == XPH_NOTIFY)
		return notify(argument);
	if (op == XPH_READ)
		return read(argument, session_read);
	if (op == XPH_TOTALS)
		return totals(argument);
	return -XEN_ENOSYS;
}
