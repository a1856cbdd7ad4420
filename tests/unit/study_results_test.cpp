// SPDX-License-Identifier: GPL-2.0-or-later
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <array>
#include <fstream>
#include <nlohmann/json.hpp>

#include "study/estimate.h"
#include "study/results.h"
#include "study/statistics.h"
#include "study/summary.h"

namespace xenoprof::lab {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

class Folder {
 public:
  Folder() : path_(fs::temp_directory_path() / fmt::format("study-test-{}", getpid())) {
    fs::create_directories(path_);
  }
  ~Folder() { fs::remove_all(path_); }
  const fs::path& path() const { return path_; }

 private:
  fs::path path_;
};

Run run_of(double work, std::uint64_t taken, std::uint64_t lost) {
  EventCount count{.count = 100, .taken = taken, .lost = lost, .parts = {}};
  count.parts[{"dom0", "kernel"}] = taken - lost - 1;
  count.parts[{"guest1", "user"}] = 1;
  return {.session = "run-1", .work = work, .seconds = 2, .events = {{"instructions", count}}};
}

std::string text_of(const fs::path& file) {
  std::ifstream stream(file);
  return {std::istreambuf_iterator<char>(stream), {}};
}

Study small_study() {
  Study study;
  study.title = "small";
  study.configurations = {{.name = "bare"}, {.name = "guest"}};
  study.workloads = {{.name = "copy", .unit = "MiB"}, {.name = "serve", .unit = "request"}};
  study.events = {{.name = "instructions", .select = "instructions", .count = 100}};
  study.knobs = {{.name = "size", .values = {{"4K", "4096"}}}};
  return study;
}

TEST(RelativeError, IsHalfAStudentIntervalInPartsOfTheMean) {
  // Mean 10, standard deviation 1, t = 4.303 for two degrees of freedom.
  const auto error = relative_error(std::array{9.0, 10.0, 11.0});
  ASSERT_TRUE(error);
  EXPECT_NEAR(*error, 4.303 / std::sqrt(3.0) / 10, 1e-6);
}

TEST(RelativeError, NeedsTwoValuesAndIsNoneOfEqualOnes) {
  EXPECT_FALSE(relative_error(std::array{9.0}));
  EXPECT_EQ(relative_error(std::array{9.0, 9.0}), 0);
  EXPECT_EQ(relative_error(std::array{0.0, 0.0}), 0);
}

TEST(Figure, CountsLostSamplesInTheWholeAndNotInTheParts) {
  const Figure figure = figure_of({run_of(2, 20, 0), run_of(4, 44, 4)}, "instructions");
  EXPECT_EQ(figure.runs, 2U);
  EXPECT_DOUBLE_EQ(figure.per_unit, (20 * 100 / 2.0 + 44 * 100 / 4.0) / 2);
  EXPECT_EQ(figure.samples, 60U);
  EXPECT_EQ(figure.lost, 4U);
  ASSERT_EQ(figure.parts.size(), 2U);
  EXPECT_EQ(figure.parts[0].samples, 58U);
  EXPECT_DOUBLE_EQ(figure.parts[0].per_unit, 58 * 100 / 6.0);
}

TEST(Figure, OfAnEventThatNoRunCountedHasNoRuns) {
  EXPECT_EQ(figure_of({run_of(2, 20, 0)}, "cycles").runs, 0U);
}

TEST(CellFile, IsReadAsItWasWritten) {
  const Folder folder;
  const fs::path file = folder.path() / "cell.json";
  EXPECT_EQ(read_cell(file).value(), std::nullopt);
  CellResult result;
  result.runs = {run_of(2, 20, 3)};
  ASSERT_TRUE(write_cell(result, file));
  const auto read = read_cell(file);
  ASSERT_TRUE(read && *read);
  ASSERT_EQ((*read)->runs.size(), 1U);
  const EventCount& count = (*read)->runs[0].events.at("instructions");
  EXPECT_EQ(count.taken, 20U);
  EXPECT_EQ(count.lost, 3U);
  EXPECT_EQ(count.count, 100U);
  EXPECT_EQ(count.parts.at({"dom0", "kernel"}), 16U);
  EXPECT_EQ((*read)->failure, "");
}

TEST(CellFile, ThatIsDamagedIsAnErrorThatNamesIt) {
  const Folder folder;
  const fs::path file = folder.path() / "cell.json";
  for (const char* text :
       {"", "{\"format\": 1}", "{\"format\": 1, \"failure\": 3, \"runs\": []}"}) {
    std::ofstream(file) << text;
    const auto read = read_cell(file);
    ASSERT_FALSE(read) << text;
    EXPECT_THAT(read.error().message, HasSubstr(file.string()));
  }
}

TEST(Results, HaveEachCellItsFiguresOrWhyThereAreNone) {
  const Folder folder;
  const Study study = small_study();
  const Cell good{.configuration = 0, .workload = 0, .knobs = {{"size", {"4K", "4096"}}}};
  const Cell bad{.configuration = 1, .workload = 1, .knobs = {}};
  CellResult result;
  result.runs = {run_of(2, 20, 0)};
  CellResult failure;
  failure.failure = "no machine";
  ASSERT_TRUE(write_results(study, true, {{good, result}, {bad, failure}}, folder.path()));
  const auto json = nlohmann::json::parse(text_of(folder.path() / "results.json"));
  EXPECT_EQ(json.at("quick"), true);
  const auto& first = json.at("cells").at(0);
  EXPECT_EQ(first.at("knobs").at("size"), "4K");
  EXPECT_EQ(first.at("failure"), nullptr);
  EXPECT_EQ(first.at("units_per_second"), 1);
  EXPECT_EQ(first.at("runs").at(0).at("session"), "cells/bare/copy/size=4K/run-1");
  EXPECT_EQ(first.at("events").at(0).at("per_unit"), 1000);
  EXPECT_EQ(first.at("events").at(0).at("error"), nullptr);
  EXPECT_EQ(json.at("cells").at(1).at("failure"), "no machine");
  EXPECT_THAT(text_of(folder.path() / "results.csv"),
              HasSubstr("bare,copy,4K,MiB,instructions,dom0,kernel,950,"));
}

TEST(Summary, ComparesWithTheFirstConfiguration) {
  const Study study = small_study();
  const Cell base{.configuration = 0, .workload = 0, .knobs = {}};
  const Cell other{.configuration = 1, .workload = 0, .knobs = {}};
  CellResult cheap;
  cheap.runs = {run_of(2, 20, 0), run_of(2, 20, 0)};
  CellResult dear;
  dear.runs = {run_of(2, 50, 0)};
  CellResult failure;
  failure.failure = "no machine";
  const std::string text = summary_of(study, {{base, cheap}, {other, dear}});
  EXPECT_THAT(text, HasSubstr("copy, for each MiB"));
  EXPECT_THAT(text, HasSubstr("1,000 ±0 %"));
  EXPECT_THAT(text, HasSubstr("2,500"));
  EXPECT_THAT(text, HasSubstr("2.50 x"));
  EXPECT_THAT(summary_of(study, {{base, failure}}), HasSubstr("bare  failed: no machine"));
}

TEST(Estimate, TakesWhatIsMostAlike) {
  Estimate estimate;
  const Cell slow_copy{.configuration = 1, .workload = 0, .knobs = {}};
  EXPECT_FALSE(estimate.seconds_for(std::array{slow_copy}, 1));
  const Cell copy{.configuration = 0, .workload = 0, .knobs = {}};
  const Cell serve{.configuration = 0, .workload = 1, .knobs = {}};
  estimate.cell_took(copy, 10);
  estimate.cell_took(serve, 30);
  estimate.boot_took(5);
  EXPECT_DOUBLE_EQ(*estimate.seconds_for(std::array{copy, serve}, 0), 40);
  EXPECT_DOUBLE_EQ(*estimate.seconds_for(std::array{slow_copy}, 2), 10 + 2 * 5);
  const Cell other{.configuration = 0, .workload = 2, .knobs = {}};
  EXPECT_DOUBLE_EQ(*estimate.seconds_for(std::array{other}, 0), 20);
}

}  // namespace
}  // namespace xenoprof::lab
