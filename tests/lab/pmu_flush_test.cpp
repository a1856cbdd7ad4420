// SPDX-License-Identifier: GPL-2.0-or-later
// What switches of address spaces cost: two processes on one CPU hand a byte to and fro. In plain
// Linux only switches between them flush the TLBs; under Xen each system call of a PV domain does
// too, and the hypervisor's own code and data take part.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <chrono>
#include <cstdint>
#include <cstdio>
#include <fstream>
#include <future>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>
#include <thread>

#include "pmu_machine.h"
#include "state.h"

namespace xenoprof {
namespace {

using namespace std::chrono_literals;
using Json = nlohmann::json;

constexpr int64_t kRoundTrips = 10'000;

// Page walks for data and for code.
struct Walks {
  double data = 0;
  double code = 0;
};

void expect_rise(const char* lower_name, const Walks& lower, const char* higher_name,
                 const Walks& higher) {
  EXPECT_LT(lower.data, higher.data) << lower_name << ", " << higher_name;
  EXPECT_LT(lower.code, higher.code) << lower_name << ", " << higher_name;
}

const PmuMachine& linux_machine() {
  return PmuMachine::shared("preset=family10h,stats=on");
}

Walks round_trip_in_linux() {
  const auto walks = [](int64_t times) {
    return linux_machine().stat(fmt::format("-e r0746,r0785 pmu_pingpong {} 0", times));
  };
  auto full = walks(kRoundTrips);
  auto empty = walks(0);
  return {.data = static_cast<double>(full["r0746"] - empty["r0746"]) / kRoundTrips,
          .code = static_cast<double>(full["r0785"] - empty["r0785"]) / kRoundTrips};
}

class XenMachine {
 public:
  XenMachine() : lab_(LabMachine::shared("xen", {"--guests", "1"})) {
    for (const char* domain : {"dom0", "guest1"}) {
      lab_.copy_in(std::filesystem::path(XENOPROF_BUILD) / "bin/prog_pmu_pingpong", domain,
                   "/usr/bin/pmu_pingpong");
    }
    in("dom0", "mkfifo /tmp/end");
    idle_ = walks_a_second([] { std::this_thread::sleep_for(8s); });
  }

  // What the whole machine does more than when it is idle.
  Walks round_trip_in(const std::string& domain) {
    const auto [walks, seconds] = record([&] {
      const auto run = in(domain, fmt::format("pmu_pingpong {} 0", kRoundTrips));
      EXPECT_EQ(run.status, 0) << run.err;
    });
    return {.data = (walks.data - idle_.data * seconds) / kRoundTrips,
            .code = (walks.code - idle_.code * seconds) / kRoundTrips};
  }

 private:
  struct Session {
    Walks walks;
    double seconds = 0;
  };

  CommandResult in(const std::string& domain, const std::string& script) const {
    return lab_.exec(domain, {"sh", "-c", script});
  }

  // Samples times count, of all domains and the hypervisor. The count is large, so that the session
  // itself is little of what it counts.
  template <class Work>
  Session record(Work work) const {
    in("dom0", "rm -rf /tmp/session /tmp/begun");
    auto recording = std::async(std::launch::async, [&] {
      return in("dom0",
                "xenoprof record -e L1_DTLB_AND_L2_DTLB_MISS:ALL:20011 "
                "-e L1_ITLB_MISS_AND_L2_ITLB_MISS:ALL:20011 --no-progress -o /tmp/session -- "
                "sh -c 'touch /tmp/begun; read end < /tmp/end'");
    });
    for (int i = 0; i < 300 && in("dom0", "test -e /tmp/begun").status != 0; ++i) {
      std::this_thread::sleep_for(100ms);
    }
    work();
    in("dom0", "timeout 5 sh -c 'echo > /tmp/end'");
    const auto recorded = recording.get();
    EXPECT_EQ(recorded.status, 0) << recorded.err;
    const Json session =
        Json::parse(in("dom0", "cat /tmp/session/session.json").out, nullptr, false);
    if (!session.is_object()) {
      ADD_FAILURE() << "no session.json: " << recorded.err;
      return {};
    }
    Session result{.walks = {}, .seconds = session["seconds"].get<double>()};
    for (const Json& domain : session["domains"]) {
      for (const Json& event : domain["events"]) {
        const bool data = event["name"].get<std::string>().starts_with("L1_DTLB");
        (data ? result.walks.data : result.walks.code) +=
            event["taken"].get<double>() * event["count"].get<double>();
      }
    }
    return result;
  }

  template <class Work>
  Walks walks_a_second(Work work) const {
    const auto [walks, seconds] = record(work);
    return {.data = walks.data / seconds, .code = walks.code / seconds};
  }

  const LabMachine& lab_;
  Walks idle_;  // a second
};

TEST(RoundTrips, WalkMoreFromLinuxToDom0ToGuest) {
  const Walks in_linux = round_trip_in_linux();
  XenMachine xen;
  const Walks in_dom0 = xen.round_trip_in("dom0");
  const Walks in_guest = xen.round_trip_in("guest1");
  EXPECT_GT(in_linux.data, 1);
  EXPECT_GT(in_linux.code, 1);
  expect_rise("Linux", in_linux, "dom0", in_dom0);
  expect_rise("dom0", in_dom0, "guest", in_guest);
  if (std::getenv("XENOPROF_TEST_TABLE") != nullptr) {
    std::printf(
        "| walks a round trip | Linux | dom0 | guest |\n| data | %.1f | %.1f | %.1f |\n"
        "| code | %.1f | %.1f | %.1f |\n",
        in_linux.data, in_dom0.data, in_guest.data, in_linux.code, in_dom0.code, in_guest.code);
  }
}

// The sum of the numbers after `what` in the machine's log, over vCPUs and modes.
int64_t in_statistics(const std::string& log, const std::string& what, const std::string& unit) {
  int64_t sum = 0;
  std::istringstream lines(log);
  for (std::string line; std::getline(lines, line);) {
    const auto at = line.find(what);
    if (at == std::string::npos) {
      continue;
    }
    std::istringstream words(line.substr(at + what.size()));
    int64_t number = 0;
    for (std::string word; words >> word;) {
      if (std::isdigit(static_cast<unsigned char>(word[0])) != 0) {
        number = std::atoll(word.c_str());
      } else if (unit.empty() || word.starts_with(unit)) {
        sum += number;
        number = 0;
      }
    }
  }
  return sum;
}

// Last of the Linux machine: it is ended for its statistics. What misses because it does not fit
// walks as much as what was flushed, and only the latter is charged to flushes.
TEST(Statistics, TellFlushesFromWhatDoesNotFit) {
  const PmuMachine& machine = linux_machine();
  auto fits_not = machine.stat("-e r0746,r0785 pmu_oracle pages 640 400");
  auto flushed = machine.stat(fmt::format("-e r0746,r0785 pmu_pingpong {} 0", 4 * kRoundTrips));
  const std::string name = machine.lab().name();
  ASSERT_EQ(
      std::system(fmt::format("{}/bin/xenoprof-lab down --name {}", XENOPROF_BUILD, name).c_str()),
      0);
  const auto folder = lab::lab_folder(name);
  ASSERT_TRUE(folder);
  std::ifstream file(folder->machine_log());
  const std::string log{std::istreambuf_iterator<char>(file), {}};
  const int64_t data_walks = in_statistics(log, "data TLB walks:", "");
  const int64_t after_flush = in_statistics(log, "made necessary by a flush:", "data");
  EXPECT_GT(fits_not["r0746"], 640 * 400);
  EXPECT_GE(data_walks, fits_not["r0746"] + flushed["r0746"]);
  // The other test's round trips are a quarter more.
  EXPECT_GT(after_flush, flushed["r0746"] * 9 / 10) << log;
  EXPECT_LT(after_flush, data_walks - fits_not["r0746"] * 9 / 10) << log;
  if (std::getenv("XENOPROF_TEST_TABLE") != nullptr) {
    std::printf("does not fit %ld, ping-pong %ld, all walks %ld, made necessary by a flush %ld\n",
                fits_not["r0746"], flushed["r0746"], data_walks, after_flush);
  }
}

}  // namespace
}  // namespace xenoprof
