// SPDX-License-Identifier: GPL-2.0-or-later
// Sessions on an emulated KVM host with two guests, 2 vCPUs each.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <future>
#include <map>
#include <set>
#include <sstream>
#include <string>
#include <thread>

#include "spin_lab.h"

namespace xenoprof {
namespace {

using namespace std::chrono_literals;

constexpr char kMonitors[] = "/run/xenoprof-guests";

class KvmSession : public SpinLab {
 protected:
  static void SetUpTestSuite() {
    use(LabMachine::shared("kvm", {"--guests", "2", "--vcpus", "2"}), "host");
    copy_spin({"guest1", "guest2"});
    for (const char* guest : {"guest1", "guest2"}) {
      ASSERT_EQ(lab().copy_in(program("prog_vsock_agent"), guest, "/usr/bin/vsock_agent"), 0);
    }
  }

  static void restart_agent(const std::string& guest) {
    in(guest,
       "killall -9 xenoprof vsock_agent; sleep 0.3; "
       "xenoprof agent >/var/log/xenoprof-agent.log 2>&1 </dev/null &");
  }
};

TEST_F(KvmSession, TwoProcessesAtThreeToOneInEachGuestAreReportedSo) {
  const auto result = record("-a -e instructions:200000 --domains guest1,guest2",
                             [] { in_both("spin_a 300 & spin_b 100 & wait"); });
  ASSERT_EQ(result.status, 0) << result.err;
  for (const char* guest : {"guest1", "guest2"}) {
    // 400 million instructions, a sample each 200,000; their handling adds to it.
    expect_three_to_one(guest, "instructions", 1950);
  }
  std::uint64_t served = 0;
  for (const Json& row : rows("--sort domain,mode")) {
    served += row["domain"] == "guest1" && row["mode"] == "hypervisor" ? samples(row) : 0;
  }
  EXPECT_GT(served, 0u) << "nothing was done for guest1";
  expect_conservation();
}

TEST_F(KvmSession, EverySampleIsOfItsTaskHoweverOftenTheyTakeTurns) {
  on_two_vcpus_and_on_one([](int vcpus) {
    for (const int turn : {100'000, 10'000}) {
      SCOPED_TRACE(fmt::format("{} vCPUs, {} instructions a turn", vcpus, turn));
      const auto result = record("-a -e instructions:100000 --domains guest1,guest2", [&] {
        // Four, unpinned.
        in_both(
            fmt::format("for i in 1 2; do spin_a 60 / {0} & spin_b 20 / {0} & done; wait", turn));
      });
      ASSERT_EQ(result.status, 0) << result.err;
      for (const char* guest : {"guest1", "guest2"}) {
        expect_three_to_one(guest, "instructions", 1500);
      }
      expect_conservation();
    }
  });
}

TEST_F(KvmSession, WithoutCountersTheClockTells) {
  const auto result = record("-a -e cpu-clock -F 1000 --domains guest1", [] {
    const auto work = in("guest1", "spin_a 400 / 50000 & spin_b 400 / 50000 & wait");
    EXPECT_EQ(work.status, 0) << work.err;
  });
  ASSERT_EQ(result.status, 0) << result.err;
  const Spun both = spun("guest1", "cpu-clock");
  EXPECT_GE(both.a, 100u);
  EXPECT_GE(both.b, 100u);
  EXPECT_EQ(both.astray, 0u);
  EXPECT_EQ(nameless("guest1", "cpu-clock"), 0u);
  expect_conservation();
}

TEST_F(KvmSession, GuestsCanSampleThemselves) {
  const auto result = record("-a -e cpu-clock:1000000 -g --guest-sampling --domains guest1",
                             [] { in("guest1", "spin_a 300"); });
  ASSERT_EQ(result.status, 0) << result.err;
  const Spun one = spun("guest1", "cpu-clock");
  EXPECT_GE(one.a, 100u);
  EXPECT_EQ(one.astray, 0u);
  expect_conservation();
}

// The same work, told by both: the host's samples alone, the guest's with their callers.
TEST_F(KvmSession, BothCanSampleAGuest) {
  const auto result = record("-a -e cpu-clock:1000000 -g --guest-sampling=both --domains guest1",
                             [] { in("guest1", "spin_a 500"); });
  ASSERT_EQ(result.status, 0) << result.err;
  const Spun by_host = spun("guest1", "cpu-clock");
  const Spun by_guest = spun("guest1", "cpu-clock@guest");
  EXPECT_GE(by_host.a, 100u);
  EXPECT_GE(by_guest.a, 100u);
  EXPECT_EQ(by_host.astray, 0u);
  EXPECT_EQ(by_guest.astray, 0u);
  expect_conservation();
}

// With the help of ptp_kvm, and by the time that answers take.
TEST_F(KvmSession, WhatDebugfsDoesNotTellTheAgentDoes) {
  const auto everywhere = [](const char* command) {
    return in("host", fmt::format("touch /tmp/nothing; for file in "
                                  "/sys/kernel/debug/kvm/*/vcpu*/tsc-offset; do {} $file; done",
                                  command));
  };
  ASSERT_EQ(in("guest1", "test -e /dev/ptp0").status, 0);
  ASSERT_EQ(everywhere("mount -o bind /tmp/nothing").status, 0);
  for (const bool ptp : {true, false}) {
    SCOPED_TRACE(ptp);
    if (!ptp) {
      in("guest1", "mv /dev/ptp0 /dev/ptp0.away");
    }
    const auto result = record("-a -e instructions:200000 --domains guest1", [] {
      const auto work = in("guest1", "spin_a 300 / 100000 & spin_b 100 / 100000 & wait");
      EXPECT_EQ(work.status, 0) << work.err;
    });
    EXPECT_EQ(result.status, 0) << result.err;
    const std::size_t told = result.err.find("Its agent was asked instead: a sample within ");
    EXPECT_NE(told, std::string::npos) << result.err;
    if (ptp && told != std::string::npos) {
      EXPECT_LE(std::atoi(result.err.c_str() + result.err.find_first_of("0123456789", told)), 20);
    }
    const Spun both = spun("guest1", "instructions");
    EXPECT_GE(both.a + both.b, 1950u);
    EXPECT_LE(both.astray, (both.a + both.b) / 20);
    EXPECT_NEAR(100.0 * static_cast<double>(both.a) / static_cast<double>(both.a + both.b), 75, 3);
    expect_conservation();
  }
  in("guest1", "mv /dev/ptp0.away /dev/ptp0");
  EXPECT_EQ(everywhere("umount").status, 0);
}

TEST_F(KvmSession, TopShowsWhatGuestsAreDoing) {
  auto work = std::async(std::launch::async, [] {
    return in("guest1", "until [ -e /tmp/seen ]; do spin_a 50; done; rm /tmp/seen");
  });
  const auto result =
      in("host",
         "mkdir -p /tmp/here && cd /tmp/here && xenoprof top -e instructions:200000 "
         "--passive guest2 --batch --iterations 4; s=$?; ls; exit $s");
  in("guest1", "touch /tmp/seen");
  work.get();
  ASSERT_EQ(result.status, 0) << result.err;
  std::istringstream lines(result.out);
  bool by_name = false;
  bool served = false;
  bool outside = false;
  std::string last;
  for (std::string line; std::getline(lines, line); last = line) {
    by_name |= line.find("guest1") != line.npos && line.find("spin_a") != line.npos &&
               line.find("spin_loop") != line.npos;
    served |= line.find("guest1") != line.npos && line.find("hypervisor") != line.npos;
    outside |= line.find("guest2") != line.npos && line.find("passive") != line.npos;
  }
  EXPECT_TRUE(by_name) << result.out;
  EXPECT_TRUE(served) << result.out;
  EXPECT_TRUE(outside) << result.out;
  EXPECT_EQ(last, "") << "something was kept: " << result.out;
  EXPECT_NE(result.err.find("3 domains, none lost"), std::string::npos) << result.err;
}

TEST_F(KvmSession, APassiveGuestsKernelIsFoundWhereItLies) {
  const auto symbols = in("guest2", "cat /proc/kallsyms");
  ASSERT_EQ(symbols.status, 0);
  constexpr std::uint64_t kMoved = 0x1c00000;
  std::string list;
  std::istringstream lines(symbols.out);
  for (std::string line; std::getline(lines, line);) {
    const std::uint64_t address = std::stoull(line, nullptr, 16);
    if (line.find('[') == std::string::npos && address >= 0xffffffff80000000) {
      list += fmt::format("{:016x}{}\n", address - kMoved, line.substr(16));
    }
  }
  const auto& folder = lab().scratch();
  LabMachine::write(folder / "System.map", list);
  lab().copy_in(folder / "System.map", "host", "/root/System.map");
  const auto result = record(
      "-a -e instructions:20000 --domains guest1 --passive guest2 "
      "--kernel-symbols guest2=/root/System.map",
      [] { EXPECT_EQ(in("guest2", "ls -lR /sys >/dev/null").status, 0); });
  ASSERT_EQ(result.status, 0) << result.err;
  EXPECT_NE(result.err.find(fmt::format("guest2: Its kernel lies +{:#x}", kMoved)),
            std::string::npos)
      << result.err;
  std::set<std::string> kernel;
  for (const Json& row : rows("--domain guest2")) {
    if (row["mode"] == "kernel" && row["image"] == "[kernel]") {
      kernel.insert(row["symbol"].get<std::string>());
    }
  }
  for (const char* function : {"dput", "lookup_fast", "kmem_cache_alloc"}) {
    EXPECT_TRUE(kernel.contains(function)) << function;
  }
  expect_conservation();
}

// Around the pause the guest's clocks do not run alike: that may cost the tasks of one second.
TEST_F(KvmSession, APausedGuestGoesOnAsItself) {
  const auto result = record("-a -e instructions:200000 --domains guest1", [] {
    auto work = std::async(std::launch::async, [] {
      return in("guest1", "spin_a 900 / 20000 & spin_b 300 / 20000 & wait");
    });
    for (int i = 0; i < 4; ++i) {
      std::this_thread::sleep_for(1s);
      EXPECT_EQ(in("host", "xenoprof-lab-monitor guest1 stop").status, 0);
      std::this_thread::sleep_for(1s);
      EXPECT_EQ(in("host", "xenoprof-lab-monitor guest1 cont").status, 0);
    }
    EXPECT_EQ(work.get().status, 0);
  });
  ASSERT_EQ(result.status, 0) << result.err;
  const Spun both = spun("guest1", "instructions");
  EXPECT_GE(both.a + both.b, 5000u);  // of 6000
  EXPECT_EQ(both.astray, 0u);
  EXPECT_NEAR(100.0 * static_cast<double>(both.a) / static_cast<double>(both.a + both.b), 75, 5);
  expect_conservation();
}

TEST_F(KvmSession, WhatAnAgentDoesToItselfCostsNoSamples) {
  struct Case {
    const char* deed;
    const char* told;
  };
  for (const Case& one : {Case{"killall -9 xenoprof", "connection"},
                          Case{"killall -STOP xenoprof", "says nothing"}}) {
    SCOPED_TRACE(one.deed);
    const auto result = record("-a -e instructions:200000 --domains guest1,guest2", [&] {
      in("guest1", "spin_a 100");
      in("guest1", one.deed);
      in_both("spin_b 100");
    });
    EXPECT_EQ(result.status, 3);
    EXPECT_NE(result.err.find("guest1 is not whole"), std::string::npos) << result.err;
    EXPECT_NE(result.err.find(one.told), std::string::npos) << result.err;
    std::uint64_t user = 0;
    for (const Json& row : rows("--domain guest1 --sort mode")) {
      user += row["mode"] == "user" ? samples(row) : 0;
    }
    EXPECT_GE(user, 950u) << "the samples of both programs are there, from outside";
    EXPECT_GE(spun("guest2", "instructions").b, 480u);
    EXPECT_EQ(domain("guest2")["role"], "active");
    expect_conservation();
    restart_agent("guest1");
  }
}

TEST_F(KvmSession, AHostileGuestHarmsNobodyElse) {
  for (const char* manner : {"garbage", "flood", "silent"}) {
    SCOPED_TRACE(manner);
    in("guest1", fmt::format("killall -9 xenoprof; sleep 0.3; vsock_agent 915 {} </dev/null "
                             ">/dev/null 2>&1 &",
                             manner));
    const auto result = record("-a -e instructions:200000", [] { in_both("spin_a 100"); });
    EXPECT_EQ(result.status, 0) << result.err;
    EXPECT_NE(result.err.find("guest1 is seen from outside only"), std::string::npos) << result.err;
    EXPECT_GE(spun("guest2", "instructions").a, 480u);
    expect_conservation();
    restart_agent("guest1");
  }
}

// The last: guest1 is another afterwards.
TEST_F(KvmSession, AGuestThatDiesLeavesWhatItDidAndMayComeBack) {
  const auto result = record("-a -e instructions:200000 --domains guest1,guest2", [] {
    in("guest1", "spin_a 100");
    in("host", fmt::format("kill -9 $(cat {}/guest1.pid)", kMonitors));
    EXPECT_EQ(in("host", "xenoprof-lab-guest guest1").status, 0);
    EXPECT_EQ(in("guest2", "spin_b 100").status, 0);
  });
  EXPECT_EQ(result.status, 3);
  std::uint64_t user = 0;
  for (const Json& row : rows("--domain guest1 --sort mode")) {
    user += row["mode"] == "user" ? samples(row) : 0;
  }
  EXPECT_GE(user, 480u);
  EXPECT_GE(spun("guest2", "instructions").b, 480u);
  expect_conservation();
}

}  // namespace
}  // namespace xenoprof
