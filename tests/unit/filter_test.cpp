// SPDX-License-Identifier: GPL-2.0-or-later
#include "report/filter.h"

#include <gtest/gtest.h>

#include "stacks.h"

namespace xenoprof {
namespace {

std::vector<FilterTerm> parsed(std::string_view text) {
  const auto terms = parse_filter(text);
  EXPECT_TRUE(terms) << text;
  return terms ? *terms : std::vector<FilterTerm>{};
}

TEST(FilterText, IsTermsWithCommasBetween) {
  EXPECT_EQ(parsed("domain=guest1,process!=iperf3,symbol~^tcp_,mode!~er$"),
            (std::vector<FilterTerm>{{Column::kDomain, false, false, "guest1"},
                                     {Column::kProcess, true, false, "iperf3"},
                                     {Column::kSymbol, false, true, "^tcp_"},
                                     {Column::kMode, true, true, "er$"}}));
}

TEST(FilterText, KeepsACommaThatNoTermFollows) {
  EXPECT_EQ(parsed("symbol=f(int, long),mode=user"),
            (std::vector<FilterTerm>{{Column::kSymbol, false, false, "f(int, long)"},
                                     {Column::kMode, false, false, "user"}}));
  EXPECT_EQ(parsed("process=a,b"),
            (std::vector<FilterTerm>{{Column::kProcess, false, false, "a,b"}}));
}

TEST(FilterText, MayAskForNothing) {
  EXPECT_EQ(parsed("domain="), (std::vector<FilterTerm>{{Column::kDomain, false, false, ""}}));
}

TEST(FilterText, NonsenseIsASentence) {
  for (const char* text : {"", "domain", "color=red", "=x", "domain>x"}) {
    const auto terms = parse_filter(text);
    ASSERT_FALSE(terms) << text;
    EXPECT_NE(terms.error().message.find("domain, process, pid"), std::string::npos);
  }
}

// Samples of each process that passes.
std::string passing(const Profile& profile, const std::string& text) {
  const Cells cells(profile);
  auto filter = Filter::make(cells, parsed(text));
  if (!filter) {
    return "error: " + filter.error().message;
  }
  std::string names;
  for (const Sample& sample : profile.samples()) {
    if (filter->passes(sample.key)) {
      names += profile.text(sample.key.process);
    }
  }
  return names;
}

Profile four_processes() {
  Profile profile({{"cycles", 10}});
  add(profile, {.calls = {{"/bin/a", "main"}, {"/bin/a", "f"}}, .process = "A", .pid = 1});
  add(profile, {.calls = {{"/bin/b", "g"}}, .process = "B", .pid = 2, .vcpu = 1});
  add(profile, {.calls = {{"[kernel]", "tcp_send"}},
                .domain = "guest1",
                .process = "C",
                .mode = Mode::kKernel,
                .pid = -1});
  add(profile, {.calls = {{"[xen]", "", 0x40}},
                .domain = "guest1",
                .process = "D",
                .mode = Mode::kHypervisor});
  return profile;
}

TEST(Filter, LooksAtEachColumn) {
  const Profile profile = four_processes();
  EXPECT_EQ(passing(profile, "domain=guest1"), "CD");
  EXPECT_EQ(passing(profile, "process=B"), "B");
  EXPECT_EQ(passing(profile, "image=/bin/b"), "B");
  EXPECT_EQ(passing(profile, "image=b"), "B");
  EXPECT_EQ(passing(profile, "image!=b"), "ACD");
  EXPECT_EQ(passing(profile, "image=in/b"), "");
  EXPECT_EQ(passing(profile, "image~^b$"), "B");
  EXPECT_EQ(passing(profile, "image!~^b$"), "ACD");
  EXPECT_EQ(passing(profile, "pid=-1"), "C");
  EXPECT_EQ(passing(profile, "tid=10"), "ABCD");
  EXPECT_EQ(passing(profile, "image~^/bin"), "AB");
  EXPECT_EQ(passing(profile, "symbol=0x40"), "D");
  EXPECT_EQ(passing(profile, "mode=kernel"), "C");
  EXPECT_EQ(passing(profile, "vcpu=1"), "B");
  EXPECT_EQ(passing(profile, "line=?"), "ABCD");
}

TEST(Filter, LooksAtTheSampledFunctionNotItsCallers) {
  const Profile profile = four_processes();
  EXPECT_EQ(passing(profile, "symbol=f"), "A");
  EXPECT_EQ(passing(profile, "symbol=main"), "");
}

TEST(Filter, TermsOfAColumnAreAlternativesAndColumnsAddUp) {
  const Profile profile = four_processes();
  EXPECT_EQ(passing(profile, "process=A,process=C"), "AC");
  EXPECT_EQ(passing(profile, "process=A,process=C,domain=guest1"), "C");
  EXPECT_EQ(passing(profile, "process!=A,process!=C"), "BD");
  EXPECT_EQ(passing(profile, "process~[ABC],process!=B"), "AC");
}

TEST(Filter, ABadExpressionIsASentence) {
  EXPECT_TRUE(passing(four_processes(), "symbol~(").starts_with("error: --filter: ("));
}

TEST(Filter, AVeryLongNameIsNoProblem) {
  Profile profile({{"cycles", 10}});
  const std::string name(1'000'000, 'x');
  add(profile, {.calls = {{"/bin/a", name.c_str(), 1}}, .process = "A"});
  EXPECT_EQ(passing(profile, "symbol~(x|y)*x$"), "A");
}

}  // namespace
}  // namespace xenoprof
