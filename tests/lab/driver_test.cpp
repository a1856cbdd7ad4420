// SPDX-License-Identifier: GPL-2.0-or-later
// What the driver promises, without the rest of xenoprof: dom0 and two guests, 2 vCPUs each.
#include <elf.h>
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <future>
#include <map>
#include <set>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include "../../driver/xenoprof.h"
#include "lab_machine.h"

namespace xenoprof {
namespace {

using namespace std::chrono_literals;
using testing::ContainsRegex;
using testing::HasSubstr;
using testing::Not;

constexpr unsigned kUser = XENOPROF_MODE_USER;
constexpr unsigned kHypervisor = XENOPROF_MODE_HYPERVISOR;

// One "word key=value key=value" line of a test program.
using Line = std::map<std::string, std::string>;

std::vector<Line> lines_of(const std::string& text, const std::string& word) {
  std::vector<Line> found;
  std::istringstream stream(text);
  for (std::string line; std::getline(stream, line);) {
    std::istringstream parts(line);
    std::string part;
    if (!(parts >> part) || part != word)
      continue;
    Line& entry = found.emplace_back();
    while (parts >> part)
      if (const auto equals = part.find('='); equals != std::string::npos)
        entry[part.substr(0, equals)] = part.substr(equals + 1);
  }
  return found;
}

std::uint64_t number(const Line& line, const std::string& key, int base = 10) {
  const auto at = line.find(key);
  return at == line.end() ? 0 : std::stoull(at->second, nullptr, base);
}

struct Totals {
  std::uint64_t stored = 0, user = 0, emitted = 0, lost = 0;
};

// Checks that no vCPU's samples got lost between the hypervisor and the tracepoint, nor between the
// tracepoint and perf; the sum over the domain's vCPUs.
Totals conserved(const std::string& output, unsigned domain, unsigned vcpus) {
  SCOPED_TRACE(
      output.substr(output.find("received") == std::string::npos ? 0 : output.find("received")));
  std::map<std::uint64_t, std::uint64_t> received;  // by vCPU
  for (const Line& line : lines_of(output, "samples"))
    if (number(line, "domain") == domain)
      received[number(line, "vcpu")] += number(line, "count");

  Totals sum;
  std::set<std::uint64_t> seen;
  for (const Line& line : lines_of(output, "totals")) {
    if (number(line, "domain") != domain)
      continue;
    seen.insert(number(line, "vcpu"));
    const auto stored = number(line, "hypervisor") + number(line, "kernel") + number(line, "user");
    EXPECT_EQ(stored, number(line, "emitted") + number(line, "rejected"));
    EXPECT_EQ(number(line, "emitted"), received[number(line, "vcpu")]);
    EXPECT_EQ(number(line, "rejected"), 0U);
    EXPECT_EQ(number(line, "broken"), 0U);
    sum.stored += stored;
    sum.user += number(line, "user");
    sum.emitted += number(line, "emitted");
    sum.lost += number(line, "lost");
  }
  EXPECT_EQ(seen.size(), vcpus) << "vCPUs of domain " << domain;
  for (const Line& line : lines_of(output, "received"))
    EXPECT_EQ(number(line, "lost"), 0U) << "lost by perf";
  return sum;
}

std::filesystem::path program(const std::string& name) {
  return std::filesystem::path(XENOPROF_BUILD) / "bin" / name;
}

// The addresses of a static program's code.
std::pair<std::uint64_t, std::uint64_t> text_of(const std::filesystem::path& file) {
  std::ifstream stream(file, std::ios::binary);
  Elf64_Ehdr header{};
  stream.read(reinterpret_cast<char*>(&header), sizeof header);
  for (int i = 0; i < header.e_phnum; ++i) {
    Elf64_Phdr part{};
    stream.seekg(static_cast<std::streamoff>(header.e_phoff + i * sizeof part));
    stream.read(reinterpret_cast<char*>(&part), sizeof part);
    if (part.p_type == PT_LOAD && (part.p_flags & PF_X))
      return {part.p_vaddr, part.p_vaddr + part.p_memsz};
  }
  ADD_FAILURE() << file << " has no code";
  return {};
}

class XenDriver : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    lab_ = &LabMachine::shared("xen", {"--guests", "2", "--vcpus", "2", "--dom0-vcpus", "2"});
    for (const char* domain : {"dom0", "guest1", "guest2"}) {
      // What an aborted test has left in a lab that is used again, and agents.
      in(domain,
         "killall -9 prog_driver_session prog_driver_fuzz prog_xen_callers prog_spin xenoprof");
      for (const char* name :
           {"prog_driver_session", "prog_driver_fuzz", "prog_xen_callers", "prog_spin"})
        ASSERT_EQ(lab_->copy_in(program(name), domain, fmt::format("/usr/bin/{}", name)), 0);
      in(domain, "dmesg -c");
    }
  }

  static CommandResult in(const std::string& domain, const std::string& script,
                          std::chrono::milliseconds limit = 3min) {
    return lab_->exec(domain, {"sh", "-c", script}, limit);
  }

  static std::future<CommandResult> begin(const std::string& domain, const std::string& script) {
    return std::async(std::launch::async, [=] { return in(domain, script); });
  }

  // Waits for a word in a file of a domain.
  static bool appears(const std::string& domain, const std::string& word, const std::string& file) {
    return comes_true(domain, fmt::format("grep -q {} {}", word, file));
  }
  // Waits for a command of the shell's to succeed, 90 s and more.
  static bool comes_true(const std::string& domain, const std::string& condition) {
    return in(domain, fmt::format("for i in $(seq 900); do {} && exit 0; sleep 0.1; done; exit 1",
                                  condition))
               .status == 0;
  }

  // One session on the drivers: whoever takes part, from its start to its end. Work that is to be
  // sampled falls in between, so that what is sampled does not depend on how fast the machine is.
  class Session {
   public:
    // `participants`: domain and more of the program's options, for guests that take part.
    explicit Session(const std::string& initiate,
                     const std::map<std::string, std::string>& participants = {}) {
      // An old mark would end it at once.
      for (const char* domain : {"dom0", "guest1", "guest2"})
        in(domain, "rm -f /tmp/end /tmp/log");
      start("dom0", "prog_driver_session initiate --until /tmp/end " + initiate);
      for (const auto& [domain, options] : participants)
        start(domain, "prog_driver_session participate --until /tmp/end " + options);
      started_ = appears("dom0", "started", "/tmp/log");
      EXPECT_TRUE(started_);
    }
    ~Session() { end(); }

    bool started() const { return started_; }
    // The initiator first: what a participant has left, it reads when all is over.
    void end() {
      for (auto& [domain, run] : runs_) {
        in(domain, "touch /tmp/end");
        if (run.valid())
          results_[domain] = run.get();
      }
    }
    const CommandResult& result(const std::string& domain) {
      end();
      return results_[domain];
    }
    // What the program printed in a domain in which nothing went wrong.
    std::string output(const std::string& domain) {
      const CommandResult& finished = result(domain);
      EXPECT_EQ(finished.status, 0) << finished.out << finished.err;
      return finished.out;
    }

   private:
    void start(const std::string& domain, const std::string& program) {
      runs_[domain] =
          begin(domain, fmt::format("{} > /tmp/log; s=$?; cat /tmp/log; exit $s", program));
    }

    std::map<std::string, std::future<CommandResult>> runs_;  // dom0 is the first in order
    std::map<std::string, CommandResult> results_;
    bool started_ = false;
  };

  // A short session of dom0 and guest1 in which all is as it should be.
  static void expect_a_whole_session() {
    Session session("--active 0,1 --counter c0:200000", {{"guest1", ""}});
    for (const char* domain : {"dom0", "guest1"})
      in(domain, "prog_spin 20");
    conserved(session.output("dom0"), XENOPROF_DOMAIN_SELF, 2);
    EXPECT_GE(conserved(session.output("guest1"), XENOPROF_DOMAIN_SELF, 2).user, 90U);
  }

  // Not "stall": a host that gives its machines too little time makes those as well.
  static void expect_a_clean_log(const std::string& domain) {
    EXPECT_THAT(in(domain, "dmesg").out,
                Not(ContainsRegex("WARNING|BUG|Oops|general protection|scheduling while|UBSAN|"
                                  "hung task|refuses|does not take back|corrupt")))
        << domain;
  }

  void TearDown() override {
    for (const char* domain : {"dom0", "guest1"})
      expect_a_clean_log(domain);
  }

  static LabMachine* lab_;
};

LabMachine* XenDriver::lab_ = nullptr;

TEST_F(XenDriver, HasOneHolderAtATime) {
  EXPECT_EQ(in("guest1", "exec 3<>/dev/xenoprof").status, 0);
  const auto second = in("guest1", "exec 3<>/dev/xenoprof; exec 4<>/dev/xenoprof");
  EXPECT_NE(second.status, 0);
  EXPECT_THAT(second.err, HasSubstr("busy"));
  // The holder that was killed by the refusal, or closed it, holds it no longer.
  EXPECT_EQ(in("guest1", "exec 3<>/dev/xenoprof; exec 3>&-; exec 4<>/dev/xenoprof").status, 0);
}

TEST_F(XenDriver, LosesNothingOnAnyVcpu) {
  Session session("--active 0,1 --passive 2 --counter c0:100000 --counter 76:300000",
                  {{"guest1", ""}});
  in("guest1", "prog_spin 50 & prog_spin 50 & wait");
  in("guest2", "prog_spin 50");
  const std::string initiator = session.output("dom0");
  const std::string participant = session.output("guest1");

  EXPECT_GT(conserved(initiator, XENOPROF_DOMAIN_SELF, 2).stored, 50U);
  EXPECT_GE(conserved(initiator, 2, 2).user, 500U);
  EXPECT_GE(conserved(participant, XENOPROF_DOMAIN_SELF, 2).user, 1000U);
  std::set<std::uint64_t> events;
  for (const Line& line : lines_of(participant, "samples"))
    events.insert(number(line, "event"));
  EXPECT_EQ(events, (std::set<std::uint64_t>{0, 1}));
}

TEST_F(XenDriver, GivesAGuestItsOwnSamplesOnly) {
  // Before the session, as the process that becomes spin runs the shell's code at first.
  in("guest1", "rm -f /tmp/go");
  auto spinning = begin("guest1", "prog_spin 100 /tmp/go");
  ASSERT_TRUE(comes_true("guest1", "pidof prog_spin"));
  Session session("--active 0,1,2 --counter c0:100000", {{"guest1", "--pcs"}, {"guest2", ""}});
  in("guest1", "touch /tmp/go");
  auto dom0 = begin("dom0", "prog_spin 50");
  auto guest2 = begin("guest2", "prog_xen_callers 500");
  spinning.get();
  dom0.get();
  guest2.get();
  conserved(session.output("dom0"), XENOPROF_DOMAIN_SELF, 2);
  conserved(session.output("guest2"), XENOPROF_DOMAIN_SELF, 2);
  const std::string out = session.output("guest1");
  EXPECT_GE(conserved(out, XENOPROF_DOMAIN_SELF, 2).user, 1000U);
  for (const Line& line : lines_of(out, "samples"))
    EXPECT_EQ(number(line, "domain"), XENOPROF_DOMAIN_SELF);

  // All that runs for long in this guest is spin, so its user samples lie in spin, and nobody
  // else's PCs are among that process's.
  const auto [begin_of_text, end_of_text] = text_of(program("prog_spin"));
  std::map<std::uint64_t, std::uint64_t> by_process;
  for (const Line& line : lines_of(out, "pc"))
    if (number(line, "mode") == kUser)
      by_process[number(line, "pid")] += number(line, "count");
  ASSERT_FALSE(by_process.empty());
  const auto spin = std::ranges::max_element(by_process, {}, [](auto& p) { return p.second; });
  for (const Line& line : lines_of(out, "pc"))
    if (number(line, "mode") == kUser && number(line, "pid") == spin->first) {
      EXPECT_GE(number(line, "ip", 16), begin_of_text);
      EXPECT_LT(number(line, "ip", 16), end_of_text);
    }
}

// More than the buffer holds, while dom0 has next to no samples of its own to be woken by.
TEST_F(XenDriver, DrainsAPassiveDomainWhileDom0Idles) {
  Session session("--active 0 --passive 2 --counter c0:20000");
  in("guest2", "prog_spin 200");
  const Totals totals = conserved(session.output("dom0"), 2, 2);
  EXPECT_GT(totals.emitted, 2U * 4094);
  EXPECT_EQ(totals.lost, 0U);
}

TEST_F(XenDriver, StartsCleanAfterItsHolderWasKilled) {
  for (const std::string victim : {"dom0", "guest1"}) {
    SCOPED_TRACE(victim);
    Session session("--active 0,1 --passive 2 --counter c0:200000", {{"guest1", ""}});
    ASSERT_TRUE(session.started());
    EXPECT_EQ(in(victim, "killall -9 prog_driver_session").status, 0);
    // The other one ends as if nothing had happened.
    EXPECT_EQ(session.result("dom0").status == 0, victim != "dom0");
    EXPECT_EQ(session.result("guest1").status == 0, victim != "guest1");
    expect_a_whole_session();
  }
}

TEST_F(XenDriver, SurvivesAnyCallInAnyOrder) {
  for (const char* domain : {"guest1", "dom0"}) {
    const auto fuzz = in(domain, fmt::format("prog_driver_fuzz --seconds 8 {}",
                                             domain == std::string("dom0") ? "--dom0" : ""));
    EXPECT_EQ(fuzz.status, 0) << fuzz.out << fuzz.err;
    EXPECT_THAT(fuzz.out, HasSubstr("succeeded="));
    expect_a_clean_log(domain);
  }
  expect_a_whole_session();
}

TEST_F(XenDriver, LeavesNothingBehindWhenUnloaded) {
  for (const char* domain : {"guest1", "dom0"})
    EXPECT_EQ(in(domain, "rmmod xenoprof && insmod /lib/modules/xenoprof.ko").status, 0) << domain;
  expect_a_whole_session();
}

// The functions of Xen's that only one of the two tasks makes it run.
TEST_F(XenDriver, ChargesHypervisorSamplesToTheTaskTheyHit) {
  std::map<std::uint64_t, std::string> symbols;
  std::istringstream list(in("dom0", "cat /proc/xen/xensyms").out);
  for (std::string address, type, name; list >> address >> type >> name;)
    symbols[std::stoull(address, nullptr, 16)] = name;
  ASSERT_FALSE(symbols.empty());
  const std::map<std::string, std::string> owners = {
      {"guest_cpuid", "cpuid"},
      {"pv_emulate_invalid_op", "cpuid"},
      {"do_invalid_op", "cpuid"},
      {"do_mmu_update", "memory"},
      {"get_page_from_l1e", "memory"},
      {"put_page_from_l1e", "memory"},
      {"pv_ro_page_fault", "memory"},
      {"arch/x86/mm.c#mod_l1_entry.isra.0", "memory"},
      {"arch/x86/pv/ro-page-fault.c#ptwr_emulated_update", "memory"},
  };

  in("guest1", "rm -f /tmp/go");
  auto calling = begin("guest1", "prog_xen_callers 5000 /tmp/go > /tmp/calls; cat /tmp/calls");
  Session session("--active 0,1 --counter c0:10000", {{"guest1", "--pcs"}});
  in("guest1", "touch /tmp/go");
  EXPECT_TRUE(appears("guest1", "switches", "/tmp/calls"));
  session.end();
  in("guest1", "rm /tmp/go");
  const auto callers = calling.get();
  ASSERT_EQ(callers.status, 0) << callers.err;
  conserved(session.output("dom0"), XENOPROF_DOMAIN_SELF, 2);
  const std::string out = session.output("guest1");
  conserved(out, XENOPROF_DOMAIN_SELF, 2);

  std::map<std::string, std::uint64_t> pid;
  for (const char* task : {"cpuid", "memory"}) {
    const auto at = callers.out.find(std::string(task) + "=") + std::strlen(task) + 1;
    std::istringstream(callers.out.substr(at)) >> pid[task];
  }
  std::uint64_t right = 0;
  std::uint64_t wrong = 0;
  std::map<std::string, std::uint64_t> seen;
  for (const Line& line : lines_of(out, "pc")) {
    if (number(line, "mode") != kHypervisor)
      continue;
    auto symbol = symbols.upper_bound(number(line, "ip", 16));
    if (symbol == symbols.begin())
      continue;
    const auto owner = owners.find((--symbol)->second);
    if (owner == owners.end())
      continue;
    const std::uint64_t charged = number(line, "pid");
    if (charged == pid[owner->second])
      right += number(line, "count");
    else if (charged == pid[owner->second == "cpuid" ? "memory" : "cpuid"])
      wrong += number(line, "count");
    seen[owner->second] += number(line, "count");
  }
  fmt::print("{} samples charged right, {} wrong; {}", right, wrong,
             callers.out.substr(callers.out.find("switches=")));
  EXPECT_GT(seen["cpuid"], 30U);
  EXPECT_GT(seen["memory"], 30U);
  EXPECT_LT(static_cast<double>(wrong), 0.02 * static_cast<double>(right + wrong));
}

// Stock perf in the guest; where the sample says that its call chain belongs to it, the sampled PC
// is in the chain.
//
// perf looks at a buffer's head twice for each reading, and writes what comes between the two into
// its file twice (tools/perf/util/mmap.c of 6.1, perf_mmap__push). A buffer that no session of this
// test fills by half is read at the end only, when there are no samples any more.
TEST_F(XenDriver, FeedsStockPerf) {
  in("guest1", "rm -f /tmp/stop /tmp/listens");
  auto perf = begin("guest1",
                    "perf record -m 4M -o /tmp/perf.data -e xenoprof:sample -g -a -- sh -c 'touch "
                    "/tmp/listens; for i in $(seq 3000); do [ -e /tmp/stop ] && break; "
                    "sleep 0.1; done' 2>&1");
  ASSERT_TRUE(comes_true("guest1", "[ -e /tmp/listens ]"));
  Session session("--active 0,1 --counter c0:200000", {{"guest1", ""}});
  in("guest1",
     "dd if=/dev/zero of=/dev/null bs=4k count=40000 2>/dev/null & prog_spin 100; "
     "wait");
  const Totals totals = conserved(session.output("guest1"), XENOPROF_DOMAIN_SELF, 2);
  in("guest1", "touch /tmp/stop");
  const auto recorded = perf.get();
  ASSERT_EQ(recorded.status, 0) << recorded.out;
  const auto scripted = in("guest1",
                           "perf script -i /tmp/perf.data -F comm,pid,time,trace,ip < /dev/null > "
                           "/tmp/script");
  ASSERT_EQ(scripted.status, 0) << scripted.err;
  std::istringstream script(in("guest1", "cat /tmp/script").out);

  std::uint64_t samples = 0;
  std::uint64_t exact = 0;
  std::uint64_t in_chain = 0;
  std::uint64_t wanted = 0;  // the PC still to be found
  std::multiset<std::string> headings;
  for (std::string line; std::getline(script, line);) {
    if (const auto ip = line.find("ip="); ip != std::string::npos) {
      ++samples;
      headings.insert(line);
      wanted = 0;
      if (line.find("exact=1") != std::string::npos) {
        ++exact;
        wanted = std::stoull(line.substr(ip + 3), nullptr, 16);
      }
    } else if (wanted != 0 && line.find_first_not_of(" \t") != std::string::npos) {
      const std::uint64_t frame = std::stoull(line, nullptr, 16);
      // perf prints user code as an offset in its file.
      const std::uint64_t compared = wanted >> 63 ? ~0UL : 0xfff;
      if ((frame & compared) != (wanted & compared))
        continue;
      ++in_chain;
      wanted = 0;
    }
  }
  std::string twice;
  for (const std::string& heading : headings)
    twice += headings.count(heading) > 1 ? heading + "\n" : "";
  EXPECT_EQ(samples, totals.emitted) << recorded.out << "told more than once:\n" << twice;
  EXPECT_GT(exact, 200U);
  EXPECT_EQ(in_chain, exact);
}

// Last: it takes guest2 away.
TEST_F(XenDriver, LetsGoOfAPassiveGuestThatIsDestroyed) {
  Session session("--active 0 --passive 2 --counter c0:200000");
  ASSERT_TRUE(session.started());
  EXPECT_EQ(in("dom0", "xl destroy guest2").status, 0);
  EXPECT_EQ(session.result("dom0").status, 0);
  const auto domains = in("dom0", "xl list | tail -n +2 | wc -l");
  EXPECT_EQ(domains.out, "2\n") << in("dom0", "xl list").out;
  expect_a_whole_session();
}

// Machines on which the driver must not load. They are booted for that alone.
void expect_refusal(const LabMachine& lab, const std::string& domain, const std::string& reason) {
  EXPECT_NE(lab.exec(domain, {"insmod", "/lib/modules/xenoprof.ko"}).status, 0);
  EXPECT_THAT(lab.exec(domain, {"dmesg"}).out, HasSubstr("xenoprof: not loaded: " + reason));
}

CommandResult record_on(const LabMachine& lab, const std::string& domain) {
  return lab.exec(domain, {"xenoprof", "record", "-e", "instructions:1000000", "--for", "1s", "-o",
                           "/tmp/session"});
}

TEST(XenDriverRefuses, ACpuThatTheHypervisorDoesNotKnow) {
  if (std::getenv("XENOPROF_TEST_LAB") != nullptr)
    GTEST_SKIP() << "needs a lab of its own";
  const LabMachine& lab = LabMachine::shared("xen", {"--guests", "0", "--cpu", "EPYC"});
  const std::string reason = "this hypervisor's Xenoprof does not know this CPU's counters";
  expect_refusal(lab, "dom0", reason);
  const auto record = record_on(lab, "dom0");
  EXPECT_EQ(record.status, 1);
  EXPECT_THAT(record.err, HasSubstr("did not load: " + reason));
  EXPECT_EQ(std::ranges::count(record.err, '\n'), 1) << record.err;
  EXPECT_EQ(lab.exec("dom0", {"test", "-e", "/tmp/session"}).status, 1);
  const auto list = lab.exec("dom0", {"xenoprof", "list"});
  EXPECT_EQ(list.status, 1);
  EXPECT_THAT(list.err, HasSubstr("did not load: " + reason));
  EXPECT_THAT(list.out, Not(HasSubstr("initiator")));
}

// The driver has nothing to do there, and is not needed.
TEST(XenDriverRefuses, AMachineWithoutXen) {
  if (std::getenv("XENOPROF_TEST_LAB") != nullptr)
    GTEST_SKIP() << "needs a lab of its own";
  const LabMachine& lab = LabMachine::shared("linux");
  expect_refusal(lab, "linux", "this kernel does not run on Xen");
  const auto record = record_on(lab, "linux");
  EXPECT_EQ(record.status, 0) << record.err;
  EXPECT_THAT(record.err, HasSubstr("from 1 domain, none lost"));
  const auto list = lab.exec("linux", {"xenoprof", "list"});
  EXPECT_EQ(list.status, 0) << list.err;
  EXPECT_THAT(list.out, HasSubstr("does not run on Xen"));
}

}  // namespace
}  // namespace xenoprof
