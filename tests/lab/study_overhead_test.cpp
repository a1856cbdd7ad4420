// SPDX-License-Identifier: GPL-2.0-or-later
// `xenoprof lab study overhead --quick`, whole: every cell has its figures, and what no kernel or
// host can turn round holds.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>

#include "process.h"

namespace xenoprof {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

// Events for each unit, by "CONFIGURATION/WORKLOAD/EVENT".
std::map<std::string, double> costs_in(const json& results) {
  std::map<std::string, double> costs;
  for (const json& cell : results.at("cells"))
    for (const json& event : cell.at("events"))
      costs[fmt::format("{}/{}/{}", cell.at("configuration").get<std::string>(),
                        cell.at("workload").get<std::string>(),
                        event.at("name").get<std::string>())] = event.at("per_unit");
  return costs;
}

TEST(StudyOverhead, QuickOneIsWhole) {
  std::string pattern = (fs::temp_directory_path() / "xenoprof-study-XXXXXX").string();
  ASSERT_NE(mkdtemp(pattern.data()), nullptr);
  const fs::path folder = pattern;
  const auto study = lab::run_program({{std::string(XENOPROF_BUILD) + "/bin/xenoprof-lab", "study",
                                        "overhead", "--quick", "-o", folder / "out"},
                                       {},
                                       {}});
  ASSERT_TRUE(study) << study.error().message;
  EXPECT_EQ(study->status, 0) << study->output;

  std::ifstream stream(folder / "out/results.json");
  const json results = json::parse(stream, nullptr, false);
  ASSERT_TRUE(results.is_object());
  ASSERT_EQ(results.at("cells").size(), 12U);
  for (const json& cell : results.at("cells")) {
    EXPECT_EQ(cell.at("failure"), nullptr) << cell;
    EXPECT_EQ(cell.at("events").size(), 4U) << cell;
    for (const json& event : cell.at("events"))
      EXPECT_GT(event.at("per_unit"), 0) << cell;
  }
  auto costs = costs_in(results);
  for (const char* workload : {"receiver", "sender", "webserver"}) {
    for (const char* configuration : {"xen-dom0", "xen-guest0", "xen-guest1"})
      for (const char* misses : {"itlb-misses", "dtlb-misses"})
        EXPECT_GT(costs[fmt::format("{}/{}/{}", configuration, workload, misses)],
                  5 * costs[fmt::format("linux/{}/{}", workload, misses)])
            << configuration << " " << workload << " " << misses;
    EXPECT_GT(costs[fmt::format("xen-guest0/{}/instructions", workload)],
              1.5 * costs[fmt::format("linux/{}/instructions", workload)])
        << workload;
  }
  // Of the guest's packets, Xen copies every byte.
  bool copies = false;
  for (const json& growth : results.at("growth"))
    if (growth.at("configuration") == "xen-guest0" && growth.at("workload") == "receiver" &&
        growth.at("event") == "instructions")
      for (const json& function : growth.at("functions"))
        copies = copies || (function.at("mode") == "hypervisor" && function.at("beyond_error") &&
                            function.at("symbol").get<std::string>().starts_with("gnttab_copy"));
  EXPECT_TRUE(copies);
  EXPECT_TRUE(fs::exists(folder / "out/report.html"));
  fs::remove_all(folder);
}

}  // namespace
}  // namespace xenoprof
