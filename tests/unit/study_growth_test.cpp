// SPDX-License-Identifier: GPL-2.0-or-later
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "files/new_file.h"
#include "pprof/pprof.h"
#include "report/session_file.h"
#include "stacks.h"
#include "study/growth.h"
#include "study/results.h"
#include "temporary_folder.h"

namespace xenoprof::lab {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;
using Runs = std::vector<Run>;  // a test's own Run() hides the name

struct Hit {
  const char* symbol;
  std::uint64_t samples;
  std::uint64_t address = 0;
};

// A session in `cell`, as `number`th run, with `work` done in it.
Run put_run(const fs::path& cell, int number, double work, Event event,
            const std::vector<Hit>& hits) {
  Profile profile({event});
  EventCount counted{.count = event.count, .taken = 0, .lost = 0, .parts = {}};
  for (const Hit& hit : hits) {
    add(profile,
        {.calls = {{"/bin/a", hit.symbol, hit.address}}, .samples = hit.samples, .mode = {}});
    counted.taken += hit.samples;
  }
  const std::string name = fmt::format("run-{}", number);
  fs::create_directories(cell / name);
  EXPECT_TRUE(write_file(cell / name / kProfileFile, pprof::encode(profile)));
  EXPECT_TRUE(write_file(cell / name / kSessionFile, to_json({})));
  return {.session = name, .work = work, .seconds = 1, .events = {{event.name, counted}}};
}

const std::vector<StudyEvent> kEvents = {{.name = "cycles", .select = "cycles", .count = 0},
                                         {.name = "misses", .select = "misses", .count = 0}};

const GrownFunction* find(const Growth& growth, std::string_view symbol) {
  const auto found = std::ranges::find(growth.functions, symbol, &GrownFunction::symbol);
  return found == growth.functions.end() ? nullptr : &*found;
}

TEST(Growth, IsThatOfAllRunsOfACell) {
  const TemporaryFolder folder;
  const fs::path base = folder.path() / "base";
  const fs::path cell = folder.path() / "cell";
  const Runs before = {
      put_run(base, 1, 10, {"cycles", 100}, {{"f", 100}}),
      put_run(base, 2, 30, {"cycles", 100}, {{"f", 500}}),
      put_run(base, 3, 5, {"misses", 10}, {{"f", 50}}),  // of the second pass
  };
  const Runs after = {
      put_run(cell, 1, 10, {"cycles", 100}, {{"f", 100}, {"g", 1000}}),
      put_run(cell, 2, 10, {"cycles", 100}, {{"f", 100}, {"g", 3000}}),
      put_run(cell, 3, 5, {"misses", 10}, {{"f", 100}}),
  };
  const auto growths = growth_of(kEvents, {before, base}, {after, cell});
  ASSERT_TRUE(growths) << growths.error().message;
  ASSERT_EQ(growths->size(), 2U);
  const Growth& cycles = growths->front();
  EXPECT_DOUBLE_EQ(cycles.base, 600 * 100 / 40.0);
  EXPECT_DOUBLE_EQ(cycles.cost, 4200 * 100 / 20.0);
  const GrownFunction* const g = find(cycles, "g");
  ASSERT_NE(g, nullptr);
  EXPECT_DOUBLE_EQ(g->cost, 4000 * 100 / 20.0);
  EXPECT_TRUE(g->beyond_error);
  EXPECT_EQ(find(cycles, "f"), nullptr);  // cheaper than it was
  EXPECT_DOUBLE_EQ(growths->back().base, 50 * 10 / 5.0);
}

TEST(Growth, OfOneCoarseSampleIsWithinTheError) {
  const TemporaryFolder folder;
  const fs::path base = folder.path() / "base";
  const fs::path cell = folder.path() / "cell";
  std::vector<Hit> many = {{"few", 3}};
  std::vector<std::string> names;
  for (int i = 0; i < 50; ++i)
    names.push_back(fmt::format("f{}", i));
  for (const std::string& name : names)
    many.push_back({name.c_str(), 200});
  const Runs before = {put_run(base, 1, 10, {"misses", 200}, many)};
  const Runs after = {
      put_run(cell, 1, 10, {"misses", 10'000}, {{"few", 1}, {"new", 1}, {"hot", 400}})};
  const auto growths = growth_of(kEvents, {before, base}, {after, cell});
  ASSERT_TRUE(growths) << growths.error().message;
  ASSERT_EQ(growths->size(), 1U);
  for (const char* one : {"few", "new"}) {
    ASSERT_NE(find(growths->front(), one), nullptr) << one;
    EXPECT_FALSE(find(growths->front(), one)->beyond_error) << one;
  }
  EXPECT_TRUE(find(growths->front(), "hot")->beyond_error);
}

TEST(Growth, TakesNamelessCodeOfAnImageTogether) {
  const TemporaryFolder folder;
  const fs::path base = folder.path() / "base";
  const fs::path cell = folder.path() / "cell";
  const Runs before = {put_run(base, 1, 1, {"cycles", 1}, {{"f", 10}})};
  std::vector<Hit> hits = {{"f", 10}};
  for (std::uint64_t i = 1; i <= 40; ++i)
    hits.push_back({"", 1, i});
  const Runs after = {put_run(cell, 1, 1, {"cycles", 1}, hits)};
  const auto growths = growth_of(kEvents, {before, base}, {after, cell});
  ASSERT_TRUE(growths) << growths.error().message;
  const GrownFunction* const nameless = find(growths->front(), "");
  ASSERT_NE(nameless, nullptr);
  EXPECT_EQ(nameless->cost, 40);
  EXPECT_TRUE(nameless->beyond_error);  // none of the forty is
}

Json growths_in(const fs::path& folder, const Study& study, const std::vector<Finished>& cells) {
  EXPECT_TRUE(write_results(study, true, cells, folder));
  std::ifstream stream(folder / "results.json");
  return Json::parse(stream).at("growth");
}

TEST(Growth, IsOverTheFirstConfigurationAndOverTheFirstValueOfAKnobThatAsks) {
  const TemporaryFolder folder;
  Study study;
  study.configurations = {{.name = "bare"}, {.name = "guest"}};
  study.workloads = {{.name = "copy", .unit = "MiB"}};
  study.events = {{.name = "cycles", .select = "cycles", .count = 1}};
  study.knobs = {{.name = "size", .values = {{"1", "1"}, {"2", "2"}}},
                 {.name = "module", .values = {{"off", ""}, {"on", ""}}, .compare = true}};
  std::vector<Finished> cells;
  for (const std::size_t configuration : {0, 1}) {
    for (const KnobValue& size : study.knobs[0].values) {
      for (const KnobValue& module : study.knobs[1].values) {
        const Cell cell{configuration, 0, {{"size", size}, {"module", module}}};
        CellResult result;
        result.runs.push_back(put_run(folder.path() / "cells" / path_of(study, cell), 1, 1,
                                      {"cycles", 1}, {{"f", 10}}));
        cells.push_back({cell, result});
      }
    }
  }
  const Json growths = growths_in(folder.path(), study, cells);
  std::vector<std::string> found;
  for (const Json& growth : growths)
    found.push_back(fmt::format("{}/{}/{} over {}", growth.at("configuration").get<std::string>(),
                                growth.at("knobs").at("size").get<std::string>(),
                                growth.at("knobs").at("module").get<std::string>(),
                                growth.at("over").get<std::string>()));
  EXPECT_EQ(found,
            (std::vector<std::string>{"bare/1/on over module=off", "bare/2/on over module=off",
                                      "guest/1/off over bare", "guest/1/on over bare",
                                      "guest/1/on over module=off", "guest/2/off over bare",
                                      "guest/2/on over bare", "guest/2/on over module=off"}));
}

}  // namespace
}  // namespace xenoprof::lab
