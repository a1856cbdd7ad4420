// SPDX-License-Identifier: GPL-2.0-or-later
#include "cpu.h"
#include "sample.h"
#include "slots.h"

struct sampling sampling;

#define MSR_APIC_BASE 0x1b
#define APIC_BASE_X2APIC (1u << 10)
#define APIC_BASE_ADDRESS 0xffffffffff000ull
#define APIC_LVTPC 0x340
#define MSR_X2APIC_LVTPC 0x834
#define LVT_NMI 0x400u
#define LVT_MASKED 0x10000u

struct cpu {
	/* on and busy: the NMI handler's and this CPU's interrupts', in that order. */
	uint8_t on;
	uint8_t busy;
	uint8_t late; /* an overflow's NMI may come after the stop */
	uint8_t spare; /* one NMI took more than one overflow: the next may find none */
	uint8_t programmed; /* there is something to restore */
	uint32_t nested;
	int32_t error;
	uint32_t lengthened; /* periods are that many powers of two longer */
	uint32_t nmis; /* in this window */
	uint64_t window_start; /* TSC */
	uint64_t armed[XPH_MAX_COUNTERS]; /* events from the last sample to the next */
	uint64_t old_select[XPH_MAX_COUNTERS], old_counter[XPH_MAX_COUNTERS];
	uint32_t old_lvtpc;
	struct cpu_sums sums;
};

static struct cpu **cpus;
static uint32_t num_cpus;
static void *apic;
static bool x2apic;
static nmi_callback *callback_before;
static uint64_t earlier_select[XPH_MAX_COUNTERS]; /* of the last session, 0: none */

static uint32_t select_msr(uint32_t i)
{
	return sampling.model->select + i * sampling.model->stride;
}

static uint32_t counter_msr(uint32_t i)
{
	return sampling.model->counter + i * sampling.model->stride;
}

static uint32_t read_lvtpc(void)
{
	return x2apic ? (uint32_t)machine_rdmsr(MSR_X2APIC_LVTPC) :
			machine_apic_read(apic, APIC_LVTPC);
}

static void write_lvtpc(uint32_t value)
{
	if (x2apic)
		machine_wrmsr(MSR_X2APIC_LVTPC, value);
	else
		machine_apic_write(apic, APIC_LVTPC, value);
}

/* Whole periods only, so that what is left out can be counted. */
static uint64_t lengthened_period(const struct cpu *cpu, uint32_t i)
{
	uint64_t period = sampling.period[i];

	if (period > XPH_MAX_PERIOD >> cpu->lengthened)
		return XPH_MAX_PERIOD / period * period;
	return period << cpu->lengthened;
}

/*
 * The counter has come to 0 and gone on to @value. Sets it to overflow after the next period, of
 * which it has already counted a part, and returns the periods that have passed.
 */
static uint64_t rearm(struct cpu *cpu, uint32_t i, uint64_t value)
{
	uint64_t period = sampling.period[i];
	uint64_t events = cpu->armed[i] + value;
	uint64_t rest = events % period;

	cpu->armed[i] = lengthened_period(cpu, i);
	machine_wrmsr(counter_msr(i), -(cpu->armed[i] - rest) & counter_mask(sampling.model));
	return events / period;
}

/*
 * Over the limit each further NMI of the window doubles the periods. So a window has some 46 NMIs
 * more than the limit, however many events come, and how long each of them takes to be handled.
 */
static void throttle(struct cpu *cpu, uint64_t tsc)
{
	if (tsc - cpu->window_start > sampling.window) {
		cpu->window_start = tsc;
		cpu->nmis = 0;
		cpu->lengthened = 0;
	}
	if (++cpu->nmis > sampling.window_nmis && cpu->lengthened < 46)
		cpu->lengthened++;
}

static void store(struct cpu *cpu, const struct xph_sample *sample, struct ring *ring,
		  const struct slot *slot, uint64_t left_out)
{
	uint32_t i = sample->counter;

	if (sample->domain == XPH_DOMAIN_IDLE) {
		cpu->sums.idle[i][sample->mode]++;
		cpu->sums.idle_throttled[i] += left_out;
	} else if (!ring) {
		cpu->sums.others[i][sample->mode]++;
		cpu->sums.others_throttled[i] += left_out;
	} else {
		ring->produced[i].throttled += left_out;
		if (slot->state == SLOT_ARMED || slot->state == SLOT_PASSIVE)
			ring_put(ring, sample);
		else
			ring->produced[i].unarmed++;
	}
}

static uint32_t take_samples(struct cpu *cpu, const struct cpu_user_regs *regs)
{
	struct xph_sample sample;
	const struct slot *slot = NULL;
	struct ring *ring = NULL;
	uint32_t taken = 0, i;

	for (i = 0; i < sampling.num; i++) {
		uint64_t value = machine_rdmsr(counter_msr(i)) & counter_mask(sampling.model);

		if (!counter_overflowed(sampling.model, value))
			continue;
		if (!taken++) {
			const struct vcpu *vcpu = current_vcpu();

			sample_here(regs, &sample);
			ring = slot_find_ring(vcpu_domain(vcpu), vcpu_number(vcpu), &slot);
			throttle(cpu, sample.tsc);
		}
		sample.counter = i;
		store(cpu, &sample, ring, slot, rearm(cpu, i, value) - 1);
	}
	return taken;
}

/* Bounded: at most XPH_MAX_COUNTERS samples of fixed length, and slots[] once. No lock, no fault.
 */
static int on_nmi(const struct cpu_user_regs *regs, int number)
{
	struct cpu *cpu = (uint32_t)number < num_cpus ? cpus[number] : NULL;
	uint32_t taken;

	if (cpu && cpu->late && !cpu->on) {
		cpu->late = 0;
		return 1;
	}
	if (!cpu || !cpu->on)
		return callback_before ? callback_before(regs, number) : 0;
	if (cpu->busy) {
		cpu->nested++;
		return 1;
	}
	cpu->busy = 1;
	machine_barrier();
	taken = take_samples(cpu, regs);
	if (taken) {
		write_lvtpc(LVT_NMI);
		cpu->spare = taken > 1;
	}
	machine_barrier();
	cpu->busy = 0;
	if (taken)
		return 1;
	if (cpu->spare) {
		cpu->spare = 0;
		return 1;
	}
	cpu->sums.foreign++;
	return callback_before ? callback_before(regs, number) : 0;
}

/* Everything the NMI handler is going to touch is touched here, where a fault does no harm. */
static long program(struct cpu *cpu)
{
	uint32_t i;

	for (i = 0; i < sampling.model->num; i++) {
		if (!machine_probe(select_msr(i), &cpu->old_select[i]) ||
		    !machine_probe(counter_msr(i), &cpu->old_counter[i]))
			return -XEN_EIO;
		/* A CPU that was off when an earlier session stopped has kept what that one set. */
		if (cpu->old_select[i] == earlier_select[i])
			cpu->old_select[i] = 0;
		if (cpu->old_select[i] & sampling.model->enabled)
			return -XEN_EBUSY;
	}
	for (i = 0; i < sampling.model->num; i++)
		if (!machine_probe_write(select_msr(i), 0))
			return -XEN_EIO;
	for (i = 0; i < sampling.num; i++) {
		cpu->armed[i] = sampling.period[i];
		if (!machine_probe_write(counter_msr(i),
					 -sampling.period[i] & counter_mask(sampling.model)))
			return -XEN_EIO;
	}
	cpu->old_lvtpc = read_lvtpc();
	cpu->programmed = 1;
	write_lvtpc(LVT_NMI);
	cpu->on = 1;
	machine_barrier();
	for (i = 0; i < sampling.num; i++)
		machine_wrmsr(select_msr(i), sampling.select[i]);
	return 0;
}

static void restore(struct cpu *cpu)
{
	bool waiting = false;
	uint32_t i;

	if (!cpu->programmed)
		return;
	for (i = 0; i < sampling.num; i++)
		machine_wrmsr(select_msr(i), 0);
	/* An NMI up to here is handled as ever; none can follow but one that is on its way. */
	cpu->late = 1;
	machine_barrier();
	cpu->on = 0;
	machine_barrier();
	for (i = 0; i < sampling.num; i++) {
		uint64_t value = machine_rdmsr(counter_msr(i)) & counter_mask(sampling.model);

		if (!counter_overflowed(sampling.model, value))
			continue;
		waiting = true;
		cpu->sums.missed[i] += (cpu->armed[i] + value) / sampling.period[i];
	}
	if (!waiting)
		cpu->late = 0;
	for (i = 0; i < sampling.num; i++)
		machine_wrmsr(counter_msr(i), cpu->old_counter[i]);
	for (i = 0; i < sampling.model->num; i++)
		machine_wrmsr(select_msr(i), cpu->old_select[i]);
	write_lvtpc(cpu->old_lvtpc);
	cpu->programmed = 0;
}

static struct cpu *cpu_here(void)
{
	uint32_t number = this_cpu();

	return number < num_cpus ? cpus[number] : NULL;
}

static void start_here(void *unused)
{
	struct cpu *cpu = cpu_here();

	(void)unused;
	if (cpu)
		cpu->error = program(cpu);
}

static void stop_here(void *unused)
{
	struct cpu *cpu = cpu_here();

	(void)unused;
	if (cpu)
		restore(cpu);
}

/*
 * While busy is set, the NMI handler leaves the counters to us and counts that it came, so we look
 * again. An overflow found here had its NMI taken by somebody else: whoever masks NMIs for a while,
 * such as Xen when it applies a live patch.
 */
static void service_here(void *unused)
{
	struct cpu *cpu = cpu_here();
	uint32_t round, i, nested;

	(void)unused;
	if (!cpu || cpu->error)
		return;
	if (!cpu->on) {
		cpu->error = program(cpu);
		return;
	}
	for (round = 0; round < 4; round++) {
		nested = cpu->nested;
		cpu->busy = 1;
		machine_barrier();
		for (i = 0; i < sampling.num; i++) {
			uint64_t value;

			/* The registers of a CPU that was off or slept have lost their contents. */
			if (machine_rdmsr(select_msr(i)) != sampling.select[i]) {
				cpu->armed[i] = sampling.period[i];
				machine_wrmsr(counter_msr(i),
					      -sampling.period[i] & counter_mask(sampling.model));
				machine_wrmsr(select_msr(i), sampling.select[i]);
			}
			value = machine_rdmsr(counter_msr(i)) & counter_mask(sampling.model);
			if (counter_overflowed(sampling.model, value))
				cpu->sums.missed[i] += rearm(cpu, i, value);
		}
		write_lvtpc(LVT_NMI);
		cpu->spare = 0;
		machine_barrier();
		cpu->busy = 0;
		machine_barrier();
		if (cpu->nested == nested)
			break;
	}
}

void cpus_free(void)
{
	uint32_t i;

	for (i = 0; i < num_cpus; i++)
		xfree(cpus[i]);
	xfree(cpus);
	cpus = NULL;
	num_cpus = 0;
}

static long allocate(void)
{
	uint32_t num = nr_cpu_ids, i;

	cpus_free();
	cpus = _xzalloc(num * sizeof(*cpus), 64);
	if (!cpus)
		return -XEN_ENOMEM;
	num_cpus = num;
	/* For those that are to come online, too. */
	for (i = 0; i < num; i++) {
		cpus[i] = _xzalloc(sizeof(struct cpu), 64);
		if (!cpus[i])
			return -XEN_ENOMEM;
	}
	return 0;
}

static void end(void)
{
	uint32_t i;

	for (i = 0; i < XPH_MAX_COUNTERS; i++)
		earlier_select[i] = i < sampling.num ? sampling.select[i] : 0;
	on_selected_cpus(online_cpus(), stop_here, NULL, 1);
	/*
	 * On a CPU that has answered no handler of ours runs any more. One that has read the
	 * pointer just now finds its CPU off; and Xen frees no live patch before all CPUs have met.
	 */
	set_nmi_callback(callback_before);
	if (optional.release_lapic_nmi)
		optional.release_lapic_nmi();
	if (apic)
		vunmap(apic);
	apic = NULL;
}

long cpus_start(void)
{
	uint64_t base = machine_rdmsr(MSR_APIC_BASE);
	uint32_t i;
	long error = allocate();

	if (error) {
		cpus_free();
		return error;
	}
	x2apic = base & APIC_BASE_X2APIC;
	if (!x2apic) {
		apic = ioremap(base & APIC_BASE_ADDRESS, 4096);
		if (!apic) {
			cpus_free();
			return -XEN_ENOMEM;
		}
	}
	if (optional.reserve_lapic_nmi && optional.reserve_lapic_nmi()) {
		if (apic)
			vunmap(apic);
		apic = NULL;
		cpus_free();
		return -XEN_EBUSY;
	}
	sample_init();
	callback_before = set_nmi_callback(on_nmi);
	on_selected_cpus(online_cpus(), start_here, NULL, 1);
	for (i = 0; i < num_cpus; i++)
		if (cpus[i]->error) {
			error = cpus[i]->error;
			end();
			break;
		}
	return error;
}

void cpus_service(void)
{
	on_selected_cpus(online_cpus(), service_here, NULL, 1);
}

void cpus_stop(void)
{
	end();
}

void cpus_sum(struct cpu_sums *sums)
{
	uint64_t *to = (uint64_t *)sums;
	uint32_t i, j;

	memset(sums, 0, sizeof(*sums));
	for (i = 0; i < num_cpus; i++) {
		const uint64_t *from = (const uint64_t *)&cpus[i]->sums;

		for (j = 0; j < sizeof(*sums) / sizeof(*to); j++)
			to[j] += from[j];
	}
}
