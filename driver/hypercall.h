/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef XENOPROF_HYPERCALL_H
#define XENOPROF_HYPERCALL_H

#include <linux/types.h>
#include <xen/interface/xen.h>
#include <asm/xen/hypercall.h>

#include "xenoprof_abi.h"

static inline int xenoprof_op(enum xenabi_op op, void *arg)
{
	return _hypercall2(int, xenoprof_op, (int)op, arg);
}

#endif
