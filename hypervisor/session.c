// SPDX-License-Identifier: GPL-2.0-or-later
#include "session.h"
#include "cpu.h"
#include "slots.h"
#include "tick.h"

/*
 * The lock's holder writes. state is also read by a domain that arms, which does not have the lock:
 * it looks at state before it clears its rings, and says that it is armed afterwards. START says
 * that it starts before it looks at who has armed. So no CPU samples into a ring that is being
 * cleared.
 */
static struct {
	uint8_t locked;
	uint8_t state; /* enum session_state */
	uint8_t ticking; /* the timer exists */
	uint64_t number;
	uint64_t lease; /* ns */
	int64_t touched; /* when the initiator last called, ns */
} session;

static bool try_lock(void)
{
	return !__atomic_exchange_n(&session.locked, 1, __ATOMIC_ACQUIRE);
}

static void unlock(void)
{
	__atomic_store_n(&session.locked, 0, __ATOMIC_RELEASE);
}

static void set_state(enum session_state state)
{
	__atomic_store_n(&session.state, state, __ATOMIC_SEQ_CST);
}

static bool is_initiator(const struct domain *domain)
{
	return domain == hardware_domain;
}

static struct domain *caller(void)
{
	return vcpu_domain(current_vcpu());
}

/* With 0 the lock is held. */
static long enter(uint64_t number)
{
	if (!is_initiator(caller()))
		return -XEN_EPERM;
	if (!try_lock())
		return -XEN_EAGAIN;
	if (session.state == SESSION_FREE || number != session.number) {
		unlock();
		return -XEN_ESTALE;
	}
	session.touched = get_s_time();
	return 0;
}

/* The counts stay readable. */
static void stop(void)
{
	if (session.ticking)
		tick_end();
	session.ticking = 0;
	if (session.state == SESSION_RUNNING) {
		cpus_stop();
		set_state(SESSION_READY);
	}
}

static void release(void)
{
	stop();
	cpus_free();
	slots_close();
	session.number = 0;
	set_state(SESSION_FREE);
}

int session_refusal(void)
{
	uint32_t family;

	if (!counter_model_here(&family))
		return XPH_REFUSED_CPU;
	if (opt_vpmu_enabled)
		return XPH_REFUSED_VPMU;
	if (nmi_watchdog)
		return XPH_REFUSED_WATCHDOG;
	if (optional.ss_initialized && *optional.ss_initialized)
		return XPH_REFUSED_FLASK;
	return 0;
}

void session_version(struct xph_version *version)
{
	static const char digits[] = "0123456789abcdef";
	const struct counter_model *model;
	uint32_t family, i = 0;
	const char *from;

	memset(version, 0, sizeof(*version));
	version->abi = XPH_ABI;
	version->capabilities = XPH_CAN_GUEST_PC | XPH_CAN_NOTIFY;
	version->initiator = is_initiator(caller());
	version->tsc_khz = cpu_khz;
	model = counter_model_here(&family);
	if (!model)
		return;
	version->num_counters = model->num;
	version->counter_bits = model->bits;
	for (from = model->name; *from && i < 24; from++)
		version->cpu_type[i++] = *from;
	for (from = "/family"; *from; from++)
		version->cpu_type[i++] = *from;
	version->cpu_type[i++] = digits[family >> 4 & 0xf];
	version->cpu_type[i++] = digits[family & 0xf];
	version->cpu_type[i] = 'h';
}

long session_claim(struct xph_claim *claim)
{
	static uint64_t claims;
	long error = -XEN_EBUSY;

	if (!is_initiator(caller()))
		return -XEN_EPERM;
	if (!try_lock())
		return -XEN_EAGAIN;
	if (session.state != SESSION_RUNNING) {
		release();
		/* Not to be guessed by a process that has lost its session, nor ever used twice. */
		session.number = machine_tsc() << 16 | (++claims & 0xffff);
		if (!session.number)
			session.number = 1;
		session.touched = get_s_time();
		set_state(SESSION_CLAIMED);
		claim->session = session.number;
		error = 0;
	}
	unlock();
	return error;
}

static bool good_list(const struct xph_domains *domains)
{
	uint32_t num, i, j;

	if (domains->num_active > XPH_MAX_DOMAINS || domains->num_passive > XPH_MAX_DOMAINS)
		return false;
	num = domains->num_active + domains->num_passive;
	if (!num || num > XPH_MAX_DOMAINS || domains->reserved)
		return false;
	if (domains->buffer_samples < XPH_MIN_BUFFER || domains->buffer_samples > XPH_MAX_BUFFER ||
	    domains->buffer_samples & (domains->buffer_samples - 1))
		return false;
	for (i = 0; i < num; i++) {
		if (domains->domain[i] >= XPH_DOMAIN_SELF)
			return false;
		for (j = 0; j < i; j++)
			if (domains->domain[i] == domains->domain[j])
				return false;
	}
	return true;
}

long session_domains(const struct xph_domains *domains)
{
	uint16_t self = domain_number(caller());
	long error = enter(domains->session);
	uint32_t i;

	if (error)
		return error;
	if (session.state == SESSION_RUNNING)
		error = -XEN_EBUSY;
	else if (!good_list(domains))
		error = -XEN_EINVAL;
	if (!error) {
		stop();
		slots_close();
		set_state(SESSION_CLAIMED);
		for (i = 0; !error && i < domains->num_active + domains->num_passive; i++)
			error = slot_open(domains->domain[i], i >= domains->num_active,
					  domains->domain[i] == self, domains->buffer_samples);
		if (error)
			slots_close();
		else
			set_state(SESSION_LISTED);
	}
	unlock();
	return error;
}

static long choose(const struct xph_counters *counters, struct sampling *chosen)
{
	uint32_t rate = counters->rate ? counters->rate : XPH_DEFAULT_RATE;
	uint32_t family, i;

	memset(chosen, 0, sizeof(*chosen));
	chosen->model = counter_model_here(&family);
	if (!chosen->model)
		return -XEN_ENODEV;
	if (!counters->num || counters->num > chosen->model->num ||
	    counters->num > XPH_MAX_COUNTERS || rate < XPH_MIN_RATE || rate > XPH_MAX_RATE)
		return -XEN_EINVAL;
	chosen->num = counters->num;
	for (i = 0; i < counters->num; i++) {
		const struct xph_counter *counter = &counters->counter[i];

		if (counter->period < XPH_MIN_PERIOD || counter->period > XPH_MAX_PERIOD ||
		    !(counter->flags & (XPH_COUNT_USER | XPH_COUNT_KERNEL)) ||
		    counter->flags & ~(XPH_COUNT_USER | XPH_COUNT_KERNEL) || counter->reserved ||
		    !chosen->model->encode(counter, &chosen->select[i]))
			return -XEN_EINVAL;
		chosen->period[i] = counter->period;
	}
	/* Windows of 10 ms. */
	chosen->window = (uint64_t)(cpu_khz ? cpu_khz : 1000000) * 10;
	chosen->window_nmis = rate / 100;
	return 0;
}

long session_counters(const struct xph_counters *counters)
{
	long error = enter(counters->session);
	struct sampling chosen;

	if (error)
		return error;
	if (session.state == SESSION_RUNNING)
		error = -XEN_EBUSY;
	else if (session.state != SESSION_LISTED && session.state != SESSION_READY)
		error = -XEN_EINVAL;
	if (!error)
		error = choose(counters, &chosen);
	if (!error) {
		stop();
		sampling = chosen;
		set_state(SESSION_READY);
	}
	unlock();
	return error;
}

static long all_armed(void)
{
	uint32_t i;

	for (i = 0; i < num_slots; i++) {
		if (slots[i].state != SLOT_PASSIVE && slots[i].gone)
			return -XEN_ESRCH;
		if (__atomic_load_n(&slots[i].state, __ATOMIC_SEQ_CST) != SLOT_ARMED &&
		    slots[i].state != SLOT_PASSIVE)
			return -XEN_EAGAIN;
	}
	return 0;
}

/* When the initiator has called last; the timer asks. */
static bool expired(void)
{
	return get_s_time() - session.touched > (int64_t)session.lease;
}

bool session_tick_enter(void)
{
	return try_lock();
}

void session_tick_leave(void)
{
	unlock();
}

/* The timer itself stays for stop() to end: it cannot wait for itself. */
bool session_tick_runs(void)
{
	if (session.state != SESSION_RUNNING)
		return false;
	if (!expired())
		return true;
	cpus_stop();
	set_state(SESSION_READY);
	printk("xenoprof: stopped, its initiator has not called for %u ms\n",
	       (unsigned int)(session.lease / 1000000));
	return false;
}

/* On failure nothing runs. */
static long run(uint64_t lease)
{
	long error = tick_begin();

	if (error)
		return error;
	session.ticking = 1;
	session.lease = lease;
	error = cpus_start();
	if (error)
		stop();
	else
		set_state(SESSION_RUNNING);
	return error;
}

long session_start(const struct xph_start *start)
{
	long error = enter(start->session);

	if (error)
		return error;
	if (session.state == SESSION_RUNNING)
		error = -XEN_EBUSY;
	else if (session.state != SESSION_READY || start->lease < XPH_MIN_LEASE ||
		 start->lease > XPH_MAX_LEASE || start->reserved)
		error = -XEN_EINVAL;
	else if (session_refusal())
		error = -XEN_EBUSY;
	if (!error) {
		stop();
		set_state(SESSION_STARTING);
		error = all_armed();
		if (!error)
			error = run((uint64_t)start->lease * 1000000);
		if (error)
			set_state(SESSION_READY);
	}
	unlock();
	return error;
}

long session_stop(uint64_t number)
{
	long error = enter(number);

	if (error)
		return error;
	if (session.state != SESSION_RUNNING && !session.ticking)
		error = -XEN_EINVAL;
	stop();
	unlock();
	return error;
}

long session_release(uint64_t number)
{
	long error = enter(number);

	if (error)
		return error;
	release();
	unlock();
	return 0;
}

long session_end(void)
{
	if (!try_lock())
		return -XEN_EBUSY;
	release();
	unlock();
	return 0;
}

bool session_is_free(void)
{
	return session.state == SESSION_FREE && !session.ticking && !session.locked;
}

static struct slot *enter_slot(long *error)
{
	return slot_enter(caller(), error);
}

long session_arm(void)
{
	long error = 0;
	struct slot *slot = enter_slot(&error);
	uint8_t before, state;

	if (!slot)
		return error;
	before = slot->state;
	state = __atomic_load_n(&session.state, __ATOMIC_SEQ_CST);
	if (before == SLOT_ARMED || state == SESSION_RUNNING) {
		error = -XEN_EBUSY;
	} else if (state == SESSION_STARTING) {
		error = -XEN_EAGAIN;
	} else {
		slot_reset(slot);
		__atomic_store_n(&slot->state, SLOT_ARMED, __ATOMIC_SEQ_CST);
	}
	slot_leave(slot);
	return error;
}

/* The NMI handler may be storing a sample at this moment: it is the last. */
long session_disarm(void)
{
	long error = 0;
	struct slot *slot = enter_slot(&error);

	if (!slot)
		return error;
	if (slot->state == SLOT_ARMED)
		__atomic_store_n(&slot->state, SLOT_LEFT, __ATOMIC_SEQ_CST);
	else
		error = -XEN_EINVAL;
	slot_leave(slot);
	return error;
}

long session_notify(const struct xph_notify *notify)
{
	long error = 0;
	struct slot *slot;

	if (notify->on > 1 || notify->reserved)
		return -XEN_EINVAL;
	slot = enter_slot(&error);
	if (!slot)
		return error;
	__atomic_store_n(&slot->notify, notify->on, __ATOMIC_RELAXED);
	slot_leave(slot);
	return 0;
}

static struct ring *ring_of(const struct slot *slot, uint16_t vcpu)
{
	if (vcpu >= slot->num_rings)
		return NULL;
	return slot->ring[machine_clamp(vcpu, slot->num_rings)];
}

static long read_own(const struct xph_read *read)
{
	long error = 0;
	struct slot *slot;
	struct ring *ring;

	if (read->session)
		return -XEN_EINVAL;
	slot = enter_slot(&error);
	if (!slot)
		return error;
	ring = ring_of(slot, read->vcpu);
	error = ring ? ring_read_samples(ring, read->to, read->most, is_initiator(caller())) :
		       -XEN_ERANGE;
	slot_leave(slot);
	return error;
}

static long read_listed(const struct xph_read *read, bool passive)
{
	long error = enter(read->session);
	struct slot *slot;
	struct ring *ring;

	if (error)
		return error;
	slot = slot_by_number(read->domain);
	if (!slot || (slot->state == SLOT_PASSIVE) != passive) {
		error = -XEN_ESRCH;
	} else {
		ring = ring_of(slot, read->vcpu);
		if (!ring)
			error = -XEN_ERANGE;
		else if (passive)
			error = ring_read_samples(ring, read->to, read->most, true);
		else
			error = ring_read_parts(ring, read->to, read->most);
	}
	unlock();
	return error;
}

long session_read(const struct xph_read *read)
{
	return read->domain == XPH_DOMAIN_SELF ? read_own(read) : read_listed(read, true);
}

long session_read_parts(const struct xph_read *read)
{
	return read_listed(read, false);
}

static void add_ring(const struct ring *ring, struct xph_totals *totals)
{
	uint32_t i, j;

	totals->parts_delivered = ring->parts_delivered;
	totals->parts_lost = ring->parts_lost;
	for (i = 0; i < XPH_MAX_COUNTERS; i++) {
		struct xph_counter_totals *to = &totals->counter[i];
		uint64_t taken = 0;

		/* In this order: what is delivered meanwhile was taken before. */
		to->delivered = ring->delivered[i];
		machine_barrier();
		to->lost = ring->produced[i].lost;
		for (j = 0; j < XPH_MODES; j++) {
			to->taken[j] = ring->produced[i].taken[j];
			taken += to->taken[j];
		}
		to->waiting = taken - to->lost - to->delivered;
		to->throttled = ring->produced[i].throttled;
		to->unarmed = ring->produced[i].unarmed;
	}
}

static long add_slot(const struct slot *slot, struct xph_totals *totals)
{
	const struct ring *ring = ring_of(slot, totals->vcpu);

	if (!ring)
		return -XEN_ERANGE;
	totals->vcpus = slot->num_rings;
	totals->gone = slot->gone;
	add_ring(ring, totals);
	return 0;
}

static void add_nobodys(struct xph_totals *totals)
{
	bool idle = totals->domain == XPH_DOMAIN_IDLE;
	struct cpu_sums sums;
	uint32_t i, j;

	cpus_sum(&sums);
	for (i = 0; i < XPH_MAX_COUNTERS; i++) {
		struct xph_counter_totals *to = &totals->counter[i];

		for (j = 0; j < XPH_MODES; j++)
			to->taken[j] = idle ? sums.idle[i][j] : sums.others[i][j];
		to->throttled = idle ? sums.idle_throttled[i] : sums.others_throttled[i];
		to->missed = idle ? 0 : sums.missed[i];
	}
	totals->foreign = idle ? 0 : sums.foreign;
}

static long own_totals(struct xph_totals *totals)
{
	long error = 0;
	struct slot *slot;

	if (totals->session)
		return -XEN_EINVAL;
	slot = enter_slot(&error);
	if (!slot)
		return error;
	error = add_slot(slot, totals);
	slot_leave(slot);
	return error;
}

long session_totals(struct xph_totals *totals)
{
	struct xph_totals asked = *totals;
	const struct slot *slot;
	long error;

	memset(totals, 0, sizeof(*totals));
	totals->session = asked.session;
	totals->domain = asked.domain;
	totals->vcpu = asked.vcpu;
	totals->running = session.state == SESSION_RUNNING;
	if (asked.domain == XPH_DOMAIN_SELF)
		return own_totals(totals);
	error = enter(asked.session);
	if (error)
		return error;
	slot = slot_by_number(asked.domain);
	if (asked.domain == XPH_DOMAIN_IDLE || asked.domain == XPH_DOMAIN_OTHERS) {
		if (asked.vcpu)
			error = -XEN_ERANGE;
		else
			add_nobodys(totals);
	} else {
		error = slot ? add_slot(slot, totals) : -XEN_ESRCH;
	}
	unlock();
	return error;
}
