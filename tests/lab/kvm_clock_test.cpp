// SPDX-License-Identifier: GPL-2.0-or-later
// A session on a KVM host whose machine has no counters: the clock takes the samples.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <string>

#include "spin_lab.h"

namespace xenoprof {
namespace {

class KvmClockSession : public SpinLab {
 protected:
  static void SetUpTestSuite() {
    use(LabMachine::shared("kvm", {"--guests", "2", "--vcpus", "2", "--no-pmu"}), "host");
    copy_spin({"guest1", "guest2"});
  }
};

// By the time that the programs find themselves: instructions take longer while the other guest
// runs, and a guest's kernel counts what its host takes away. At rates much above this the emulated
// host's timer comes late.
TEST_F(KvmClockSession, TwoProcessesAtThreeToOneInEachGuestAreReportedSo) {
  on_two_vcpus_and_on_one([](int vcpus) {
    for (const int turn : {100'000, 10'000}) {
      SCOPED_TRACE(fmt::format("{} vCPUs, {} instructions a turn", vcpus, turn));
      const auto result = record("-a -F 1000", [&] {
        in_both(fmt::format("spin_a 6000mt / {0} & spin_b 2000mt / {0} & wait", turn));
      });
      ASSERT_EQ(result.status, 0) << result.err;
      for (const char* guest : {"guest1", "guest2"}) {
        EXPECT_EQ(domain(guest)["role"], "active");
        expect_three_to_one(guest, "cpu-clock", 1000);
      }
      const Json notes = session_json()["notes"];
      EXPECT_TRUE(std::ranges::any_of(notes, [](const Json& note) {
        return note.get<std::string>().find("no counters") != std::string::npos;
      })) << notes;
      expect_conservation();
    }
  });
}

}  // namespace
}  // namespace xenoprof
