// SPDX-License-Identifier: GPL-2.0-or-later
// `xenoprof lab study` on a bare machine: a small cell, one that fails, and both again.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "process.h"

namespace xenoprof {
namespace {

using testing::HasSubstr;
namespace fs = std::filesystem;

constexpr std::string_view kStudy = R"(title = "test"
[[configuration]]
name = "linux"
machine = "linux --cpus 2 --vcpus 1"
server = "linux"
recorder = "linux"
[[configuration]]
name = "other"
machine = "linux --cpus 2 --vcpus 1"
server = "linux"
recorder = "linux"
[[event]]
name = "instructions"
count = 100000
[[workload]]
name = "broken"
unit = "MiB"
amount = 1
load = "echo no such server >&2; false"
done = '(\d+) MiB'
[[workload]]
name = "receiver"
unit = "MiB"
amount = 8
server = "iperf3 --server --daemon"
load = "iperf3 --client server --json --bytes {amount}M"
done = '"sum_received":\s*\{[^}]*"bytes":\s*(\d+)'
done_per_unit = 1048576
[repeat]
least = 1
most = 1
)";

nlohmann::json json_in(const fs::path& file) {
  std::ifstream stream(file);
  return nlohmann::json::parse(stream, nullptr, false);
}

lab::ProgramResult study(const fs::path& folder, std::vector<std::string> more = {}) {
  std::vector<std::string> command = {std::string(XENOPROF_BUILD) + "/bin/xenoprof-lab", "study",
                                      folder / "test.toml", "-o", folder / "out"};
  command.insert(command.end(), more.begin(), more.end());
  const auto result = lab::run_program({command, {}, {}});
  return result ? *result : lab::ProgramResult{-1, result.error().message};
}

TEST(Study, KeepsWhatIsFinishedAndTriesAgainWhatFailed) {
  std::string pattern = (fs::temp_directory_path() / "xenoprof-study-XXXXXX").string();
  ASSERT_NE(mkdtemp(pattern.data()), nullptr);
  const fs::path folder = pattern;
  std::ofstream(folder / "test.toml") << kStudy;

  const auto first = study(folder, {"--configurations", "linux"});
  EXPECT_EQ(first.status, 3) << first.output;
  EXPECT_THAT(first.output, HasSubstr("linux/broken failed: `load` in domain peer ended with "
                                      "status 1: no such server"));
  const auto json = json_in(folder / "out/results.json");
  ASSERT_EQ(json.at("cells").size(), 2U);
  EXPECT_THAT(json.at("cells").at(0).at("failure"), HasSubstr("no such server"));
  const auto& cell = json.at("cells").at(1);
  EXPECT_EQ(cell.at("failure"), nullptr);
  // A MiB is 720 packets and more, at a thousand instructions and more each.
  EXPECT_GT(cell.at("events").at(0).at("per_unit"), 500'000);
  EXPECT_GT(cell.at("units_per_second"), 0);
  const fs::path session = folder / "out" / cell.at("runs").at(0).at("session");
  const auto record = json_in(session / "session.json");
  EXPECT_EQ(record.at("work").at("MiB"), cell.at("runs").at(0).at("work"));

  const auto before = fs::last_write_time(session / "profile.pb.gz");
  const auto refused = study(folder);
  EXPECT_THAT(refused.output, HasSubstr("--resume goes on with it"));
  const auto second = study(folder, {"--resume", "--configurations", "linux"});
  EXPECT_EQ(second.status, 3) << second.output;
  EXPECT_THAT(second.output, HasSubstr("1 of 2 cells are there already"));
  EXPECT_THAT(second.output, HasSubstr("linux/broken failed"));
  EXPECT_EQ(fs::last_write_time(session / "profile.pb.gz"), before);
  EXPECT_EQ(json_in(folder / "out/results.json"), json);

  // Asking for another configuration alone takes nothing out of the results.
  const auto third = study(folder, {"--resume", "--configurations", "other"});
  EXPECT_EQ(third.status, 3) << third.output;
  EXPECT_EQ(json_in(folder / "out/results.json").at("cells").size(), 4U);
  fs::remove_all(folder);
}

}  // namespace
}  // namespace xenoprof
