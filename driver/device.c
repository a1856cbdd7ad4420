// SPDX-License-Identifier: GPL-2.0-or-later
/* /dev/xenoprof: who holds it, what state the session is in, and what may be called when. */
#define pr_fmt(fmt) "xenoprof: " fmt

#include <linux/cpumask.h>
#include <linux/fs.h>
#include <linux/limits.h>
#include <linux/miscdevice.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/string.h>
#include <linux/uaccess.h>
#include <xen/interface/xen.h>
#include <xen/interface/memory.h>
#include <xen/xen.h>

#include "hypercall.h"
#include "own.h"
#include "passive.h"
#include "xenoprof.h"

static unsigned int buffer_samples;
module_param(buffer_samples, uint, 0444);
MODULE_PARM_DESC(
	buffer_samples,
	"Room for samples per vCPU, at least 2; 0 (the default) is all the hypervisor grants");

/*
 * The hypervisor's own state follows from ours: what the initiator calls moves it on, and an
 * initiator's session has ended there too while we are idle, except for the active list.
 */
static enum {
	STATE_IDLE, /* participants arm from here */
	STATE_LISTED, /* domains set */
	STATE_CONFIGURED, /* counters set; initiators arm from here */
	STATE_ARMED,
	STATE_RUNNING,
} state;

static DEFINE_MUTEX(lock); /* all below and all calls into own.c and passive.c */
static bool held;
static bool totals_valid;

/* What the hypervisor said when we were loaded. Asking again would disturb a running session. */
static u32 num_counters;
static bool initiator;
static char cpu_type[64];

/* 0 wishes for more than any hypervisor grants, which gets the most it does. */
static u32 wish(u32 samples)
{
	return samples ? min_t(u32, samples, INT_MAX) : INT_MAX;
}

/*
 * Brings the hypervisor back to the beginning from any state. Calls that do not fit its state
 * fail without effect. The order matters: pages are unmapped before they are returned, and the
 * lists must go while we are still primary, for shutdown would forget their domain references.
 */
static void end_session(void)
{
	if (initiator)
		xenoprof_op(XENABI_STOP, NULL);
	if (state >= STATE_ARMED)
		xenoprof_own_leave();
	state = STATE_IDLE;
	if (!initiator)
		return;
	xenoprof_passive_end();
	xenoprof_op(XENABI_RELEASE_COUNTERS, NULL);
	xenoprof_op(XENABI_RESET_ACTIVE_LIST, NULL);
	xenoprof_op(XENABI_RESET_PASSIVE_LIST, NULL);
	xenoprof_op(XENABI_SHUTDOWN, NULL);
}

static int get_info(struct xenoprof_info __user *argument)
{
	struct xenoprof_info info = {
		.abi = XENOPROF_ABI,
		.num_counters = num_counters,
		.initiator = initiator,
		.vcpus = xenoprof_own_vcpus() ?: num_possible_cpus(),
		.buffer_samples = xenoprof_own_buffer_samples() ?: buffer_samples,
	};

	strscpy(info.cpu_type, cpu_type, sizeof(info.cpu_type));
	return copy_to_user(argument, &info, sizeof(info)) ? -EFAULT : 0;
}

static bool lists(const u16 *domain, u32 num, u16 wanted)
{
	u32 i;

	for (i = 0; i < num; i++)
		if (domain[i] == wanted)
			return true;
	return false;
}

/* A domain on the active list that never arms stays referenced for ever: look before listing it. */
static bool exists(u16 domain)
{
	domid_t id = domain;

	return HYPERVISOR_memory_op(XENMEM_current_reservation, &id) >= 0;
}

static int check_domains(const struct xenoprof_domains *domains)
{
	u32 i;

	if (domains->num_active > XENOPROF_MAX_DOMAINS ||
	    domains->num_passive > XENOPROF_MAX_DOMAINS ||
	    !lists(domains->active, domains->num_active, 0))
		return -EINVAL;
	for (i = 0; i < domains->num_active; i++)
		if (lists(domains->active, i, domains->active[i]) ||
		    domains->active[i] >= DOMID_FIRST_RESERVED)
			return -EINVAL;
	for (i = 0; i < domains->num_passive; i++)
		if (lists(domains->passive, i, domains->passive[i]) ||
		    lists(domains->active, domains->num_active, domains->passive[i]) ||
		    domains->passive[i] >= DOMID_FIRST_RESERVED)
			return -EINVAL;
	if (domains->passive_samples == 1)
		return -EINVAL;
	for (i = 0; i < domains->num_active; i++)
		if (!exists(domains->active[i]))
			return -ESRCH;
	for (i = 0; i < domains->num_passive; i++)
		if (!exists(domains->passive[i]))
			return -ESRCH;
	return 0;
}

static int list_domains(const struct xenoprof_domains *domains)
{
	struct xenabi_init init = {};
	domid_t id;
	u32 i;
	int ret;

	ret = xenoprof_op(XENABI_INIT, &init);
	if (ret)
		return ret;
	if (!init.is_primary)
		return -EPERM;
	/* Passive ones first: should one fail, only theirs can be taken back completely. */
	for (i = 0; i < domains->num_passive; i++) {
		ret = xenoprof_passive_add(domains->passive[i], wish(domains->passive_samples));
		if (ret)
			return ret == -EINVAL ? -ESRCH : ret;
	}
	for (i = 0; i < domains->num_active; i++) {
		id = domains->active[i];
		ret = xenoprof_op(XENABI_SET_ACTIVE, &id);
		if (ret)
			return ret == -EINVAL ? -ESRCH : ret;
	}
	return 0;
}

static int set_domains(const void __user *argument)
{
	struct xenoprof_domains domains;
	int ret;

	if (!initiator)
		return -EPERM;
	if (state >= STATE_ARMED)
		return -EBUSY;
	if (copy_from_user(&domains, argument, sizeof(domains)))
		return -EFAULT;
	ret = check_domains(&domains);
	if (ret)
		return ret;

	end_session();
	xenoprof_passive_clear();
	ret = list_domains(&domains);
	if (ret) {
		end_session();
		xenoprof_passive_clear();
		return ret;
	}
	state = STATE_LISTED;
	return 0;
}

/*
 * 12 bits of event and 8 of mask are all that a CPU's event select register takes; the hypervisor
 * would write any value to it.
 */
static bool counter_is_valid(const struct xenoprof_counter *counter)
{
	return counter->count >= XENOPROF_MIN_COUNT && counter->count <= XENOPROF_MAX_COUNT &&
	       counter->event <= 0xfff && counter->unit_mask <= 0xff && counter->user <= 1 &&
	       counter->kernel <= 1 && counter->hypervisor <= 1 &&
	       !memchr_inv(counter->reserved, 0, sizeof(counter->reserved));
}

static int program_counters(const struct xenoprof_counters *counters)
{
	u32 i;
	int ret;

	ret = xenoprof_op(XENABI_RESERVE_COUNTERS, NULL);
	if (ret)
		return ret;
	/* The hypervisor remembers an earlier session's, so those that are off are said too. */
	for (i = 0; i < num_counters; i++) {
		struct xenabi_counter request = { .ind = i };

		if (i < counters->num) {
			const struct xenoprof_counter *counter = &counters->counter[i];

			request.enabled = 1;
			request.count = counter->count;
			request.event = counter->event;
			request.unit_mask = counter->unit_mask;
			request.user = counter->user;
			request.kernel = counter->kernel;
			request.hypervisor = counter->hypervisor;
		}
		ret = xenoprof_op(XENABI_COUNTER, &request);
		if (ret)
			return ret;
	}
	return xenoprof_op(XENABI_SETUP_EVENTS, NULL);
}

static int set_counters(const void __user *argument)
{
	struct xenoprof_counters counters;
	u32 i;
	int ret;

	if (!initiator)
		return -EPERM;
	if (state != STATE_LISTED)
		return -EINVAL;
	if (copy_from_user(&counters, argument, sizeof(counters)))
		return -EFAULT;
	if (!counters.num || counters.num > num_counters || counters.pad)
		return -EINVAL;
	for (i = 0; i < counters.num; i++)
		if (!counter_is_valid(&counters.counter[i]))
			return -EINVAL;

	ret = program_counters(&counters);
	if (ret) {
		/* Counters can only be given back together with the lists. */
		end_session();
		return ret;
	}
	state = STATE_CONFIGURED;
	return 0;
}

static int arm(void)
{
	int ret;

	if (state >= STATE_ARMED)
		return -EBUSY;
	if (state != (initiator ? STATE_CONFIGURED : STATE_IDLE))
		return -EINVAL;
	ret = xenoprof_own_arm(wish(buffer_samples));
	if (ret)
		return ret;
	state = STATE_ARMED;
	totals_valid = true;
	ret = xenoprof_passive_begin();
	if (ret)
		end_session();
	return ret;
}

static int start(void)
{
	int ret;

	if (!initiator)
		return -EPERM;
	if (state == STATE_RUNNING)
		return -EBUSY;
	if (state != STATE_ARMED)
		return -EINVAL;
	ret = xenoprof_op(XENABI_START, NULL);
	if (ret)
		return ret == -EPERM ? -EAGAIN : ret;
	state = STATE_RUNNING;
	return 0;
}

static int stop(void)
{
	int ret;

	if (!initiator)
		return -EPERM;
	if (state != STATE_RUNNING)
		return -EINVAL;
	ret = xenoprof_op(XENABI_STOP, NULL);
	if (ret)
		return ret;
	state = STATE_ARMED;
	xenoprof_passive_drain();
	return 0;
}

static int disarm(void)
{
	if (state == STATE_RUNNING)
		return -EBUSY;
	if (state != STATE_ARMED)
		return -EINVAL;
	xenoprof_own_leave();
	state = STATE_IDLE;
	if (initiator) {
		/* The active list stays, for participants that disarm after us. */
		xenoprof_passive_end();
		xenoprof_op(XENABI_RELEASE_COUNTERS, NULL);
	}
	return 0;
}

static int get_totals(struct xenoprof_totals __user *argument)
{
	struct xenoprof_totals totals;
	int ret;

	if (copy_from_user(&totals, argument, sizeof(totals)))
		return -EFAULT;
	if (totals.pad || !totals_valid)
		return -EINVAL;
	ret = totals.domain == XENOPROF_DOMAIN_SELF ? xenoprof_own_totals(&totals) :
						      xenoprof_passive_totals(&totals);
	if (ret)
		return ret;
	return copy_to_user(argument, &totals, sizeof(totals)) ? -EFAULT : 0;
}

static long control(struct file *file, unsigned int command, unsigned long argument)
{
	void __user *pointer = (void __user *)argument;
	long ret;

	ret = mutex_lock_interruptible(&lock);
	if (ret)
		return ret;
	switch (command) {
	case XENOPROF_INFO:
		ret = get_info(pointer);
		break;
	case XENOPROF_SET_DOMAINS:
		ret = set_domains(pointer);
		break;
	case XENOPROF_SET_COUNTERS:
		ret = set_counters(pointer);
		break;
	case XENOPROF_ARM:
		ret = arm();
		break;
	case XENOPROF_START:
		ret = start();
		break;
	case XENOPROF_STOP:
		ret = stop();
		break;
	case XENOPROF_DISARM:
		ret = disarm();
		break;
	case XENOPROF_TOTALS:
		ret = get_totals(pointer);
		break;
	default:
		ret = -ENOTTY;
	}
	mutex_unlock(&lock);
	return ret;
}

static int take(struct inode *inode, struct file *file)
{
	int ret = 0;

	mutex_lock(&lock);
	if (held)
		ret = -EBUSY;
	else
		held = true;
	mutex_unlock(&lock);
	return ret ?: nonseekable_open(inode, file);
}

static int give_back(struct inode *inode, struct file *file)
{
	mutex_lock(&lock);
	end_session();
	xenoprof_passive_clear();
	totals_valid = false;
	held = false;
	mutex_unlock(&lock);
	return 0;
}

static const struct file_operations operations = {
	.owner = THIS_MODULE,
	.open = take,
	.release = give_back,
	.unlocked_ioctl = control,
	.compat_ioctl = compat_ptr_ioctl,
};

static struct miscdevice device = {
	.minor = MISC_DYNAMIC_MINOR,
	.name = "xenoprof",
	.fops = &operations,
	.mode = 0600,
};

/* Errors before the device exists begin with "not loaded:", where xenoprof looks for the reason. */
static int ask_hypervisor(void)
{
	struct xenabi_init init = {};
	int ret;

	/* Somebody may have left it profiling, and then init would lose track of the counters. */
	initiator = true;
	xenoprof_op(XENABI_STOP, NULL);
	end_session();

	ret = xenoprof_op(XENABI_INIT, &init);
	if (ret == -ENOSYS) {
		pr_err("not loaded: this hypervisor has no Xenoprof (Xen 4.18 to 4.21 need CONFIG_XENOPROF=y, later ones have none)\n");
		return -ENODEV;
	}
	if (ret == -ENODEV) {
		pr_err("not loaded: this hypervisor's Xenoprof does not know this CPU's counters (only those of AMD families 0Fh to 16h and Intel's architectural ones)\n");
		return -ENODEV;
	}
	if (ret) {
		pr_err("not loaded: the hypervisor refuses Xenoprof to this domain (error %d)\n",
		       ret);
		return ret;
	}
	num_counters = clamp(init.num_events, 0, XENOPROF_MAX_COUNTERS);
	initiator = init.is_primary;
	memcpy(cpu_type, init.cpu_type, sizeof(cpu_type) - 1);
	end_session();
	return 0;
}

static int __init xenoprof_load(void)
{
	int ret;

	if (!xen_domain()) {
		pr_err("not loaded: this kernel does not run on Xen: use perf itself\n");
		return -ENODEV;
	}
	if (!xen_pv_domain()) {
		pr_err("not loaded: Xenoprof is for PV domains; an HVM or PVH guest can be sampled passively from dom0\n");
		return -ENODEV;
	}
	if (buffer_samples == 1) {
		pr_err("not loaded: buffer_samples=1 has room for no sample: use 2 or more, or 0\n");
		return -EINVAL;
	}
	ret = xenoprof_own_init();
	if (ret)
		return ret;
	ret = ask_hypervisor();
	if (ret)
		return ret;
	ret = misc_register(&device);
	if (ret)
		return ret;
	pr_info("%s, %u counters, %s\n", cpu_type, num_counters,
		initiator ? "can initiate sessions" : "takes part in dom0's sessions");
	return 0;
}

static void __exit xenoprof_unload(void)
{
	misc_deregister(&device);
	xenoprof_own_exit();
}

module_init(xenoprof_load);
module_exit(xenoprof_unload);

MODULE_DESCRIPTION("Xenoprof's side of a Linux domain");
MODULE_LICENSE("GPL");
