// SPDX-License-Identifier: GPL-2.0-or-later
#define pr_fmt(fmt) "xenoprof: " fmt

#include <linux/cpu.h>
#include <linux/cpuhotplug.h>
#include <linux/interrupt.h>
#include <linux/irqflags.h>
#include <linux/minmax.h>
#include <linux/percpu.h>
#include <linux/printk.h>
#include <linux/sched.h>
#include <linux/tracepoint.h>
#include <trace/events/sched.h>
#include <trace/events/task.h>
#include <xen/events.h>
#include <xen/interface/xen.h>
#include <xen/interface/memory.h>
#include <xen/xen-ops.h>

#include "buffers.h"
#include "hypercall.h"
#include "own.h"

static struct xenoprof_buffers own;
static DEFINE_PER_CPU(int, sample_irq);
static int hotplug_state = -1;

/* Each ring is drained on its own vCPU only, and with interrupts off: by one at a time. */
static void drain_this_cpu(struct pt_regs *regs)
{
	unsigned long flags;
	u32 vcpu;

	local_irq_save(flags);
	vcpu = xen_vcpu_nr(smp_processor_id());
	if (READ_ONCE(own.live) && vcpu < own.num_rings)
		xenoprof_ring_drain(&own.ring[vcpu], regs);
	local_irq_restore(flags);
}

static irqreturn_t on_sample_interrupt(int irq, void *context)
{
	drain_this_cpu(get_irq_regs());
	return IRQ_HANDLED;
}

/*
 * A sample taken inside the hypervisor raises no interrupt, and one taken while interrupts are
 * masked raises it late. So whatever is about to change who the samples are charged to (the task,
 * its name, whether it still has an identity) drains first.
 */
static void on_switch(void *data, bool preempt, struct task_struct *prev, struct task_struct *next,
		      unsigned int prev_state)
{
	drain_this_cpu(NULL);
}

/* Also when a program is executed. */
static void on_rename(void *data, struct task_struct *task, const char *name)
{
	drain_this_cpu(NULL);
}

static void on_exit(void *data, struct task_struct *task)
{
	drain_this_cpu(NULL);
}

static struct {
	const char *name;
	void *callback;
	struct tracepoint *point;
	bool registered;
} hooks[] = {
	{ .name = "sched_switch", .callback = on_switch },
	{ .name = "task_rename", .callback = on_rename },
	{ .name = "sched_process_exit", .callback = on_exit },
};

static void find_hook(struct tracepoint *point, void *data)
{
	size_t i;

	for (i = 0; i < ARRAY_SIZE(hooks); i++)
		if (!strcmp(point->name, hooks[i].name))
			hooks[i].point = point;
}

int xenoprof_own_init(void)
{
	size_t i;

	check_trace_callback_type_sched_switch(on_switch);
	check_trace_callback_type_task_rename(on_rename);
	check_trace_callback_type_sched_process_exit(on_exit);

	for_each_kernel_tracepoint(find_hook, NULL);
	for (i = 0; i < ARRAY_SIZE(hooks); i++)
		if (!hooks[i].point) {
			pr_err("not loaded: this kernel has no tracepoint %s, which charges samples to tasks\n",
			       hooks[i].name);
			return -ENODEV;
		}
	return 0;
}

static void unhook(void)
{
	size_t i;

	for (i = 0; i < ARRAY_SIZE(hooks); i++)
		if (hooks[i].registered) {
			tracepoint_probe_unregister(hooks[i].point, hooks[i].callback, NULL);
			hooks[i].registered = false;
		}
	tracepoint_synchronize_unregister();
}

static int hook(void)
{
	size_t i;
	int ret;

	for (i = 0; i < ARRAY_SIZE(hooks); i++) {
		ret = tracepoint_probe_register(hooks[i].point, hooks[i].callback, NULL);
		if (ret)
			return ret;
		hooks[i].registered = true;
	}
	return 0;
}

static int cpu_up(unsigned int cpu)
{
	int irq = bind_virq_to_irqhandler(VIRQ_XENOPROF, cpu, on_sample_interrupt,
					  IRQF_PERCPU | IRQF_NOBALANCING | IRQF_NO_THREAD,
					  "xenoprof", &own);

	if (irq < 0)
		return irq;
	per_cpu(sample_irq, cpu) = irq;
	return 0;
}

/* Runs on that CPU, so getting here has drained it for the task that ran before. */
static int cpu_down(unsigned int cpu)
{
	unbind_from_irqhandler(per_cpu(sample_irq, cpu), &own);
	drain_this_cpu(NULL);
	return 0;
}

/* After a failure end_draining() undoes what was done. */
static int begin_draining(void)
{
	int ret = hook();

	if (ret)
		return ret;
	ret = cpuhp_setup_state(CPUHP_AP_ONLINE_DYN, "xenoprof:online", cpu_up, cpu_down);
	if (ret < 0)
		return ret;
	hotplug_state = ret;
	return 0;
}

static void end_draining(void)
{
	u32 i;

	if (hotplug_state >= 0)
		cpuhp_remove_state(hotplug_state);
	hotplug_state = -1;
	unhook();
	/* What a CPU that is offline by now has left. Nobody else drains any more. */
	if (own.live)
		for (i = 0; i < own.num_rings; i++)
			xenoprof_ring_drain(&own.ring[i], NULL);
	WRITE_ONCE(own.live, false);
	xenoprof_buffers_close(&own);
}

/* Whether the hypervisor has taken its pages back. */
static bool leave_hypervisor(void)
{
	struct xenabi_get_buffer request = { .max_samples = 0 };

	if (!xenoprof_op(XENABI_DISABLE_VIRQ, NULL))
		return true;
	/*
	 * Refused: either profiling is still on, or the initiator has dropped us from its list.
	 * Asking for a buffer that is still shared fails, but not before it has ended sampling for
	 * this domain, and then the first of the two is no obstacle any more.
	 */
	xenoprof_op(XENABI_GET_BUFFER, &request);
	return !xenoprof_op(XENABI_DISABLE_VIRQ, NULL);
}

/* What the hypervisor does itself when it takes pages back: it ends their being ours. */
static void give_up_pages(xen_pfn_t first, u32 num)
{
	struct xen_memory_reservation reservation = { .nr_extents = 1, .domid = DOMID_SELF };
	xen_pfn_t frame;

	for (frame = first; frame < first + num; frame++) {
		set_xen_guest_handle(reservation.extent_start, &frame);
		if (HYPERVISOR_memory_op(XENMEM_decrease_reservation, &reservation) != 1)
			pr_err("the hypervisor does not take back frame %lx of its sample buffer\n",
			       (unsigned long)frame);
	}
}

/* Without this it would refuse to share them anew, and there is no mapping to go on with. */
static void unmap_and_give_up(void)
{
	xenoprof_buffers_unmap(&own);
	give_up_pages(own.first_frame, own.num_pages);
}

static int map_own(u32 wished_samples)
{
	struct xenabi_get_buffer request = { .max_samples = wished_samples };
	u32 num_pages;
	int ret = xenoprof_op(XENABI_GET_BUFFER, &request);

	if (ret)
		return ret;
	ret = xenoprof_buffers_map(&own, XENOPROF_DOMAIN_SELF, request.nbuf, request.bufsize,
				   request.buf_gmaddr);
	if (ret) {
		num_pages = DIV_ROUND_UP((u64)request.nbuf * request.bufsize, PAGE_SIZE);
		give_up_pages(request.buf_gmaddr >> PAGE_SHIFT,
			      min_t(u32, num_pages, XENABI_MAX_PAGES));
	}
	return ret;
}

int xenoprof_own_arm(u32 wished_samples)
{
	int ret = map_own(wished_samples);

	if (ret)
		return ret;
	/*
	 * The hypervisor first: it says no often, to agents that ask until they are listed. It sets
	 * its indices to 0, like our reset, so nobody may drain before.
	 */
	xenoprof_buffers_reset(&own);
	ret = xenoprof_op(XENABI_ENABLE_VIRQ, NULL);
	if (ret) {
		unmap_and_give_up();
		return ret;
	}
	WRITE_ONCE(own.live, true);
	ret = begin_draining();
	if (ret)
		xenoprof_own_leave();
	return ret;
}

void xenoprof_own_leave(void)
{
	bool taken_back = leave_hypervisor();

	end_draining();
	if (taken_back)
		xenoprof_buffers_unmap(&own);
	else
		unmap_and_give_up();
}

void xenoprof_own_exit(void)
{
	xenoprof_buffers_free(&own);
}

u32 xenoprof_own_vcpus(void)
{
	return own.num_rings;
}

u32 xenoprof_own_buffer_samples(void)
{
	return own.num_rings ? own.ring[0].size : 0;
}

int xenoprof_own_totals(struct xenoprof_totals *totals)
{
	return xenoprof_buffers_totals(&own, totals);
}
