// SPDX-License-Identifier: GPL-2.0-or-later
#define pr_fmt(fmt) "xenoprof: " fmt

#include <linux/delay.h>
#include <linux/err.h>
#include <linux/kthread.h>
#include <linux/minmax.h>
#include <linux/mutex.h>

#include "buffers.h"
#include "hypercall.h"
#include "passive.h"

/* The full 8189 samples fill in this time only at 400,000 samples a second. */
#define SHORTEST_PAUSE_US 5000
#define LONGEST_PAUSE_US 20000

static struct xenoprof_passive {
	u16 domain;
	struct xenoprof_buffers buffers;
} passive[XENOPROF_MAX_DOMAINS];
static u32 num_passive;

/* The thread and the callers drain in turn. */
static DEFINE_MUTEX(drain_lock);
static struct task_struct *drainer;

int xenoprof_passive_add(u16 domain, u32 wished_samples)
{
	struct xenabi_passive request = { .domain_id = domain, .max_samples = wished_samples };
	int ret;

	if (num_passive == ARRAY_SIZE(passive))
		return -E2BIG;
	ret = xenoprof_op(XENABI_SET_PASSIVE, &request);
	if (ret)
		return ret;
	ret = xenoprof_buffers_map(&passive[num_passive].buffers, domain, request.nbuf,
				   request.bufsize, request.buf_gmaddr);
	if (ret)
		return ret;
	passive[num_passive++].domain = domain;
	return 0;
}

static u32 drain_all(void)
{
	u32 taken = 0;
	u32 i, ring;

	mutex_lock(&drain_lock);
	for (i = 0; i < num_passive; i++) {
		struct xenoprof_buffers *buffers = &passive[i].buffers;

		if (!buffers->live)
			continue;
		for (ring = 0; ring < buffers->num_rings; ring++)
			taken += xenoprof_ring_drain(&buffers->ring[ring], NULL);
	}
	mutex_unlock(&drain_lock);
	return taken;
}

static int drain_in_turns(void *data)
{
	u32 pause = SHORTEST_PAUSE_US;

	while (!kthread_should_stop()) {
		pause = drain_all() ? SHORTEST_PAUSE_US : min(2 * pause, (u32)LONGEST_PAUSE_US);
		usleep_idle_range(pause, pause + pause / 4);
	}
	return 0;
}

int xenoprof_passive_begin(void)
{
	struct task_struct *task;
	u32 i;

	if (!num_passive)
		return 0;
	for (i = 0; i < num_passive; i++) {
		xenoprof_buffers_reset(&passive[i].buffers);
		passive[i].buffers.live = true;
	}
	task = kthread_run(drain_in_turns, NULL, "xenoprof");
	if (IS_ERR(task))
		return PTR_ERR(task);
	drainer = task;
	return 0;
}

void xenoprof_passive_drain(void)
{
	drain_all();
}

void xenoprof_passive_end(void)
{
	u32 i;

	if (drainer) {
		kthread_stop(drainer);
		drainer = NULL;
		drain_all();
	}
	for (i = 0; i < num_passive; i++) {
		struct xenoprof_buffers *buffers = &passive[i].buffers;

		if (buffers->live)
			xenoprof_buffers_close(buffers);
		buffers->live = false;
		xenoprof_buffers_unmap(buffers);
	}
}

void xenoprof_passive_clear(void)
{
	u32 i;

	for (i = 0; i < num_passive; i++)
		xenoprof_buffers_free(&passive[i].buffers);
	num_passive = 0;
}

int xenoprof_passive_totals(struct xenoprof_totals *totals)
{
	u32 i;

	for (i = 0; i < num_passive; i++)
		if (passive[i].domain == totals->domain)
			return xenoprof_buffers_totals(&passive[i].buffers, totals);
	return -ESRCH;
}
