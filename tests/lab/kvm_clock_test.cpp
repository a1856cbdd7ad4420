// SPDX-License-Identifier: GPL-2.0-or-later
// A session on a KVM host whose machine has no counters: the clock takes the samples.
#include <gtest/gtest.h>

#include <algorithm>
#include <string>

#include "session_lab.h"

namespace xenoprof {
namespace {

class KvmClockSession : public SessionLab {
 protected:
  static void SetUpTestSuite() {
    use(LabMachine::shared("kvm", {"--guests", "1", "--no-pmu"}), "host");
    for (const char* name : {"spin_a", "spin_b"}) {
      ASSERT_EQ(lab().copy_in(program("prog_spin"), "guest1", std::string("/usr/bin/") + name), 0);
    }
  }
};

TEST_F(KvmClockSession, TwoProcessesAtThreeToOneAreReportedSo) {
  const auto result = record("-a", [] {
    const auto work = in("guest1", "spin_a 2400 / 100000 & spin_b 800 / 100000 & wait");
    EXPECT_EQ(work.status, 0) << work.err;
  });
  ASSERT_EQ(result.status, 0) << result.err;
  EXPECT_EQ(domain("guest1")["role"], "active");
  std::uint64_t a = 0;
  std::uint64_t b = 0;
  for (const Json& row : rows("--domain guest1")) {
    if (row["symbol"] == "spin_loop") {
      (row["process"] == "spin_a" ? a : b) += samples(row, "cpu-clock");
      EXPECT_EQ(row["image"], "/usr/bin/" + row["process"].get<std::string>());
    }
  }
  EXPECT_GE(a + b, 500u);
  EXPECT_NEAR(100.0 * static_cast<double>(a) / static_cast<double>(a + b), 75, 6);
  const Json notes = session_json()["notes"];
  const auto told = [&](const char* what) {
    return std::ranges::any_of(notes, [&](const Json& note) {
      return note.get<std::string>().find(what) != std::string::npos;
    });
  };
  EXPECT_TRUE(told("no counters")) << notes;
  EXPECT_FALSE(told("first context switch")) << notes;
  expect_conservation();
}

}  // namespace
}  // namespace xenoprof
