// SPDX-License-Identifier: GPL-2.0-or-later
// The live patch for Xen on a Xen and on processors that are played here: every structure of Xen's
// has a layout of our own, as it may have in a hypervisor that nobody has seen yet.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdint>
#include <cstring>
#include <functional>
#include <map>
#include <memory>
#include <random>
#include <set>
#include <string>
#include <thread>
#include <utility>
#include <vector>

extern "C" {
#include "hypervisor/abi.h"
#include "hypervisor/door.h"
#include "hypervisor/hooks.h"
#include "hypervisor/layout.h"
#include "hypervisor/ring.h"
#include "hypervisor/xen.h"
}

struct cpu_user_regs {
  std::uint64_t flags;
  std::uint64_t pc;
  std::uint16_t cs;
};

struct vcpu {
  std::uint64_t flags;
  int id;
  struct domain* owner;
  std::uint64_t time[4];
  std::uint64_t entry;
  char* vmcb;
};

struct domain {
  std::int32_t references;
  std::uint32_t options;
  struct vcpu** vcpus;
  std::uint32_t num_vcpus;
  std::uint32_t dying;
  std::uint16_t id;
  std::uint8_t is_32bit;
};

struct timer {
  void (*function)(void*);
  std::int64_t expires;
};

namespace {

struct CpuInfo {
  cpu_user_regs guest;
  std::uint64_t per_cpu;
  struct vcpu* current;
  std::uint32_t number;
};

constexpr unsigned kCpus = 4;
constexpr std::uint64_t kMask = (std::uint64_t{1} << 48) - 1;
constexpr std::uint64_t kXen = 0xffff82d040200000;
constexpr std::uint32_t kSelect = 0xc0010000;
constexpr std::uint32_t kCounter = 0xc0010004;
constexpr std::uint32_t kNmi = 0x400;

struct Cpu {
  alignas(64) std::array<char, 256> stack{};
  std::map<std::uint32_t, std::uint64_t> msr;
  std::uint32_t lvtpc = 0x10000;
  bool nmi_lost = false;  // somebody else takes NMIs

  CpuInfo& info() { return *reinterpret_cast<CpuInfo*>(stack.data() + 256 - sizeof(CpuInfo)); }
};

struct Memory {
  std::uint64_t start = 0;
  std::vector<char> bytes;
};

// All that there is on the machine beside the payload.
struct World {
  std::array<Cpu, kCpus> cpu;
  unsigned here = 0;
  std::uint64_t tsc = 1'000'000;
  std::uint64_t ns = 1'000'000'000;
  std::uint32_t family = 0x10;
  std::string vendor = "AuthenticAMD";
  std::map<std::uint16_t, struct domain*> domains;
  nmi_callback* callback = nullptr;
  struct timer* timer = nullptr;
  std::set<void*> allocated;
  std::uint64_t allocated_bytes = 0;
  int allocations_until_failure = -1;
  std::uint64_t memory_limit = ~std::uint64_t{0};  // of copies to guests: bytes that succeed
  std::uint64_t copied = 0;
  std::vector<struct vcpu*> interrupted;
  int reserved = 0;
  int reverted = 0;
  std::set<std::uint32_t> missing_msrs;
  std::function<void()> at_allocation;  // what another CPU does meanwhile
};

World* world = nullptr;

}  // namespace

extern "C" {
unsigned long cpu_online_map[4];
unsigned int nr_cpu_ids = kCpus;
unsigned long cpu_khz = 1'000'000;
unsigned int nmi_watchdog;
unsigned int opt_vpmu_enabled;
struct domain* hardware_domain;
alignas(8) char per_cpu__curr_vcpu[8 * kCpus];
int ss_initialized;
extern const unsigned char svm_asm_do_resume[600] = {0x90, 0x0f, 0x01, 0xdc, 0x90};

std::uint64_t machine_rdmsr(std::uint32_t msr) {
  return world->cpu[world->here].msr[msr];
}
void machine_wrmsr(std::uint32_t msr, std::uint64_t value) {
  EXPECT_FALSE(world->missing_msrs.contains(msr)) << "this would bring the host down";
  world->cpu[world->here].msr[msr] = value;
}
bool machine_probe(std::uint32_t msr, std::uint64_t* value) {
  *value = world->cpu[world->here].msr[msr];
  return !world->missing_msrs.contains(msr);
}
bool machine_probe_write(std::uint32_t msr, std::uint64_t value) {
  if (world->missing_msrs.contains(msr)) {
    return false;
  }
  world->cpu[world->here].msr[msr] = value;
  return true;
}
std::uint64_t machine_tsc() {
  return world->tsc += 100;
}
void machine_cpuid(std::uint32_t leaf, std::uint32_t out[4]) {
  std::memset(out, 0, 16);
  if (leaf == 0) {
    std::memcpy(&out[1], world->vendor.data(), 4);
    std::memcpy(&out[3], world->vendor.data() + 4, 4);
    std::memcpy(&out[2], world->vendor.data() + 8, 4);
  } else {
    out[0] = world->family < 0xf ? world->family << 8 : 0xf00 | (world->family - 0xf) << 20;
  }
}
char* machine_stack_end() {
  return world->cpu[world->here].stack.data() + 256;
}
std::uint32_t machine_apic_read(const volatile void*, std::uint32_t offset) {
  EXPECT_EQ(offset, 0x340u);
  return world->cpu[world->here].lvtpc;
}
void machine_apic_write(volatile void*, std::uint32_t offset, std::uint32_t value) {
  EXPECT_EQ(offset, 0x340u);
  world->cpu[world->here].lvtpc = value;
}
void machine_pause() {}

void printk(const char*, ...) {}
nmi_callback* set_nmi_callback(nmi_callback* callback) {
  return std::exchange(world->callback, callback);
}
void on_selected_cpus(const struct cpumask*, void (*function)(void*), void* data, int wait) {
  EXPECT_EQ(wait, 1);
  const unsigned here = world->here;
  for (unsigned i = 0; i < kCpus; ++i) {
    if ((cpu_online_map[0] >> i & 1) != 0) {
      world->here = i;
      function(data);
    }
  }
  world->here = here;
}
void* ioremap(std::uint64_t, std::size_t) {
  return &world->cpu;
}
void vunmap(const void*) {}
void* _xzalloc(unsigned long size, unsigned long alignment) {
  if (world->at_allocation) {
    std::exchange(world->at_allocation, nullptr)();
  }
  if (world->allocations_until_failure == 0) {
    return nullptr;
  }
  --world->allocations_until_failure;
  void* memory = std::aligned_alloc(alignment, (size + alignment - 1) / alignment * alignment);
  std::memset(memory, 0, size);
  world->allocated.insert(memory);
  world->allocated_bytes += size;
  return memory;
}
void xfree(void* memory) {
  if (memory != nullptr) {
    EXPECT_EQ(world->allocated.erase(memory), 1u);
    std::free(memory);
  }
}
unsigned copy_to_guest_pv(void* to, const void* from, unsigned size) {
  if (world->copied + size > world->memory_limit) {
    return size;
  }
  world->copied += size;
  std::memcpy(to, from, size);
  return 0;
}
unsigned copy_from_guest_pv(void* to, const void* from, unsigned size) {
  if (from == nullptr) {
    return size;
  }
  std::memcpy(to, from, size);
  return 0;
}
unsigned copy_to_user_hvm(void* to, const void* from, unsigned size) {
  return copy_to_guest_pv(to, from, size);
}
unsigned copy_from_user_hvm(void* to, const void* from, unsigned size) {
  return copy_from_guest_pv(to, from, size);
}
int reserve_lapic_nmi() {
  return world->reserved++ != 0 ? -1 : 0;
}
void release_lapic_nmi() {
  --world->reserved;
}
void init_timer(struct timer* timer, void (*function)(void*), void*, unsigned) {
  timer->function = function;
}
void set_timer(struct timer* timer, std::int64_t expires) {
  timer->expires = expires;
  world->timer = timer;
}
void kill_timer(struct timer* timer) {
  EXPECT_NE(timer, nullptr);
  world->timer = nullptr;
}
std::int64_t get_s_time() {
  return static_cast<std::int64_t>(world->ns);
}
struct domain* get_domain_by_id(std::uint16_t id) {
  const auto found = world->domains.find(id);
  if (found == world->domains.end()) {
    return nullptr;
  }
  ++found->second->references;
  return found->second;
}
void domain_destroy(struct domain*) {
  ADD_FAILURE() << "the last reference was ours";
}
void send_guest_vcpu_virq(struct vcpu* vcpu, std::uint32_t virq) {
  EXPECT_EQ(virq, 7u);
  world->interrupted.push_back(vcpu);
}
int revert_payload(struct payload*) {
  return ++world->reverted, 0;
}
}

namespace {

struct Domain {
  struct domain xen{};
  std::vector<std::unique_ptr<struct vcpu>> vcpus;
  std::vector<struct vcpu*> pointers;
  std::vector<char> vmcb = std::vector<char>(4096);

  Domain(std::uint16_t id, unsigned num_vcpus, bool hvm = false) {
    for (unsigned i = 0; i < num_vcpus; ++i) {
      auto& added = vcpus.emplace_back(std::make_unique<struct vcpu>());
      *added = {.flags = 0,
                .id = static_cast<int>(i),
                .owner = &xen,
                .time = {1, 2, 3, 4},
                .entry = world->ns += 1000,
                .vmcb = vmcb.data()};
      pointers.push_back(added.get());
    }
    xen = {.references = 1,
           .options = hvm ? 1u : 0,
           .vcpus = pointers.data(),
           .num_vcpus = num_vcpus,
           .id = id};
    if (id != XPH_DOMAIN_IDLE) {
      world->domains[id] = &xen;
    }
  }
  Domain(const Domain&) = delete;
  Domain& operator=(const Domain&) = delete;
  ~Domain() {
    EXPECT_EQ(xen.references, 1) << "domain " << xen.id;
    std::erase_if(world->domains, [this](const auto& entry) { return entry.second == &xen; });
  }
};

class HypervisorPayload : public ::testing::Test {
 protected:
  HypervisorPayload() {
    world = &world_;
    layout.magic = XPH_LAYOUT_MAGIC;
    layout.version = XPH_LAYOUT_VERSION;
    layout.cpu_info_size = sizeof(CpuInfo);
    layout.timer_size = sizeof(timer);
    layout.livepatch_func_size = 104;
    layout.cpu_info_guest_regs = offsetof(CpuInfo, guest);
    layout.cpu_info_processor = offsetof(CpuInfo, number);
    layout.cpu_info_vcpu = offsetof(CpuInfo, current);
    layout.cpu_info_per_cpu = offsetof(CpuInfo, per_cpu);
    layout.regs_rip = offsetof(cpu_user_regs, pc);
    layout.regs_cs = offsetof(cpu_user_regs, cs);
    layout.regs_rflags = offsetof(cpu_user_regs, flags);
    layout.vcpu_domain = offsetof(vcpu, owner);
    layout.vcpu_id = offsetof(vcpu, id);
    layout.vcpu_runstate_entry = offsetof(vcpu, entry);
    layout.vcpu_runstate_time = offsetof(vcpu, time);
    layout.vcpu_flags = offsetof(vcpu, flags);
    layout.vcpu_vmcb = offsetof(vcpu, vmcb);
    layout.domain_id = offsetof(domain, id);
    layout.domain_options = offsetof(domain, options);
    layout.domain_refcnt = offsetof(domain, references);
    layout.domain_dying = offsetof(domain, dying);
    layout.domain_vcpus = offsetof(domain, num_vcpus);
    layout.domain_vcpu = offsetof(domain, vcpus);
    layout.domain_pv_32bit = offsetof(domain, is_32bit);
    cpu_online_map[0] = 3;
    hardware_domain = &dom0.xen;
    opt_vpmu_enabled = nmi_watchdog = 0;
    ss_initialized = 0;
    for (unsigned i = 0; i < kCpus; ++i) {
      world_.cpu[i].info().number = i;
      world_.cpu[i].info().per_cpu = 8 * i;
      run(i, idle, i);
    }
    run(0, dom0, 0);
  }

  // Everything is as it was, whatever the test did.
  ~HypervisorPayload() override {
    cpu_online_map[0] = 3;
    EXPECT_EQ(xenoprof_prerevert(nullptr), 0);
    EXPECT_EQ(xenoprof_revert(nullptr), 0);
    EXPECT_EQ(world_.reverted, 1);
    EXPECT_EQ(world_.callback, nullptr);
    EXPECT_EQ(world_.timer, nullptr);
    EXPECT_EQ(world_.reserved, 0);
    EXPECT_TRUE(world_.allocated.empty());
    for (unsigned i = 0; i < 2; ++i) {
      EXPECT_EQ(world_.cpu[i].msr[kSelect], 0u);
      EXPECT_EQ(world_.cpu[i].lvtpc, 0x10000u);
    }
  }

  // A vCPU gets a pCPU, and its registers the bottom of the stack.
  void run(unsigned cpu, Domain& domain, unsigned vcpu) {
    struct vcpu* const next = domain.pointers[vcpu];
    world_.cpu[cpu].info().current = next;
    std::memcpy(per_cpu__curr_vcpu + std::size_t{8} * cpu, &next, 8);
  }

  long call(Domain& caller, unsigned op, void* argument = nullptr) {
    const unsigned here = world_.here;
    const auto before = world_.cpu[3].info().current;
    world_.here = 3;  // any that nothing else happens on
    world_.cpu[3].info().current = caller.pointers[0];
    const long result = xenoprof_op(op, argument);
    world_.cpu[3].info().current = before;
    world_.here = here;
    return result;
  }

  xph_domains list(std::vector<std::uint16_t> active, std::vector<std::uint16_t> passive = {},
                   std::uint32_t samples = 64) const {
    xph_domains domains{.session = session_,
                        .num_active = static_cast<std::uint32_t>(active.size()),
                        .num_passive = static_cast<std::uint32_t>(passive.size()),
                        .buffer_samples = samples};
    std::ranges::copy(active, domains.domain);
    std::ranges::copy(passive, domains.domain + active.size());
    return domains;
  }

  xph_counters counters(std::uint64_t period = 100'000, std::uint32_t num = 1) const {
    xph_counters counters{.session = session_, .num = num};
    for (std::uint32_t i = 0; i < num; ++i) {
      counters.counter[i] = {.period = period, .event = 0xc0 + i, .flags = 3};
    }
    return counters;
  }

  void claim() {
    xph_claim claim{};
    ASSERT_EQ(call(dom0, XPH_CLAIM, &claim), 0);
    session_ = claim.session;
  }

  void prepare(std::vector<std::uint16_t> active, std::vector<std::uint16_t> passive = {},
               std::uint64_t period = 100'000, std::uint32_t num = 1, std::uint32_t rate = 0,
               std::uint32_t samples = 64) {
    claim();
    xph_domains domains = list(std::move(active), std::move(passive), samples);
    ASSERT_EQ(call(dom0, XPH_DOMAINS, &domains), 0);
    xph_counters wanted = counters(period, num);
    wanted.rate = rate;
    ASSERT_EQ(call(dom0, XPH_COUNTERS, &wanted), 0);
  }

  long start(std::uint32_t lease = 5000) {
    xph_start start{.session = session_, .lease = lease};
    return call(dom0, XPH_START, &start);
  }
  long stop() {
    xph_session session{session_};
    return call(dom0, XPH_STOP, &session);
  }
  long release() {
    xph_session session{session_};
    return call(dom0, XPH_RELEASE, &session);
  }

  // Whether it raised an NMI that the payload took.
  bool count(unsigned cpu, std::uint64_t events, const cpu_user_regs* regs, unsigned counter = 0) {
    Cpu& on = world_.cpu[cpu];
    if ((on.msr[kSelect + counter] >> 22 & 1) == 0) {
      return false;
    }
    const std::uint64_t before = on.msr[kCounter + counter];
    const std::uint64_t after = (before + events) & kMask;
    on.msr[kCounter + counter] = after;
    const bool overflow = before >> 47 != 0 && after >> 47 == 0;
    return overflow && on.lvtpc == kNmi && !on.nmi_lost && nmi(cpu, regs);
  }
  bool nmi(unsigned cpu, const cpu_user_regs* regs) {
    const unsigned here = world_.here;
    world_.here = cpu;
    const bool taken =
        world_.callback != nullptr && world_.callback(regs, static_cast<int>(cpu)) != 0;
    world_.here = here;
    ++nmis_;
    return taken;
  }

  // The current vCPU of a CPU, a PV domain's, counts in its own code.
  bool count_in_guest(unsigned cpu, std::uint64_t events, std::uint64_t pc, bool kernel = false,
                      unsigned counter = 0) {
    CpuInfo& info = world_.cpu[cpu].info();
    info.guest.pc = pc;
    info.current->flags = kernel ? 1 : 0;
    return count(cpu, events, &info.guest, counter);
  }
  bool count_in_xen(unsigned cpu, std::uint64_t events, std::uint64_t pc = kXen,
                    unsigned counter = 0) {
    const cpu_user_regs regs{.flags = 0x200, .pc = pc};
    return count(cpu, events, &regs, counter);
  }

  std::vector<xph_sample> read(Domain& caller, std::uint16_t vcpu = 0,
                               std::uint16_t domain = XPH_DOMAIN_SELF, std::uint32_t most = 512) {
    std::vector<xph_sample> samples(most);
    xph_read read{.session = domain == XPH_DOMAIN_SELF ? 0 : session_,
                  .to = reinterpret_cast<std::uintptr_t>(samples.data()),
                  .most = most,
                  .domain = domain,
                  .vcpu = vcpu};
    const long got = call(caller, XPH_READ, &read);
    EXPECT_GE(got, 0);
    samples.resize(static_cast<std::size_t>(std::max(got, 0l)));
    return samples;
  }
  std::vector<xph_part> read_parts(std::uint16_t domain, std::uint16_t vcpu = 0) {
    std::vector<xph_part> parts(512);
    xph_read read{.session = session_,
                  .to = reinterpret_cast<std::uintptr_t>(parts.data()),
                  .most = 512,
                  .domain = domain,
                  .vcpu = vcpu};
    const long got = call(dom0, XPH_READ_PARTS, &read);
    EXPECT_GE(got, 0);
    parts.resize(static_cast<std::size_t>(std::max(got, 0l)));
    return parts;
  }
  xph_totals totals(std::uint16_t domain, std::uint16_t vcpu = 0) {
    xph_totals totals{.session = session_, .domain = domain, .vcpu = vcpu};
    EXPECT_EQ(call(dom0, XPH_TOTALS, &totals), 0);
    return totals;
  }

  void pass(std::uint64_t ms) {
    for (std::uint64_t i = 0; i < ms; i += 10) {
      world_.ns += 10'000'000;
      world_.tsc += 10'000'000;
      if (world_.timer != nullptr &&
          world_.timer->expires <= static_cast<std::int64_t>(world_.ns)) {
        struct timer* const timer = std::exchange(world_.timer, nullptr);
        timer->function(nullptr);
      }
    }
  }

  World world_;
  struct SetWorld {
    explicit SetWorld(World* to) { world = to; }
  } set_world_{&world_};
  Domain dom0{0, 2};
  Domain web{1, 2};
  Domain db{2, 1};
  Domain pvh{3, 1, true};
  Domain idle{XPH_DOMAIN_IDLE, kCpus};
  std::uint64_t session_ = 0;
  std::uint64_t nmis_ = 0;
};

TEST_F(HypervisorPayload, SaysItsVersionToEverybodyAndWhoMayClaim) {
  xph_version version{};
  EXPECT_EQ(call(web, XPH_VERSION, &version), 0);
  EXPECT_EQ(version.abi, static_cast<std::uint32_t>(XPH_ABI));
  EXPECT_EQ(version.num_counters, 4u);
  EXPECT_STREQ(version.cpu_type, "amd/family10h");
  EXPECT_EQ(version.initiator, 0u);
  EXPECT_EQ(call(dom0, XPH_VERSION, &version), 0);
  EXPECT_EQ(version.initiator, 1u);
}

TEST_F(HypervisorPayload, AnswersXensOwnOperationsAsXenDoes) {
  EXPECT_EQ(call(dom0, 0), -95);
  EXPECT_EQ(call(dom0, 7), -95);
  EXPECT_EQ(call(dom0, ~0u), -95);
  EXPECT_EQ(call(dom0, XPH_OP_END), -38);
}

TEST_F(HypervisorPayload, A32BitPvDomainIsRefused) {
  xph_version version{};
  web.xen.is_32bit = 1;
  EXPECT_EQ(call(web, XPH_VERSION, &version), -95);
}

TEST_F(HypervisorPayload, AGuestCanDoNothingOfTheInitiators) {
  prepare({0, 1});
  std::array<char, 1024> argument{};
  for (const unsigned op :
       {XPH_CLAIM, XPH_DOMAINS, XPH_COUNTERS, XPH_START, XPH_STOP, XPH_RELEASE, XPH_READ_PARTS}) {
    std::memcpy(argument.data(), &session_, sizeof session_);
    EXPECT_EQ(call(web, op, argument.data()), -1) << op;
  }
  xph_read read{.session = session_, .most = 1, .domain = 2};
  EXPECT_EQ(call(web, XPH_READ, &read), -1);
  for (const std::uint16_t domain : {std::uint16_t{0}, std::uint16_t{2}, std::uint16_t{0x7fff}}) {
    xph_totals totals{.session = session_, .domain = domain};
    EXPECT_EQ(call(web, XPH_TOTALS, &totals), -1);
  }
  EXPECT_EQ(call(dom0, XPH_ARM), 0);
  EXPECT_EQ(call(web, XPH_ARM), 0);
  EXPECT_EQ(start(), 0);
}

TEST_F(HypervisorPayload, AnotherClaimantIsToldThatASessionRunsAndElseReplacesIt) {
  prepare({0});
  ASSERT_EQ(call(dom0, XPH_ARM), 0);
  ASSERT_EQ(start(), 0);
  xph_claim other{};
  EXPECT_EQ(call(dom0, XPH_CLAIM, &other), -16);
  EXPECT_EQ(stop(), 0);
  EXPECT_EQ(call(dom0, XPH_CLAIM, &other), 0);
  EXPECT_NE(other.session, session_);
  EXPECT_EQ(start(), -116);
  EXPECT_EQ(release(), -116);
}

TEST_F(HypervisorPayload, StartsOnlyWhenEveryActiveDomainHasArmed) {
  prepare({0, 1}, {2});
  EXPECT_EQ(start(), -11);
  EXPECT_EQ(call(dom0, XPH_ARM), 0);
  EXPECT_EQ(start(), -11);
  EXPECT_EQ(call(pvh, XPH_ARM), -1) << "is not listed";
  EXPECT_EQ(call(db, XPH_ARM), -1) << "is passive";
  EXPECT_EQ(call(web, XPH_ARM), 0);
  EXPECT_EQ(call(web, XPH_ARM), -16);
  EXPECT_EQ(start(), 0);
  EXPECT_EQ(start(), -16);
  EXPECT_EQ(call(web, XPH_DISARM), 0);
  EXPECT_EQ(call(web, XPH_ARM), -16) << "while the session runs";
  xph_domains domains = list({0});
  EXPECT_EQ(call(dom0, XPH_DOMAINS, &domains), -16);
  xph_counters wanted = counters();
  EXPECT_EQ(call(dom0, XPH_COUNTERS, &wanted), -16);
  EXPECT_EQ(stop(), 0);
  EXPECT_EQ(start(), -11) << "one has left";
}

// Else its rings would be cleared while the CPUs begin to fill them.
TEST_F(HypervisorPayload, NobodyArmsAnewWhileTheSessionStarts) {
  prepare({0, 1});
  ASSERT_EQ(call(dom0, XPH_ARM), 0);
  ASSERT_EQ(call(web, XPH_ARM), 0);
  long result = 0;
  world_.at_allocation = [&] {
    EXPECT_EQ(call(web, XPH_DISARM), 0);
    result = call(web, XPH_ARM);
  };
  EXPECT_EQ(start(), 0);
  EXPECT_EQ(result, -11);
}

TEST_F(HypervisorPayload, StepsOutOfOrderAreRefused) {
  EXPECT_EQ(start(), -116);
  claim();
  xph_counters wanted = counters();
  EXPECT_EQ(call(dom0, XPH_COUNTERS, &wanted), -22);
  EXPECT_EQ(start(), -22);
  EXPECT_EQ(stop(), -22);
  xph_domains domains = list({0});
  EXPECT_EQ(call(dom0, XPH_DOMAINS, &domains), 0);
  EXPECT_EQ(start(), -22);
  EXPECT_EQ(call(dom0, XPH_DISARM), -22);
  EXPECT_EQ(release(), 0);
  EXPECT_EQ(release(), -116);
}

TEST_F(HypervisorPayload, SamplesGoToTheDomainAndVcpuThatTheyHit) {
  prepare({0, 1}, {2});
  ASSERT_EQ(call(dom0, XPH_ARM), 0);
  ASSERT_EQ(call(web, XPH_ARM), 0);
  ASSERT_EQ(start(), 0);
  run(0, dom0, 1);
  EXPECT_TRUE(count_in_guest(0, 100'000, 0x1000));
  run(1, web, 1);
  EXPECT_FALSE(count_in_guest(1, 99'999, 0x2000, true));
  EXPECT_TRUE(count_in_guest(1, 1, 0x2008, true));
  run(0, db, 0);
  EXPECT_TRUE(count_in_guest(0, 100'000, 0x3000));
  run(0, pvh, 0);
  EXPECT_TRUE(count_in_xen(0, 100'000));
  run(0, idle, 0);
  EXPECT_TRUE(count_in_xen(0, 100'000));

  EXPECT_TRUE(read(dom0, 0).empty());
  const auto own = read(dom0, 1);
  ASSERT_EQ(own.size(), 1u);
  EXPECT_EQ(own[0].pc, 0x1000u);
  EXPECT_EQ(own[0].mode, XPH_USER);
  const auto active = read(web, 1);
  ASSERT_EQ(active.size(), 1u);
  EXPECT_EQ(active[0].pc, 0x2008u);
  EXPECT_EQ(active[0].mode, XPH_KERNEL);
  EXPECT_EQ(active[0].pcpu, 1u);
  EXPECT_EQ(active[0].domain, 1u);
  EXPECT_NE(active[0].tsc, 0u);
  const auto passive = read(dom0, 0, 2);
  ASSERT_EQ(passive.size(), 1u);
  EXPECT_EQ(passive[0].pc, 0x3000u);
  EXPECT_EQ(totals(XPH_DOMAIN_OTHERS).counter[0].taken[XPH_HYPERVISOR], 1u);
  EXPECT_EQ(totals(XPH_DOMAIN_IDLE).counter[0].taken[XPH_HYPERVISOR], 1u);
}

TEST_F(HypervisorPayload, A32BitPvDomainIsSampledPassivelyByItsRings) {
  db.xen.is_32bit = 1;
  prepare({}, {2});
  ASSERT_EQ(start(), 0);
  run(0, db, 0);
  world_.cpu[0].info().guest.cs = 0xe019;
  ASSERT_TRUE(count_in_guest(0, 100'000, 0x3000));
  world_.cpu[0].info().guest.cs = 0xe02b;
  ASSERT_TRUE(count_in_guest(0, 100'000, 0x3000, true));
  const auto samples = read(dom0, 0, 2);
  ASSERT_EQ(samples.size(), 2u);
  EXPECT_EQ(samples[0].mode, XPH_KERNEL);
  EXPECT_EQ(samples[1].mode, XPH_USER);
}

TEST_F(HypervisorPayload, SvmGuestsAreFoundBehindStgi) {
  prepare({3});
  ASSERT_EQ(call(pvh, XPH_ARM), 0);
  ASSERT_EQ(start(), 0);
  run(0, pvh, 0);
  const std::uint64_t guest_pc = 0x401000;
  const std::uint64_t exit_nmi = 0x61;
  std::memcpy(pvh.vmcb.data() + 0x578, &guest_pc, 8);
  std::memcpy(pvh.vmcb.data() + 0x70, &exit_nmi, 8);
  pvh.vmcb[0x4cb] = 3;
  const auto stgi = reinterpret_cast<std::uintptr_t>(svm_asm_do_resume) + 4;
  EXPECT_TRUE(count_in_xen(0, 100'000, stgi));
  pvh.vmcb[0x70] = 0x7b;  // an I/O exit; then the NMI struck Xen while that held it back
  EXPECT_TRUE(count_in_xen(0, 100'000, stgi));
  const auto samples = read(pvh);
  ASSERT_EQ(samples.size(), 2u);
  EXPECT_EQ(samples[0].pc, guest_pc);
  EXPECT_EQ(samples[0].mode, XPH_USER);
  EXPECT_EQ(samples[1].mode, XPH_HYPERVISOR);
  EXPECT_EQ(samples[1].guest_pc, guest_pc);
  EXPECT_EQ(samples[1].guest_mode, XPH_USER);
  EXPECT_EQ(samples[1].flags & XPH_SAMPLE_GUEST_PC, XPH_SAMPLE_GUEST_PC);
}

TEST_F(HypervisorPayload, XensAddressesReachTheInitiatorAlone) {
  prepare({0, 1});
  ASSERT_EQ(call(dom0, XPH_ARM), 0);
  ASSERT_EQ(call(web, XPH_ARM), 0);
  ASSERT_EQ(start(), 0);
  run(0, web, 0);
  for (std::uint64_t i = 1; i <= 70; ++i) {
    world_.cpu[0].info().guest.pc = 0x500000 + i;
    ASSERT_TRUE(count_in_xen(0, 100'000, kXen + i));
  }
  const auto samples = read(web);
  ASSERT_EQ(samples.size(), 64u);
  const auto* words = reinterpret_cast<const std::uint64_t*>(samples.data());
  for (std::size_t i = 0; i < samples.size() * sizeof(xph_sample) / 8; ++i) {
    EXPECT_NE(words[i] >> 32, kXen >> 32);
  }
  const auto parts = read_parts(1);
  ASSERT_EQ(parts.size(), samples.size());
  for (std::size_t i = 0; i < parts.size(); ++i) {
    EXPECT_EQ(parts[i].number, samples[i].number);
    EXPECT_EQ(parts[i].pc, kXen + i + 1);
    EXPECT_EQ(samples[i].guest_pc, 0x500001 + i);
  }
  EXPECT_EQ(totals(1).counter[0].lost, 6u);

  run(0, dom0, 0);
  ASSERT_TRUE(count_in_xen(0, 100'000, kXen));
  EXPECT_EQ(read(dom0).at(0).pc, kXen);
}

TEST_F(HypervisorPayload, NoDomainSeesTheRegistersOfTheOneBefore) {
  prepare({0, 1});
  ASSERT_EQ(call(dom0, XPH_ARM), 0);
  ASSERT_EQ(call(web, XPH_ARM), 0);
  ASSERT_EQ(start(), 0);
  run(0, dom0, 0);
  world_.cpu[0].info().guest.pc = 0xd0d0;
  // Inside a context switch: the next is current, the stack still holds the last one's registers.
  world_.cpu[0].info().current = web.pointers[0];
  ASSERT_TRUE(count_in_xen(0, 100'000));
  const auto samples = read(web);
  ASSERT_EQ(samples.size(), 1u);
  EXPECT_EQ(samples[0].guest_pc, 0u);
  EXPECT_EQ(samples[0].flags & XPH_SAMPLE_GUEST_PC, 0u);
}

TEST_F(HypervisorPayload, TakenIsDeliveredAndLostAndWaitingInAnyOrder) {
  prepare({0, 1}, {2}, 10'000, 4, XPH_MAX_RATE);
  ASSERT_EQ(call(dom0, XPH_ARM), 0);
  ASSERT_EQ(call(web, XPH_ARM), 0);
  ASSERT_EQ(start(), 0);
  std::mt19937 random(1);
  std::array<std::uint64_t, 4> counted{};
  std::map<std::pair<std::uint16_t, std::uint16_t>, std::uint64_t> delivered;
  Domain* const domains[] = {&dom0, &web, &db, &pvh, &idle};
  for (int i = 0; i < 20'000; ++i) {
    const unsigned cpu = random() % 2;
    switch (random() % 16) {
      case 0:
        run(cpu, *domains[random() % 5], 0);
        break;
      case 1:
        delivered[{1, 0}] += read(web, 0, XPH_DOMAIN_SELF, random() % 90).size();
        break;
      case 2:
        delivered[{2, 0}] += read(dom0, 0, 2, random() % 90).size();
        break;
      case 3:
        delivered[{0, 0}] += read(dom0, 0, XPH_DOMAIN_SELF, random() % 90).size();
        break;
      case 4:
        pass(10);
        break;
      default: {
        const unsigned counter = random() % 4;
        const std::uint64_t events = random() % 25'000;
        counted[counter] += events;
        if (random() % 2 == 0) {
          count_in_guest(cpu, events, random(), random() % 2 == 0, counter);
        } else {
          count_in_xen(cpu, events, kXen + random() % 4096, counter);
        }
      }
    }
  }
  ASSERT_EQ(stop(), 0);
  std::array<std::uint64_t, 4> overflows{};
  for (const std::uint16_t domain : {0, 1, 2}) {
    for (const std::uint16_t vcpu : {0, 1}) {
      if (domain == 2 && vcpu == 1) {
        continue;
      }
      const xph_totals sums = totals(domain, vcpu);
      std::uint64_t all_delivered = 0;
      for (unsigned i = 0; i < 4; ++i) {
        const xph_counter_totals& counter = sums.counter[i];
        const std::uint64_t taken = counter.taken[0] + counter.taken[1] + counter.taken[2];
        EXPECT_EQ(taken, counter.delivered + counter.lost + counter.waiting);
        EXPECT_LE(counter.waiting, 64u);
        all_delivered += counter.delivered;
        overflows[i] += taken + counter.throttled + counter.unarmed;
      }
      EXPECT_EQ(all_delivered, (delivered[{domain, vcpu}]));
    }
  }
  for (const std::uint16_t domain : {XPH_DOMAIN_IDLE, XPH_DOMAIN_OTHERS}) {
    const xph_totals sums = totals(domain);
    for (unsigned i = 0; i < 4; ++i) {
      const xph_counter_totals& counter = sums.counter[i];
      overflows[i] += counter.taken[0] + counter.taken[1] + counter.taken[2] + counter.throttled +
                      counter.missed;
    }
  }
  // Whole periods of what was counted; each of the two CPUs may have begun one.
  for (unsigned i = 0; i < 4; ++i) {
    EXPECT_LE(overflows[i], counted[i] / 10'000);
    EXPECT_GE(overflows[i] + 2, counted[i] / 10'000);
  }
}

TEST_F(HypervisorPayload, ACallCopiesABoundedNumberAndLosesNothingAtAFault) {
  prepare({1}, {}, 100'000, 1, XPH_MAX_RATE, 1024);
  ASSERT_EQ(call(web, XPH_ARM), 0);
  ASSERT_EQ(start(), 0);
  run(0, web, 0);
  for (std::uint64_t i = 0; i < 600; ++i) {
    ASSERT_TRUE(count_in_guest(0, 100'000, i));
    world_.tsc += 1'000'000;
  }
  std::vector<xph_sample> samples(513, xph_sample{.pc = 0xabab});
  xph_read read{.to = reinterpret_cast<std::uintptr_t>(samples.data()),
                .most = 40,
                .domain = XPH_DOMAIN_SELF,
                .vcpu = 0};
  world_.copied = 0;
  world_.memory_limit = 20 * sizeof(xph_sample);
  EXPECT_EQ(call(web, XPH_READ, &read), 16) << "the first whole batch";
  EXPECT_EQ(call(web, XPH_READ, &read), -14);
  world_.memory_limit = ~std::uint64_t{0};
  read.most = ~0u;
  EXPECT_EQ(call(web, XPH_READ, &read), XPH_READ_MOST);
  for (std::uint64_t i = 0; i < XPH_READ_MOST; ++i) {
    EXPECT_EQ(samples[i].pc, 16 + i);
  }
  EXPECT_EQ(samples[512].pc, 0xababu);
  read.vcpu = 2;
  EXPECT_EQ(call(web, XPH_READ, &read), -34);
  read.vcpu = 0xffff;
  EXPECT_EQ(call(web, XPH_READ, &read), -34);
}

// An event that comes with every instruction, the handler's own included, at the shortest period.
TEST_F(HypervisorPayload, NoLoadGetsMoreNmisThanTheLimitAndEveryPeriodIsCounted) {
  prepare({1}, {}, XPH_MIN_PERIOD, 1, 1000);
  ASSERT_EQ(call(web, XPH_ARM), 0);
  ASSERT_EQ(start(), 0);
  run(0, web, 0);
  std::uint64_t counted = 0;
  for (int i = 0; i < 1'000'000; ++i) {
    count_in_guest(0, 2 * XPH_MIN_PERIOD, 0x1000);
    counted += 2 * XPH_MIN_PERIOD;
    world_.tsc += 10;
  }
  // Some 110 ms of TSC at 100 ns and 10 more for each turn: 10 or so windows.
  EXPECT_LE(nmis_, 12u * (10 + 48));
  ASSERT_EQ(stop(), 0);
  const xph_counter_totals counter = totals(1).counter[0];
  const std::uint64_t missed = totals(XPH_DOMAIN_OTHERS).counter[0].missed;
  EXPECT_EQ(counter.taken[XPH_USER], nmis_);
  EXPECT_LE(counter.taken[XPH_USER] + counter.throttled + missed, counted / XPH_MIN_PERIOD);
  EXPECT_GE((counter.taken[XPH_USER] + counter.throttled + missed) * XPH_MIN_PERIOD +
                (world_.cpu[0].msr[kCounter] & kMask) + (std::uint64_t{1} << 40),
            counted);
}

TEST_F(HypervisorPayload, SlowSamplingIsNotThrottled) {
  prepare({1});
  ASSERT_EQ(call(web, XPH_ARM), 0);
  ASSERT_EQ(start(), 0);
  run(0, web, 0);
  for (int i = 0; i < 1000; ++i) {
    ASSERT_TRUE(count_in_guest(0, 100'000, 0x1000));
    world_.tsc += 100'000;
  }
  EXPECT_EQ(totals(1).counter[0].taken[XPH_USER], 1000u);
  EXPECT_EQ(totals(1).counter[0].throttled, 0u);
}

TEST_F(HypervisorPayload, WhatWasCountedSinceTheOverflowStaysCounted) {
  prepare({1}, {}, 100'000);
  ASSERT_EQ(call(web, XPH_ARM), 0);
  ASSERT_EQ(start(), 0);
  run(0, web, 0);
  ASSERT_TRUE(count_in_guest(0, 100'077, 1));
  EXPECT_FALSE(count_in_guest(0, 99'922, 1));
  EXPECT_TRUE(count_in_guest(0, 1, 1));
  ASSERT_TRUE(count_in_guest(0, 350'000, 1)) << "an NMI that came very late";
  EXPECT_EQ(totals(1).counter[0].throttled, 2u);
}

TEST_F(HypervisorPayload, EveryValueOfACallerIsChecked) {
  claim();
  const xph_domains good = list({0, 1}, {2});
  const auto refused = [&](const std::function<void(xph_domains&)>& change) {
    xph_domains domains = good;
    change(domains);
    return call(dom0, XPH_DOMAINS, &domains);
  };
  EXPECT_EQ(refused([](auto& d) { d.num_active = 0xffffffff; }), -22);
  EXPECT_EQ(refused([](auto& d) { d.num_passive = 0xffffffff; }), -22);
  EXPECT_EQ(refused([](auto& d) { d.num_active = 64, d.num_passive = 1; }), -22);
  EXPECT_EQ(refused([](auto& d) { d.num_active = 0x80000000, d.num_passive = 0x80000000; }), -22);
  EXPECT_EQ(refused([](auto& d) { d.num_active = d.num_passive = 0; }), -22);
  EXPECT_EQ(refused([](auto& d) { d.domain[1] = 0; }), -22);
  EXPECT_EQ(refused([](auto& d) { d.domain[1] = XPH_DOMAIN_SELF; }), -22);
  EXPECT_EQ(refused([](auto& d) { d.domain[1] = XPH_DOMAIN_IDLE; }), -22);
  EXPECT_EQ(refused([](auto& d) { d.domain[1] = 77; }), -3);
  EXPECT_EQ(refused([](auto& d) { d.buffer_samples = 0; }), -22);
  EXPECT_EQ(refused([](auto& d) { d.buffer_samples = 96; }), -22);
  EXPECT_EQ(refused([](auto& d) { d.buffer_samples = 0x80000000; }), -22);
  EXPECT_EQ(refused([](auto& d) { d.reserved = 1; }), -22);
  EXPECT_TRUE(world_.allocated.empty());
  ASSERT_EQ(refused([](auto&) {}), 0);

  const auto counter = [&](const std::function<void(xph_counters&)>& change) {
    xph_counters wanted = counters();
    change(wanted);
    return call(dom0, XPH_COUNTERS, &wanted);
  };
  EXPECT_EQ(counter([](auto& c) { c.num = 0; }), -22);
  EXPECT_EQ(counter([](auto& c) { c.num = 5; }), -22);
  EXPECT_EQ(counter([](auto& c) { c.num = 0xffffffff; }), -22);
  EXPECT_EQ(counter([](auto& c) { c.rate = 1; }), -22);
  EXPECT_EQ(counter([](auto& c) { c.rate = 0xffffffff; }), -22);
  EXPECT_EQ(counter([](auto& c) { c.counter[0].period = 0; }), -22);
  EXPECT_EQ(counter([](auto& c) { c.counter[0].period = XPH_MIN_PERIOD - 1; }), -22);
  EXPECT_EQ(counter([](auto& c) { c.counter[0].period = ~std::uint64_t{0}; }), -22);
  EXPECT_EQ(counter([](auto& c) { c.counter[0].event = 0x1000; }), -22);
  EXPECT_EQ(counter([](auto& c) { c.counter[0].unit_mask = 0x100; }), -22);
  EXPECT_EQ(counter([](auto& c) { c.counter[0].flags = 0; }), -22);
  EXPECT_EQ(counter([](auto& c) { c.counter[0].flags = 7; }), -22);
  EXPECT_EQ(counter([](auto& c) { c.counter[0].reserved = 1; }), -22);
  EXPECT_EQ(counter([](auto& c) { c.counter[0].period = XPH_MAX_PERIOD; }), 0);
  EXPECT_EQ(start(0), -22);
  EXPECT_EQ(start(0xffffffff), -22);
}

TEST_F(HypervisorPayload, TheLongestPeriodOverflowsNothing) {
  prepare({1}, {}, XPH_MAX_PERIOD, 1, XPH_MIN_RATE);
  ASSERT_EQ(call(web, XPH_ARM), 0);
  ASSERT_EQ(start(), 0);
  run(0, web, 0);
  for (int i = 0; i < 100; ++i) {
    ASSERT_TRUE(count_in_guest(0, XPH_MAX_PERIOD, 1));
  }
  EXPECT_EQ(totals(1).counter[0].taken[XPH_USER], 100u);
}

TEST_F(HypervisorPayload, RandomArgumentsDoNoHarm) {
  std::mt19937 random(2);
  std::vector<char> memory(1 << 16);
  for (int i = 0; i < 30'000; ++i) {
    alignas(8) std::array<unsigned char, 1024> argument{};
    for (auto& byte : argument) {
      byte = random() % 4 == 0 ? random() : 0;
    }
    if (random() % 2 == 0) {
      std::memcpy(argument.data(), &session_, 8);
    }
    const unsigned op = XPH_OP_FIRST + random() % (XPH_OP_END - XPH_OP_FIRST + 1);
    Domain& caller = random() % 2 == 0 ? dom0 : web;
    if (op == XPH_READ || op == XPH_READ_PARTS) {
      const auto to = reinterpret_cast<std::uintptr_t>(memory.data());
      std::memcpy(argument.data() + 8, &to, 8);
      argument[16] &= random() % 2 == 0 ? 0 : 0xff;
    }
    if (op == XPH_DOMAINS && random() % 2 == 0) {
      const xph_domains domains = list({0, 1}, {2});
      std::memcpy(argument.data(), &domains, sizeof domains);
    }
    if (op == XPH_COUNTERS && random() % 2 == 0) {
      const xph_counters wanted = counters(XPH_MIN_PERIOD, 2);
      std::memcpy(argument.data(), &wanted, sizeof wanted);
    }
    if (op == XPH_START && random() % 2 == 0) {
      const xph_start start{.session = session_, .lease = 1000};
      std::memcpy(argument.data(), &start, sizeof start);
    }
    if (call(caller, op, argument.data()) == 0 && op == XPH_CLAIM) {
      std::memcpy(&session_, argument.data(), 8);
    }
    count_in_xen(random() % 2, random() % 20'000);
    if (random() % 8 == 0) {
      pass(10);
      run(random() % 2, random() % 2 == 0 ? dom0 : web, random() % 2);
    }
  }
}

TEST_F(HypervisorPayload, NullArgumentsAreFaults) {
  for (unsigned op = XPH_OP_FIRST; op < XPH_OP_END; ++op) {
    if (op != XPH_ARM && op != XPH_DISARM && op != XPH_VERSION && op != XPH_CLAIM) {
      EXPECT_EQ(call(dom0, op, nullptr), -14) << op;
    }
  }
}

TEST_F(HypervisorPayload, MemoryIsBoundedAndGivenBackWhenThereIsNotEnough) {
  Domain large(9, XPH_MAX_VCPUS);
  Domain too_large(10, XPH_MAX_VCPUS + 1);
  claim();
  xph_domains domains = list({9}, {}, XPH_MAX_BUFFER);
  EXPECT_EQ(call(dom0, XPH_DOMAINS, &domains), -7);
  domains = list({10});
  EXPECT_EQ(call(dom0, XPH_DOMAINS, &domains), -7);
  EXPECT_LT(world_.allocated_bytes, XPH_MAX_MEMORY);
  for (int i = 0; i < 6; ++i) {
    world_.allocations_until_failure = i;
    domains = list({0, 1});
    EXPECT_EQ(call(dom0, XPH_DOMAINS, &domains), -12);
    EXPECT_TRUE(world_.allocated.empty());
  }
  world_.allocations_until_failure = -1;
  prepare({0});
  ASSERT_EQ(call(dom0, XPH_ARM), 0);
  for (int i = 0; i < 6; ++i) {
    world_.allocations_until_failure = i;
    EXPECT_EQ(start(), -12);
    EXPECT_EQ(world_.callback, nullptr);
  }
  world_.allocations_until_failure = -1;
  EXPECT_EQ(start(), 0);
}

TEST_F(HypervisorPayload, ADestroyedDomainIsNotedAndItsSuccessorGetsNothing) {
  prepare({0, 1});
  ASSERT_EQ(call(dom0, XPH_ARM), 0);
  ASSERT_EQ(call(web, XPH_ARM), 0);
  ASSERT_EQ(start(), 0);
  run(0, web, 0);
  ASSERT_TRUE(count_in_guest(0, 100'000, 0x1234));
  EXPECT_EQ(web.xen.references, 1) << "nobody holds it";
  run(0, dom0, 0);
  // Destroyed, and another one made: the same number, at the same address.
  for (auto& vcpu : web.vcpus) {
    vcpu->entry += 1'000'000'000;
  }
  xph_read read{.to = 8, .most = 1, .domain = XPH_DOMAIN_SELF, .vcpu = 0};
  EXPECT_EQ(call(web, XPH_READ, &read), -1);
  EXPECT_EQ(call(web, XPH_DISARM), -1);
  pass(20);
  EXPECT_EQ(totals(1).gone, 1u);
  EXPECT_EQ(totals(1).counter[0].waiting, 1u);
  world_.domains.erase(2);
  ASSERT_EQ(stop(), 0);
  EXPECT_EQ(start(), -3);
  xph_domains domains = list({0, 2});
  EXPECT_EQ(call(dom0, XPH_DOMAINS, &domains), -3);
  world_.domains[2] = &db.xen;
  db.xen.dying = 1;
  EXPECT_EQ(call(dom0, XPH_DOMAINS, &domains), -3);
}

TEST_F(HypervisorPayload, DomainsAreTheSameWhileTheirVcpusChangeState) {
  prepare({1});
  ASSERT_EQ(call(web, XPH_ARM), 0);
  web.vcpus[0]->entry += 500;
  web.vcpus[0]->time[2] += 500;
  EXPECT_TRUE(read(web).empty());
  ASSERT_EQ(start(), 0);
  pass(50);
  EXPECT_EQ(totals(1).gone, 0u);
}

TEST_F(HypervisorPayload, DomainsAreToldOfWhatWaitsForThem) {
  prepare({0, 1}, {2});
  ASSERT_EQ(call(dom0, XPH_ARM), 0);
  ASSERT_EQ(call(web, XPH_ARM), 0);
  xph_notify notify{.on = 2};
  EXPECT_EQ(call(web, XPH_NOTIFY, &notify), -22);
  notify.on = 1;
  EXPECT_EQ(call(db, XPH_NOTIFY, &notify), -1);
  EXPECT_EQ(call(web, XPH_NOTIFY, &notify), 0);
  EXPECT_EQ(call(dom0, XPH_NOTIFY, &notify), 0);
  ASSERT_EQ(start(), 0);
  pass(30);
  EXPECT_TRUE(world_.interrupted.empty());
  run(0, web, 1);
  for (int i = 0; i < 5; ++i) {
    ASSERT_TRUE(count_in_guest(0, 100'000, 0x1234));
  }
  pass(30);
  ASSERT_EQ(world_.interrupted.size(), 1u);
  EXPECT_EQ(world_.interrupted[0], web.pointers[1]);
  run(0, db, 0);
  ASSERT_TRUE(count_in_guest(0, 100'000, 0x1234));
  pass(30);
  ASSERT_EQ(world_.interrupted.size(), 2u);
  EXPECT_EQ(world_.interrupted[1], dom0.pointers[0]) << "for the passive one";
}

TEST_F(HypervisorPayload, ASessionEndsWhenItsInitiatorIsSilent) {
  prepare({0});
  ASSERT_EQ(call(dom0, XPH_ARM), 0);
  ASSERT_EQ(start(2000), 0);
  pass(1500);
  EXPECT_EQ(totals(0).running, 1u);
  pass(1500);
  EXPECT_EQ(totals(0).running, 1u) << "it has called";
  pass(2500);
  EXPECT_EQ(totals(0).running, 0u);
  EXPECT_EQ(world_.callback, nullptr);
  xph_claim other{};
  EXPECT_EQ(call(dom0, XPH_CLAIM, &other), 0);
}

TEST_F(HypervisorPayload, CpusThatComeAndGoAndSleepAreSampled) {
  prepare({1});
  ASSERT_EQ(call(web, XPH_ARM), 0);
  ASSERT_EQ(start(), 0);
  run(2, web, 0);
  EXPECT_FALSE(count_in_guest(2, 100'000, 1));
  cpu_online_map[0] = 7;
  pass(1010);
  EXPECT_TRUE(count_in_guest(2, 100'000, 1));
  world_.cpu[2].msr.clear();
  world_.cpu[2].lvtpc = 0x10000;
  pass(1010);
  EXPECT_TRUE(count_in_guest(2, 100'000, 1));
  // It goes, with its counters on, and stays away at the stop. The next session takes it again.
  cpu_online_map[0] = 3;
  ASSERT_EQ(stop(), 0);
  cpu_online_map[0] = 7;
  EXPECT_EQ(start(), 0);
  EXPECT_TRUE(count_in_guest(2, 100'000, 1));
  ASSERT_EQ(stop(), 0);
  EXPECT_EQ(world_.cpu[2].msr[kSelect], 0u);
}

TEST_F(HypervisorPayload, ACounterWhoseNmiSomebodyTookGoesOn) {
  prepare({1});
  ASSERT_EQ(call(web, XPH_ARM), 0);
  ASSERT_EQ(start(), 0);
  run(0, web, 0);
  world_.cpu[0].nmi_lost = true;
  count_in_guest(0, 250'000, 1);
  world_.cpu[0].nmi_lost = false;
  EXPECT_FALSE(count_in_guest(0, 100'000, 1));
  pass(1010);
  EXPECT_EQ(totals(XPH_DOMAIN_OTHERS).counter[0].missed, 3u);
  EXPECT_TRUE(count_in_guest(0, 50'000, 1));
}

TEST_F(HypervisorPayload, OthersNmisArePassedOn) {
  prepare({1}, {}, 100'000, 2);
  ASSERT_EQ(call(web, XPH_ARM), 0);
  static int passed = 0;
  passed = 0;
  world_.callback = [](const cpu_user_regs*, int) { return ++passed, 1; };
  ASSERT_EQ(start(), 0);
  const cpu_user_regs regs{.flags = 0, .pc = kXen};
  EXPECT_TRUE(nmi(0, &regs));
  EXPECT_EQ(passed, 1);
  // Two counters at once: one NMI takes both, the other finds nothing and is still ours.
  run(0, web, 0);
  world_.cpu[0].msr[kCounter + 1] = 5;
  EXPECT_TRUE(count_in_xen(0, 100'000));
  EXPECT_TRUE(nmi(0, &regs));
  EXPECT_EQ(passed, 1);
  EXPECT_TRUE(nmi(0, &regs));
  EXPECT_EQ(passed, 2);
  EXPECT_EQ(totals(XPH_DOMAIN_OTHERS).foreign, 2u);
  ASSERT_EQ(stop(), 0);
  world_.callback = nullptr;
}

TEST_F(HypervisorPayload, EachRefusalHasItsOwnNumber) {
  EXPECT_EQ(xenoprof_preapply(nullptr), 0);
  std::set<int> reasons;
  opt_vpmu_enabled = 1;
  reasons.insert(xenoprof_preapply(nullptr));
  opt_vpmu_enabled = 0;
  nmi_watchdog = 1;
  reasons.insert(xenoprof_preapply(nullptr));
  nmi_watchdog = 0;
  ss_initialized = 1;
  reasons.insert(xenoprof_preapply(nullptr));
  ss_initialized = 0;
  world_.family = 0x17;
  reasons.insert(xenoprof_preapply(nullptr));
  world_.family = 0x6;
  world_.vendor = "GenuineIntel";
  EXPECT_EQ(xenoprof_preapply(nullptr), -XPH_REFUSED_CPU);
  world_.family = 0x10;
  world_.vendor = "AuthenticAMD";
  layout.version = 99;
  reasons.insert(xenoprof_preapply(nullptr));
  layout.version = XPH_LAYOUT_VERSION;
  EXPECT_EQ(reasons, (std::set{-XPH_REFUSED_VPMU, -XPH_REFUSED_WATCHDOG, -XPH_REFUSED_FLASK,
                               -XPH_REFUSED_CPU, -XPH_REFUSED_LAYOUT}));
}

TEST_F(HypervisorPayload, CountersThatSomebodyUsesOrThatAreNotThereAreLeftAlone) {
  prepare({0});
  ASSERT_EQ(call(dom0, XPH_ARM), 0);
  world_.cpu[1].msr[kSelect + 3] = 0x5300c0;
  EXPECT_EQ(start(), -16);
  EXPECT_EQ(world_.cpu[1].msr[kSelect + 3], 0x5300c0u);
  EXPECT_EQ(world_.callback, nullptr);
  world_.cpu[1].msr.clear();
  world_.missing_msrs = {kCounter + 2};
  EXPECT_EQ(start(), -5);
  world_.missing_msrs = {kCounter};
  EXPECT_EQ(start(), -5);
  world_.missing_msrs.clear();
  nmi_watchdog = 1;
  EXPECT_EQ(start(), -16);
  nmi_watchdog = 0;
  EXPECT_EQ(start(), 0);
}

TEST_F(HypervisorPayload, IsNotRevertedWhileItSamples) {
  prepare({0});
  ASSERT_EQ(call(dom0, XPH_ARM), 0);
  ASSERT_EQ(start(), 0);
  EXPECT_EQ(xenoprof_revert(nullptr), -16);
  EXPECT_EQ(world_.reverted, 0);
  EXPECT_EQ(xenoprof_prerevert(nullptr), 0);
  claim();  // somebody who was quicker than the rendezvous
  EXPECT_EQ(xenoprof_revert(nullptr), -16);
}

// The ring by itself, with a producer and a consumer that really run at the same time.
TEST_F(HypervisorPayload, ARingLosesNothingBetweenTwoThreads) {
  constexpr std::uint64_t kSamples = 200'000;
  std::vector<xph_sample> samples(64);
  struct ring ring{};
  ring.size = 64;
  ring.sample = samples.data();
  std::atomic<bool> done = false;
  std::thread producer([&] {
    for (std::uint64_t i = 1; i <= kSamples; ++i) {
      const xph_sample sample{.tsc = i, .pc = i};
      ring_put(&ring, &sample);
    }
    done = true;
  });
  std::uint64_t delivered = 0;
  std::uint64_t last = 0;
  for (;;) {
    const bool ended = done;
    for (std::uint32_t waiting = ring_waiting(&ring.samples); waiting != 0; --waiting) {
      const xph_sample sample = ring.sample[ring.samples.tail & 63];
      EXPECT_EQ(sample.tsc, sample.pc);
      EXPECT_GT(sample.tsc, last);
      last = sample.tsc;
      ++delivered;
      __atomic_store_n(&ring.samples.tail, ring.samples.tail + 1, __ATOMIC_RELEASE);
    }
    if (ended) {
      break;
    }
  }
  producer.join();
  EXPECT_EQ(ring.produced[0].taken[XPH_USER], kSamples);
  EXPECT_EQ(kSamples, delivered + ring.produced[0].lost);
}

}  // namespace
