// SPDX-License-Identifier: GPL-2.0-or-later
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

#include "study/definition.h"

namespace xenoprof::lab {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::StartsWith;

constexpr std::string_view kSmall = R"(title = "small"
[[configuration]]
name = "bare"
machine = "linux --cpus 2 --vcpus 1"
server = "linux"
recorder = "linux"
counts = { misses = 20 }
[[configuration]]
name = "guest"
machine = "xen --guests 1 --guest-cpu 1"
server = "guest1"
recorder = "dom0"
[[event]]
name = "instructions"
count = 1000
[[event]]
name = "misses"
select = "L2_CACHE_MISS:ALL"
count = 500
[[knob]]
name = "size"
values = ["4K", { name = "large", text = "1M --more" }]
[[knob]]
name = "unused"
values = ["1", "2"]
[[workload]]
name = "copy"
unit = "MiB"
amount = 8
load = "copy {amount} ${HOME} {size} { x }"
done = '(\d+) done'
[quick]
least = 1
most = 2
)";

// The study with one line, counted from 1, replaced.
std::string with_line(int number, std::string_view line) {
  std::string text;
  std::istringstream lines{std::string(kSmall)};
  int at = 0;
  for (std::string each; std::getline(lines, each);)
    text += (++at == number ? std::string(line) : each) + "\n";
  return text;
}

std::string error_of(const std::string& text) {
  const auto study = parse_study(text, "s.toml");
  return study ? "no error" : study.error().message;
}

TEST(StudyDefinition, IsRead) {
  const auto study = parse_study(kSmall, "s.toml");
  ASSERT_TRUE(study) << study.error().message;
  ASSERT_EQ(study->configurations.size(), 2U);
  EXPECT_EQ(study->configurations[0].machine.kind, "linux");
  EXPECT_EQ(study->configurations[0].machine.vcpus, 1U);
  EXPECT_EQ(study->configurations[1].machine.guest_cpu, 1U);
  EXPECT_EQ(study->events[1].select, "L2_CACHE_MISS:ALL");
  EXPECT_EQ(study->events[0].select, "instructions");
  EXPECT_EQ(study->workloads[0].quick_amount, 8);
  EXPECT_EQ(study->full.least, 3U);
  EXPECT_EQ(study->quick.least, 1U);
}

TEST(StudyDefinition, AConfigurationMayHaveToBeAskedFor) {
  const auto study = parse_study(with_line(7, "when_asked = true"), "s.toml");
  ASSERT_TRUE(study) << study.error().message;
  EXPECT_TRUE(study->configurations[0].when_asked);
  EXPECT_FALSE(study->configurations[1].when_asked);
  EXPECT_THAT(error_of(with_line(7, "when_asked = 1")),
              StartsWith("s.toml:7: 'when_asked' must be true or false"));
}

TEST(StudyDefinition, AConfigurationsOwnCountsHold) {
  const auto study = parse_study(kSmall, "s.toml");
  ASSERT_TRUE(study);
  EXPECT_EQ(events_of(*study, Cell{.configuration = 0})[1].count, 20U);
  EXPECT_EQ(events_of(*study, Cell{.configuration = 1})[1].count, 500U);
}

TEST(StudyDefinition, AKnobThatAnEventsCountIsSweepsAllWorkloads) {
  std::string text = with_line(15, "count = \"{unused}\"");
  const auto study = parse_study(text, "s.toml");
  ASSERT_TRUE(study) << study.error().message;
  const auto cells = cells_of(*study);
  ASSERT_EQ(cells.size(), 8U);
  EXPECT_EQ(path_of(*study, cells[1]), "bare/copy/size=4K/unused=2");
  EXPECT_EQ(events_of(*study, cells[1])[0].count, 2U);
  EXPECT_THAT(error_of(with_line(15, "count = \"{size}\"")),
              StartsWith("s.toml:15: the values of knob 'size' must be numbers"));
  EXPECT_THAT(error_of(with_line(15, "count = \"{sise}\"")),
              StartsWith("s.toml:15: 'count' must be a number, or"));
}

TEST(StudyDefinition, CellsAreTheProductOfWhatAWorkloadNames) {
  const auto study = parse_study(kSmall, "s.toml");
  ASSERT_TRUE(study);
  std::vector<std::string> paths;
  for (const Cell& cell : cells_of(*study))
    paths.push_back(path_of(*study, cell));
  EXPECT_THAT(paths, ElementsAre("bare/copy/size=4K", "bare/copy/size=large", "guest/copy/size=4K",
                                 "guest/copy/size=large"));
}

TEST(StudyDefinition, CommandsTakeAmountAndKnobsAndLeaveTheShellsBraces) {
  const auto study = parse_study(kSmall, "s.toml");
  ASSERT_TRUE(study);
  const Cell cell = cells_of(*study)[1];
  EXPECT_EQ(fill_in(study->workloads[0].load, cell, 8), "copy 8 ${HOME} 1M --more { x }");
}

TEST(StudyDefinition, ErrorsSayWhereAndWhatToDo) {
  EXPECT_THAT(error_of(with_line(3, "name = 3")), StartsWith("s.toml:3: 'name' must be a text"));
  EXPECT_THAT(error_of(with_line(3, "name = \"a/b\"")), StartsWith("s.toml:3: 'a/b' is no name"));
  EXPECT_THAT(error_of(with_line(5, "servr = \"linux\"")),
              StartsWith("s.toml:5: 'servr' is not known here; there are name, machine"));
  EXPECT_THAT(error_of(with_line(5, "")), StartsWith("s.toml:2: 'server' is missing"));
  EXPECT_THAT(error_of(with_line(4, "machine = \"linux --cpu\"")), StartsWith("s.toml:4: machine"));
  EXPECT_THAT(error_of(with_line(7, "counts = { miss = 20 }")),
              StartsWith("s.toml:7: there is no [[event]] 'miss'"));
  EXPECT_THAT(error_of(with_line(15, "count = 0")),
              StartsWith("s.toml:15: 'count' must be a number from 1"));
  EXPECT_THAT(error_of(with_line(22, "values = []")), StartsWith("s.toml:22: a knob needs"));
  EXPECT_THAT(error_of(with_line(22, "values = [\"1\"]\ncompare = 1")),
              StartsWith("s.toml:23: 'compare' must be true or false"));
  EXPECT_THAT(error_of(with_line(30, "load = \"copy {sise}\"")),
              StartsWith("s.toml:30: {sise}: there is no such knob"));
  EXPECT_THAT(error_of(with_line(31, "done = '(\\d+'")),
              StartsWith("s.toml:31: 'done' is no regular expression"));
  EXPECT_THAT(error_of(with_line(31, "done = 'done'")),
              StartsWith("s.toml:31: 'done' must have one group"));
  EXPECT_THAT(error_of(with_line(31, "done = '(1)'\nload_in = \"guest\"")),
              StartsWith("s.toml:32: 'load_in' must be"));
  EXPECT_THAT(error_of(with_line(34, "most = 0")), StartsWith("s.toml:34: 'most' must be"));
  EXPECT_THAT(error_of(with_line(9, "name = \"bare\"")),
              HasSubstr("there is a configuration 'bare' already"));
  EXPECT_THAT(error_of("title = \"x\n"), StartsWith("s.toml:1: "));
  EXPECT_THAT(error_of("title = \"x\"\n"), HasSubstr("there is no [[configuration]]"));
}

TEST(StudyDefinition, ValuesThatMultiplyWithoutBoundAreRefused) {
  std::string text(kSmall);
  std::string use;
  for (int i = 0; i < 40; ++i) {
    text += fmt::format("[[knob]]\nname = \"k{}\"\nvalues = [\"a\", \"b\"]\n", i);
    use += fmt::format(" {{k{}}}", i);
  }
  text.replace(text.find("{ x }"), 5, use);
  EXPECT_THAT(error_of(text), HasSubstr("at most 1000 are possible"));
}

// Those that come with xenoprof.
TEST(StudyDefinition, BuiltInOnesAreWhole) {
  int found = 0;
  for (const auto& entry : std::filesystem::directory_iterator(XENOPROF_STUDIES)) {
    std::ifstream stream(entry.path());
    const std::string text{std::istreambuf_iterator<char>(stream), {}};
    EXPECT_EQ(error_of(text), "no error") << entry.path();
    ++found;
  }
  EXPECT_EQ(found, 4);
}

}  // namespace
}  // namespace xenoprof::lab
