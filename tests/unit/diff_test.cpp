// SPDX-License-Identifier: GPL-2.0-or-later
#include "report/diff.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <random>

#include "model/text.h"
#include "report/sampling_error.h"
#include "report/text_cells.h"
#include "stacks.h"

namespace xenoprof {
namespace {

using Json = nlohmann::json;

TEST(SamplingError, IsWiderForMoreIntervals) {
  // Quantiles of the normal distribution.
  EXPECT_NEAR(confidence_width(1), 1.9600, 1e-4);
  EXPECT_NEAR(confidence_width(10), 2.8070, 1e-4);
  EXPECT_NEAR(confidence_width(1000), 4.0556, 1e-4);
}

TEST(SamplingError, OfFewSamplesIsKnown) {
  // Half of the chi-squared distribution's quantiles, for 2n and 2n + 2 degrees of freedom.
  EXPECT_NEAR(expected_samples(0, 1.96).high, 3.689, 0.03);
  EXPECT_EQ(expected_samples(0, 1.96).low, 0);
  EXPECT_NEAR(expected_samples(10, 1.96).low, 4.795, 0.03);
  EXPECT_NEAR(expected_samples(10, 1.96).high, 18.390, 0.03);
  EXPECT_NEAR(expected_samples(100, 1.96).low, 81.364, 0.03);
  EXPECT_NEAR(expected_samples(100, 1.96).high, 121.627, 0.03);
}

// A finely sampled base that has none leaves hardly any doubt about itself.
TEST(SamplingError, OfOneSampleAmongManyRowsIsAllOfIt) {
  const double width = confidence_width(1000);
  EXPECT_TRUE(difference({0, 1}, {1, 100}, width).holds(0));
  EXPECT_TRUE(difference({3, 1}, {1, 100}, width).holds(0));
  EXPECT_FALSE(difference({3, 1}, {30, 100}, width).holds(0));
}

TEST(SamplingError, OfADifferenceHoldsAsOftenAsItSays) {
  std::mt19937 random(1);
  int held = 0;
  constexpr int kTries = 2000;
  for (int i = 0; i < kTries; ++i) {
    std::poisson_distribution<std::uint64_t> base(40);
    std::poisson_distribution<std::uint64_t> other(30);
    const Interval error = difference({base(random), 1}, {other(random), 2}, 1.96);
    held += error.holds(2 * 30 - 40);
  }
  EXPECT_NEAR(held, 0.95 * kTries, 0.02 * kTries);
}

Json diff_json(const Profile& base, const Profile& other, DiffOptions options = {},
               std::vector<double> work = {1, 1}) {
  options.format = Format::kJson;
  const DiffInput inputs[] = {{.name = "base", .profile = &base, .work = work[0]},
                              {.name = "other", .profile = &other, .work = work[1]}};
  const auto text = diff(inputs, options);
  EXPECT_TRUE(text) << text.error().message;
  return text ? Json::parse(*text) : Json();
}

std::string diff_text(const Profile& base, const Profile& other, const DiffOptions& options = {},
                      std::vector<double> work = {1, 1}) {
  const DiffInput inputs[] = {{.name = "base", .profile = &base, .work = work[0]},
                              {.name = "other", .profile = &other, .work = work[1]}};
  const auto text = diff(inputs, options);
  return text ? *text : "error: " + text.error().message;
}

Profile one_function(std::uint64_t samples, std::uint64_t count = 10) {
  Profile profile({{"cycles", count}});
  add(profile, {.calls = {{"/bin/a", "f"}}, .samples = samples});
  return profile;
}

TEST(Diff, CountsEventsPerWork) {
  // 1000 samples of 10 cycles for 4 units, and 1000 of 20 cycles for 2.
  const Json row =
      diff_json(one_function(1000), one_function(1000, 20), {.unit = "MiB"}, {4, 2})["rows"][0];
  EXPECT_EQ(row["symbol"], "f");
  EXPECT_EQ(row["cost"], Json::parse("[2500, 10000]"));
  EXPECT_EQ(row["growth"], Json::parse("[7500]"));
  EXPECT_EQ(row["ratio"], Json::parse("[4]"));
  EXPECT_EQ(row["share"], Json::parse("[1]"));
  EXPECT_EQ(row["beyond_error"], Json::parse("[true]"));
  EXPECT_LT(row["low"][0], 7500);
  EXPECT_GT(row["high"][0], 7500);
}

TEST(Diff, OfSamplesByFrequencyAndByCountIsRefused) {
  EXPECT_NE(diff_text(one_function(1000, 0), one_function(1000)).find("not the same thing"),
            std::string::npos);
  EXPECT_NE(diff_text(one_function(1000, 0), one_function(1000, 0)).find("the same -F"),
            std::string::npos);
}

TEST(Diff, OfADomainThatNoneHasIsRefused) {
  EXPECT_NE(diff_text(one_function(1), one_function(1),
                      {.filter = {{.column = Column::kDomain, .text = "typo"}}})
                .find("no domain typo"),
            std::string::npos);
}

TEST(Diff, OfAProfileWithItselfIsNothing) {
  const Profile profile = one_function(1000);
  const Json json = diff_json(profile, profile);
  for (const Json& row : json["rows"]) {
    EXPECT_EQ(row["growth"][0], 0);
    EXPECT_EQ(row["beyond_error"][0], false);
  }
  EXPECT_NE(diff_text(profile, profile).find("No row differs by more than its sampling error."),
            std::string::npos);
}

// The samples of 2,000 functions, of which the first are the hottest.
struct Halves {
  Profile one{std::vector<Event>{{"cycles", 10}}};
  Profile other{std::vector<Event>{{"cycles", 10}}};
};
Halves split_at_random(unsigned seed) {
  Halves halves;
  std::mt19937 random(seed);
  for (int function = 0; function < 2000; ++function) {
    const std::string name = "f" + std::to_string(function);
    for (int i = 0; i < 20'000 / (1 + function); ++i) {
      add((random() & 1) != 0 ? halves.one : halves.other,
          {.calls = {{"/bin/a", name.c_str(), 1u + static_cast<unsigned>(function)}}});
    }
  }
  return halves;
}

TEST(Diff, OfTwoHalvesOfAProfileIsWithinSamplingError) {
  for (const unsigned seed : {1u, 2u, 3u}) {
    const Halves halves = split_at_random(seed);
    const Json json = diff_json(halves.one, halves.other);
    for (const Json& row : json["rows"]) {
      EXPECT_EQ(row["beyond_error"][0], false) << row;
    }
  }
}

TEST(Diff, FindsWhatGrewAmongTheNoise) {
  Halves halves = split_at_random(4);
  add(halves.other, {.calls = {{"/bin/a", "f100", 101}}, .samples = 200});
  const Json rows = diff_json(halves.one, halves.other)["rows"];
  std::vector<std::string> beyond;
  for (const Json& row : rows) {
    if (row["beyond_error"][0]) {
      beyond.push_back(row["symbol"]);
    }
  }
  EXPECT_EQ(beyond, std::vector<std::string>{"f100"});
}

TEST(Diff, SaysWhatIsNewAndWhatIsGone) {
  Profile base({{"cycles", 10}});
  add(base, {.calls = {{"/bin/a", "before"}}, .samples = 500});
  Profile other({{"cycles", 10}});
  add(other, {.calls = {{"/bin/a", "after"}}, .samples = 900});
  const Json rows = diff_json(base, other)["rows"];
  EXPECT_EQ(rows[0]["symbol"], "after");
  EXPECT_EQ(rows[0]["ratio"][0], nullptr);
  EXPECT_EQ(rows[1]["symbol"], "before");
  EXPECT_EQ(rows[1]["ratio"][0], 0);
  const std::string text = diff_text(base, other);
  EXPECT_NE(text.find("  new  "), std::string::npos) << text;
  EXPECT_NE(text.find("  gone  "), std::string::npos) << text;
}

TEST(Diff, SharesAddUpToAll) {
  Profile base({{"cycles", 10}});
  Profile other({{"cycles", 10}});
  for (const char* name : {"a", "b", "c"}) {
    add(base, {.calls = {{"/bin/a", name}}, .samples = 100});
    add(other, {.calls = {{"/bin/a", name}}, .samples = name[0] == 'a' ? 900u : 200u});
  }
  double sum = 0;
  const Json json = diff_json(base, other);
  for (const Json& row : json["rows"]) {
    sum += row["share"][0].get<double>();
  }
  EXPECT_NEAR(sum, 1, 1e-9);
}

TEST(Diff, ComparesTheEventsThatBothHave) {
  Profile base({{"cycles", 10}, {"misses", 1}});
  add(base, {.calls = {{}}});
  Profile other({{"branches", 5}, {"cycles", 20}});
  add(other, {.calls = {{}}, .event = 1});
  EXPECT_EQ(diff_json(base, other)["totals"].size(), 1u);
  EXPECT_EQ(diff_json(base, other)["totals"][0]["cost"], Json::parse("[10, 20]"));
  EXPECT_EQ(diff_text(base, other, {.events = {"misses"}}),
            "error: Not all of the profiles have the event misses.");
  EXPECT_EQ(diff_text(base, Profile({{"loads", 1}})),
            "error: The profiles share no event: base has cycles, misses; other has loads.");
}

TEST(Diff, FitsTheTerminal) {
  const Halves halves = split_at_random(5);
  for (const std::size_t width : {80u, 120u, 200u}) {
    const std::string text =
        diff_text(halves.one, halves.other, {.top = 5, .style = {.width = width}});
    for (std::size_t at = 0; at < text.size();) {
      const std::size_t end = text.find('\n', at);
      EXPECT_LE(width_of(text.substr(at, end - at)), width) << text.substr(at, end - at);
      at = end + 1;
    }
  }
}

TEST(Diff, SaysWhatItIsPerAndWhatIsNotKnown) {
  const std::string text = diff_text(one_function(10), one_function(20),
                                     {.unit = "MiB", .style = {.width = 200}}, {1, 2});
  EXPECT_NE(text.find("Base:  base, 1 MiB\nOther: other, 2 MiB\n"), std::string::npos) << text;
  EXPECT_NE(text.find("cycles per MiB\n"), std::string::npos);
  EXPECT_NE(text.find("What base lost is known only if a note says it."), std::string::npos);
  EXPECT_NE(diff_text(one_function(1), one_function(1)).find("Costs are those of the whole"),
            std::string::npos);
}

// What one of them lacks would look like a difference.
TEST(Diff, ShowsTheNotesOfItsSessions) {
  Profile profile({{"cycles", 10}});
  add(profile, {.calls = {{}}, .samples = 100});
  const SessionRecord session{.notes = {"Cycles had a counter 60 % of the time."}, .domains = {}};
  const DiffInput inputs[] = {{.name = "base", .profile = &profile},
                              {.name = "other", .profile = &profile, .session = &session}};
  const auto text = diff(inputs, {});
  ASSERT_TRUE(text) << text.error().message;
  EXPECT_NE(text->find("other: Cycles had a counter 60 % of the time."), std::string::npos)
      << *text;
}

TEST(Diff, OfThreeProfilesHasOneBase) {
  const Profile profiles[] = {one_function(1000), one_function(2000), one_function(4000)};
  const DiffInput inputs[] = {{.name = "a", .profile = &profiles[0]},
                              {.name = "b", .profile = &profiles[1]},
                              {.name = "c", .profile = &profiles[2]}};
  const auto csv = diff(inputs, {.columns = {Column::kSymbol}, .format = Format::kCsv});
  ASSERT_TRUE(csv);
  EXPECT_TRUE(
      csv->starts_with("event,symbol,samples0,cost0,samples1,cost1,samples2,cost2,growth1,"
                       "low1,high1,ratio1,share1,growth2,low2,high2,ratio2,share2\n"
                       "cycles,f,1000,10000,2000,20000,4000,40000,10000,"))
      << *csv;
}

TEST(Scaled, HasThreeDigitsAndAPrefix) {
  EXPECT_EQ(scaled(0), "0");
  EXPECT_EQ(scaled(1), "1.00");
  EXPECT_EQ(scaled(-12.34), "-12.3");
  EXPECT_EQ(scaled(999.4), "999");
  EXPECT_EQ(scaled(999.6), "1.00 k");
  EXPECT_EQ(scaled(1234567), "1.23 M");
  EXPECT_EQ(scaled(0.001234), "0.00123");
}

}  // namespace
}  // namespace xenoprof
