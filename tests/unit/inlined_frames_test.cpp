// SPDX-License-Identifier: GPL-2.0-or-later
// Functions that were inlined, shown as if they had been called.
#include "report/inlined_frames.h"

#include <gtest/gtest.h>

#include <sstream>

#include "report/export.h"
#include "report/report.h"

namespace xenoprof {
namespace {

struct Place {
  const char* symbol;
  std::vector<const char*> inlined;  // innermost first
  std::uint64_t address;
};

class InlinedFrames : public testing::Test {
 protected:
  LocationId location(const Place& place) {
    std::vector<Line> lines;
    std::uint32_t number = 10;
    for (const char* function : place.inlined) {
      lines.push_back({profile_.intern(function), profile_.intern("/src/a.c"), number++});
    }
    lines.push_back({profile_.intern(place.symbol), profile_.intern("/src/a.c"), number});
    return profile_.add_location(profile_.add_image("/bin/a", "01"), place.address,
                                 profile_.intern(place.symbol), profile_.intern(lines));
  }
  void add(const std::vector<LocationId>& leaf_first, std::uint64_t samples) {
    profile_.add({.domain = profile_.intern("dom0"),
                  .process = profile_.intern("a"),
                  .stack = profile_.add_stack(leaf_first)},
                 0, samples);
  }
  std::string folded() const {
    const Profile shown = with_inlined_frames(profile_);
    const Cells cells(shown);
    auto filter = Filter::make(cells, {});
    std::ostringstream out;
    write_folded(NamedStacks(shown, cells, *filter), 0, out);
    return out.str();
  }

  Profile profile_{{{"cycles", 10}}};
};

TEST_F(InlinedFrames, StandInTheStackWhereTheyWereInlined) {
  const LocationId main = location({"main", {"run"}, 1});
  add({location({"work", {"inner", "outer"}, 2}), main}, 3);
  add({location({"work", {}, 3}), main}, 4);
  EXPECT_EQ(folded(),
            "dom0;a;main;run (inlined);work 4\n"
            "dom0;a;main;run (inlined);work;outer (inlined);inner (inlined) 3\n");
}

TEST_F(InlinedFrames, TakeTheSamplesOfTheInnermostOneAlone) {
  add({location({"work", {"inner"}, 2})}, 3);
  add({location({"work", {}, 3})}, 4);
  const auto text = report(with_inlined_frames(profile_), nullptr,
                           {.columns = {Column::kSymbol, Column::kLine}, .format = Format::kCsv});
  ASSERT_TRUE(text) << text.error().message;
  EXPECT_EQ(*text,
            "symbol,line,cycles\n"
            "work,/src/a.c:10,4\n"
            "inner (inlined),/src/a.c:10,3\n");
}

TEST_F(InlinedFrames, GiveEachCallerTheLineOfItsCall) {
  const Profile shown = [&] {
    add({location({"work", {"inner", "outer"}, 2})}, 3);
    return with_inlined_frames(profile_);
  }();
  std::string lines;
  for (const LocationId id : shown.stack(shown.samples()[0])) {
    const Location& one = shown.locations()[id];
    ASSERT_EQ(shown.lines(one).size(), 1u);
    lines +=
        std::string(shown.text(one.symbol)) + ":" + std::to_string(shown.lines(one)[0].line) + " ";
  }
  EXPECT_EQ(lines, "inner (inlined):10 outer (inlined):11 work:12 ");
}

TEST_F(InlinedFrames, AreFoundByTheirNameAsCalledFunctionsAre) {
  add({location({"work", {"inner"}, 2})}, 3);
  add({location({"inner", {}, 5})}, 4);
  ReportOptions options{.function = AskedFunction{"inner", Direction::kCallers},
                        .format = Format::kCsv};
  const auto text = report(with_inlined_frames(profile_), nullptr, options);
  ASSERT_TRUE(text) << text.error().message;
  EXPECT_NE(text->find("\n0,/bin/a,inner,4,4\n"), std::string::npos) << *text;
  EXPECT_NE(text->find("\n0,/bin/a,inner (inlined),0,3\n"), std::string::npos) << *text;
  EXPECT_NE(text->find("\n1,/bin/a,work,3,3\n"), std::string::npos) << *text;
}

TEST_F(InlinedFrames, LeaveOutFunctionsWithoutAName) {
  add({location({"work", {"", "outer"}, 2})}, 3);
  EXPECT_EQ(folded(), "dom0;a;work;outer (inlined) 3\n");
}

}  // namespace
}  // namespace xenoprof
