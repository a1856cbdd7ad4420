// SPDX-License-Identifier: GPL-2.0-or-later
#include "tick.h"
#include "cpu.h"
#include "slots.h"

#define TICK_NS 10000000
#define TICKS_TO_SERVICE 100

static struct timer *timer;
static uint32_t ticks;

/* The vCPUs whose buffers have something that they have not been told of. */
static void notify(struct slot *slot, const struct domain *domain)
{
	uint32_t i;

	for (i = 0; i < slot->num_rings; i++) {
		struct ring *ring = slot->ring[i];
		uint32_t head = __atomic_load_n(&ring->samples.head, __ATOMIC_ACQUIRE);
		struct vcpu *vcpu;

		if (head == ring->told || !ring_waiting(&ring->samples))
			continue;
		vcpu = domain_vcpu(domain, i);
		if (!vcpu)
			continue;
		ring->told = head;
		send_guest_vcpu_virq(vcpu, XEN_VIRQ_XENOPROF);
	}
}

/* Whether something of a passive domain waits: the initiator is to be told. */
static bool anything_new(struct slot *slot)
{
	bool something = false;
	uint32_t i;

	for (i = 0; i < slot->num_rings; i++) {
		struct ring *ring = slot->ring[i];
		uint32_t head = __atomic_load_n(&ring->samples.head, __ATOMIC_ACQUIRE);

		something = something || head != ring->told;
		ring->told = head;
	}
	return something;
}

/* @domain's reference is the caller's. */
static void look_at(struct slot *slot, struct domain *domain, bool also)
{
	struct vcpu *first;

	/* Torn times of a busy vCPU 0 say nothing: the next tick looks again. */
	if (domain != slot->owner || domain_is_dying(domain) ||
	    (domain_created(domain) && !slot_is_of(slot, domain) && !slot_is_of(slot, domain))) {
		slot->gone = 1;
		return;
	}
	if (!__atomic_load_n(&slot->notify, __ATOMIC_RELAXED) || slot->state == SLOT_PASSIVE)
		return;
	notify(slot, domain);
	first = also ? domain_vcpu(domain, 0) : NULL;
	if (first)
		send_guest_vcpu_virq(first, XEN_VIRQ_XENOPROF);
}

static void look_at_domains(void)
{
	struct domain *initiator = hardware_domain;
	bool passive = false;
	uint32_t i;

	for (i = 0; i < num_slots; i++)
		if (slots[i].state == SLOT_PASSIVE && anything_new(&slots[i]))
			passive = true;
	for (i = 0; i < num_slots; i++) {
		struct slot *slot = &slots[i];
		struct domain *domain;

		if (slot->gone)
			continue;
		domain = get_domain_by_id(slot->id);
		if (!domain) {
			slot->gone = 1;
			continue;
		}
		look_at(slot, domain, passive && domain == initiator);
		domain_put(domain);
	}
}

static void tick(void *unused)
{
	(void)unused;
	/* A call of the initiator's is under way, perhaps one that waits for this function to end.
	 */
	if (session_tick_enter()) {
		bool runs = session_tick_runs();

		if (runs) {
			look_at_domains();
			if (++ticks % TICKS_TO_SERVICE == 0)
				cpus_service();
		}
		session_tick_leave();
		if (!runs)
			return;
	}
	set_timer(timer, get_s_time() + TICK_NS);
}

long tick_begin(void)
{
	timer = _xzalloc(layout.timer_size, 64);
	if (!timer)
		return -XEN_ENOMEM;
	ticks = 0;
	init_timer(timer, tick, NULL, this_cpu());
	set_timer(timer, get_s_time() + TICK_NS);
	return 0;
}

void tick_end(void)
{
	kill_timer(timer);
	xfree(timer);
	timer = NULL;
}
