// SPDX-License-Identifier: GPL-2.0-or-later
#include "perf/why_not_opened.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <linux/perf_event.h>

#include <cerrno>
#include <string_view>

#include "temporary_folder.h"

namespace xenoprof::perf {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

class WhyNotOpened : public testing::Test {
 protected:
  void set_mediated_pmu(const std::filesystem::path& module, std::string_view value) {
    const auto folder = "sys/module" / module / "parameters";
    std::filesystem::create_directories(root_.path() / folder);
    root_.file((folder / "enable_mediated_pmu").string(), value);
  }
  std::string of(int error, bool guests, bool of_process = false) {
    perf_event_attr attr{};
    attr.exclude_guest = !guests;
    return why_not_opened(error, attr, of_process, root_.path());
  }

  const TemporaryFolder root_;
};

TEST_F(WhyNotOpened, CountersThatKvmGaveToItsGuestsAreTold) {
  EXPECT_THAT(of(EOPNOTSUPP, true), HasSubstr("no counter")) << "this KVM does not know of it";
  set_mediated_pmu("kvm_amd", "N\n");
  EXPECT_THAT(of(EOPNOTSUPP, true), HasSubstr("no counter"));
  for (const char* module : {"kvm_amd", "kvm_intel"}) {
    set_mediated_pmu(module, "Y\n");
    const std::string why = of(EOPNOTSUPP, true);
    EXPECT_THAT(why, HasSubstr("--guest-sampling"));
    EXPECT_THAT(why, HasSubstr(std::string("load ") + module + " with enable_mediated_pmu=0"));
    set_mediated_pmu(module, "N\n");
  }
}

TEST_F(WhyNotOpened, OtherRefusalsAreNotPutDownToIt) {
  set_mediated_pmu("kvm_intel", "Y\n");
  EXPECT_THAT(of(EOPNOTSUPP, false), HasSubstr("no counter"));
  EXPECT_THAT(of(ENOENT, true), HasSubstr("no counter"));
  EXPECT_THAT(of(EBUSY, true), HasSubstr("another program"));
  EXPECT_THAT(of(EACCES, true), HasSubstr("CAP_PERFMON"));
  EXPECT_EQ(of(EINVAL, true), "");
}

TEST_F(WhyNotOpened, WhatHelpsAgainstMissingRightsDependsOnWhatIsAllowed) {
  std::filesystem::create_directories(root_.path() / "proc/sys/kernel");
  const auto with = [&](std::string_view paranoid, bool of_process) {
    root_.file("proc/sys/kernel/perf_event_paranoid", paranoid);
    return of(EACCES, false, of_process);
  };
  EXPECT_THAT(with("2\n", false), HasSubstr("lower kernel.perf_event_paranoid"));
  EXPECT_THAT(with("3\n", true), HasSubstr("lower kernel.perf_event_paranoid"));
  EXPECT_THAT(with("2\n", true), HasSubstr("another user's"));
  EXPECT_THAT(with("-1\n", true), HasSubstr("another user's"));
  EXPECT_THAT(with("-1\n", false), HasSubstr("seccomp"));
}

}  // namespace
}  // namespace xenoprof::perf
