// SPDX-License-Identifier: GPL-2.0-or-later
#include "sample_counts.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <regex>

namespace xenoprof {
namespace {

bool is_memory(const std::string& image) {
  for (const char* const start : {"//", "/memfd:", "/SYSV", "/dev/zero", "anon_inode:",
                                  "/tmp/perf-", "[heap]", "[stack", "[unknown]", "[jit"}) {
    if (image.starts_with(start)) {
      return true;
    }
  }
  return false;
}

// Where perf and xenoprof say the same in different words: the names of the kernel and its modules,
// and memory that is no file, which xenoprof does not tell apart. Procedure linkage
// tables have no symbols: perf makes names up for some, and lets _init, which stands before them
// and has no length, reach over others.
std::string line(const std::string& process, std::string image, std::string function) {
  std::smatch part;
  if (image.starts_with("[kernel.kallsyms]") || image == "[kernel]") {
    image = "[kernel]";
  } else if (static const std::regex kModule(R"(.*/([^/]*)\.ko(\.\w+)?)");
             std::regex_match(image, part, kModule)) {
    image = "[" + part[1].str() + "]";
    std::replace(image.begin(), image.end(), '-', '_');
  } else if (is_memory(image)) {
    image = "[unknown]";
    function.clear();
  }
  if (function == "[unknown]" || function.starts_with("0x") || function.ends_with("@plt") ||
      function == "_init") {
    function.clear();
  }
  return process + " | " + image + " | " + function;
}

}  // namespace

SampleCounts counts_of_perf_script(const std::string& text) {
  SampleCounts counts;
  // "   process name   address function (image)"
  static const std::regex kLine(
      R"(\s*(.*?)\s+([0-9a-f]{6,16}) (.*) \(([^()]*(?: \(deleted\))?)\)\s*)");
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t end = std::min(text.find('\n', at), text.size());
    const std::string one = text.substr(at, end - at);
    at = end + 1;
    std::smatch part;
    if (std::regex_match(one, part, kLine)) {
      ++counts[line(part[1], part[4], part[3])];
    } else {
      EXPECT_TRUE(one.empty()) << "perf says what this test cannot read: " << one;
    }
  }
  return counts;
}

SampleCounts counts_of_report(const std::string& json) {
  SampleCounts counts;
  const auto report = nlohmann::json::parse(json, nullptr, /*allow_exceptions=*/false);
  EXPECT_TRUE(report.is_object()) << json.substr(0, 500);
  for (const auto& row : report.value("rows", nlohmann::json::array())) {
    std::uint64_t count = 0;
    for (const auto& samples : row["samples"]) {
      count += samples.get<std::uint64_t>();
    }
    // With --children most rows are of callers.
    if (count != 0) {
      counts[line(row["process"], row["image"], row["symbol"])] += count;
    }
  }
  return counts;
}

std::uint64_t sum(const SampleCounts& counts) {
  std::uint64_t sum = 0;
  for (const auto& [line, count] : counts) {
    sum += count;
  }
  return sum;
}

void expect_same(const SampleCounts& theirs, const SampleCounts& ours, std::string_view shows) {
  EXPECT_EQ(sum(ours), sum(theirs));
  for (const auto& [line, count] : theirs) {
    const auto found = ours.find(line);
    EXPECT_EQ(found == ours.end() ? 0 : found->second, count) << line << " in perf's counts";
  }
  bool shown = false;
  for (const auto& [line, count] : ours) {
    EXPECT_TRUE(theirs.contains(line)) << line << " in ours alone: " << count;
    shown = shown || line.find(shows) != std::string::npos;
  }
  EXPECT_TRUE(shown) << "no sample of " << shows;
}

}  // namespace xenoprof
