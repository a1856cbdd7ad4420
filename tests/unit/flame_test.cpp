// SPDX-License-Identifier: GPL-2.0-or-later
#include "report/flame.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <numeric>

#include "report/flame_tree.h"

namespace xenoprof {
namespace {

using Json = nlohmann::json;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr std::uint64_t kKernel = 0xffffffff81000000;
constexpr std::uint64_t kXen = 0xffff82d040200000;

struct Place {
  std::string image;
  std::string symbol;
  std::uint64_t address = 0x1000;
};

struct Fall {
  std::string domain = "dom0";
  std::string process = "bash";
  std::vector<Place> leaf_first = {{"/bin/bash", "main"}};
  Mode mode = Mode::kUser;
};

void add(Profile& profile, const Fall& fall, std::uint64_t samples, std::size_t event = 0) {
  SampleKey key;
  key.domain = profile.intern(fall.domain);
  key.process = profile.intern(fall.process);
  key.mode = fall.mode;
  std::vector<LocationId> stack;
  for (const Place& place : fall.leaf_first) {
    stack.push_back(profile.add_location(profile.add_image(place.image, ""), place.address,
                                         profile.intern(place.symbol)));
  }
  key.stack = profile.add_stack(stack);
  profile.add(key, event, samples);
}

NamedStacks stacks_of(const Profile& profile) {
  const Cells cells(profile);
  auto filter = Filter::make(cells, {});
  return NamedStacks(profile, cells, *filter);
}

Flame flame_of(const Profile& profile, std::size_t most = 1000) {
  FlameTree tree(profile.events().size());
  std::vector<std::optional<std::size_t>> weight_of(profile.events().size());
  for (std::size_t event = 0; event < weight_of.size(); ++event) {
    weight_of[event] = event;
  }
  tree.add(stacks_of(profile), weight_of);
  return tree.flame(most);
}

// A line a node: indented by depth, the name, the samples of the first weight.
std::vector<std::string> lines_of(const Flame& flame) {
  const std::size_t weights = flame.samples.size() / flame.depth_of.size();
  std::vector<std::string> lines;
  for (std::size_t node = 0; node < flame.depth_of.size(); ++node) {
    lines.push_back(std::string(flame.depth_of[node], ' ') +
                    flame.frames[flame.frame_of[node]].name + " " +
                    std::to_string(flame.samples[node * weights]));
  }
  return lines;
}

TEST(FlameTree, StandsTheHypervisorOnTheGuestCodeThatEnteredIt) {
  Profile profile({{"cycles", 1}});
  const Place xen{"[xen]", "gnttab_copy", kXen};
  const Place kernel{"[kernel]", "xen_hypercall", kKernel};
  const Place user{"/bin/bash", "main"};
  add(profile, {.leaf_first = {xen, kernel, user}, .mode = Mode::kHypervisor}, 3);
  add(profile, {.leaf_first = {kernel, user}, .mode = Mode::kKernel}, 4);
  const Flame flame = flame_of(profile);
  EXPECT_THAT(lines_of(flame), ElementsAre("all 7", " dom0 7", "  bash 7", "   main 7",
                                           "    xen_hypercall 7", "     gnttab_copy 3"));
  std::vector<FrameKind> kinds;
  for (const std::uint32_t frame : flame.frame_of) {
    kinds.push_back(flame.frames[frame].kind);
  }
  EXPECT_THAT(kinds, ElementsAre(FrameKind::kAll, FrameKind::kDomain, FrameKind::kProcess,
                                 FrameKind::kUser, FrameKind::kKernel, FrameKind::kHypervisor));
}

TEST(FlameTree, ShowsAHostsWorkForAGuestAsTheHypervisors) {
  Profile profile({{"cycles", 1}});
  const Place kvm{"[kvm]", "vcpu_run", kKernel};
  const Place qemu{"/bin/qemu", "main"};
  add(profile, {.leaf_first = {kvm, qemu}, .mode = Mode::kHypervisor}, 3);
  add(profile, {.leaf_first = {kvm, qemu}, .mode = Mode::kKernel}, 4);
  const Flame flame = flame_of(profile);
  EXPECT_THAT(lines_of(flame), ElementsAre("all 7", " dom0 7", "  bash 7", "   main 4",
                                           "    vcpu_run 4", "   main 3", "    vcpu_run 3"));
  std::vector<FrameKind> kinds;
  for (std::size_t node = 3; node < flame.frame_of.size(); ++node) {
    kinds.push_back(flame.frames[flame.frame_of[node]].kind);
  }
  EXPECT_THAT(kinds, ElementsAre(FrameKind::kUser, FrameKind::kKernel, FrameKind::kHypervisor,
                                 FrameKind::kHypervisor));
}

TEST(FlameTree, AddsUpWhatHasTheSameName) {
  Profile profile({{"cycles", 1}});
  add(profile, {.leaf_first = {{"/bin/bash", "main", 0x10}}}, 1);
  add(profile, {.leaf_first = {{"/bin/bash", "main", 0x20}}}, 2);
  add(profile, {.leaf_first = {{"/lib/other.so", "main", 0x20}}}, 4);
  EXPECT_THAT(lines_of(flame_of(profile)),
              ElementsAre("all 7", " dom0 7", "  bash 7", "   main 4", "   main 3"));
}

TEST(FlameTree, IsOneFrameOfAnImageWithoutSymbols) {
  Profile profile({{"cycles", 1}});
  add(profile, {.leaf_first = {{"/lib/stripped.so", "", 0x10}}}, 1);
  add(profile, {.leaf_first = {{"/lib/stripped.so", "", 0x20}}}, 2);
  EXPECT_THAT(lines_of(flame_of(profile)),
              ElementsAre("all 3", " dom0 3", "  bash 3", "   stripped.so (no symbol) 3"));
}

TEST(FlameTree, HasNoDomainsWhereNoneHasAName) {
  Profile profile({{"cycles", 1}});
  add(profile, {.domain = ""}, 5);
  EXPECT_THAT(lines_of(flame_of(profile)), ElementsAre("all 5", " bash 5", "  main 5"));
}

TEST(FlameTree, LosesNothingToWhatItHides) {
  Profile profile({{"cycles", 1}});
  for (std::uint64_t i = 1; i <= 100; ++i) {
    add(profile, {.leaf_first = {{"/bin/bash", "f" + std::to_string(i)}, {"/bin/bash", "main"}}},
        i);
  }
  const Flame flame = flame_of(profile, 7);
  EXPECT_THAT(lines_of(flame),
              ElementsAre("all 5050", " dom0 5050", "  bash 5050", "   main 5050", "    f100 100",
                          "    f99 99", "    f98 98", "    (smaller) 4753"));
  EXPECT_EQ(flame.hidden, 97u);
  EXPECT_DOUBLE_EQ(flame.hidden_share, 97.0 / 5050);
}

TEST(FlameTree, ShowsWhatIsLargeInAnyEvent) {
  Profile profile({{"cycles", 1}, {"dtlb-misses", 1}});
  for (std::uint64_t i = 1; i <= 100; ++i) {
    add(profile, {.leaf_first = {{"/bin/bash", "f" + std::to_string(i)}}}, i);
  }
  add(profile, {.leaf_first = {{"/bin/bash", "misses"}}}, 1, 1);
  EXPECT_THAT(lines_of(flame_of(profile, 4)), ElementsAre("all 5050", " dom0 5050", "  bash 5050",
                                                          "   misses 0", "   (smaller) 5050"));
}

TEST(FlameTree, EndsHowDeepARecursionEverWent) {
  Profile profile({{"cycles", 1}});
  const std::vector<Place> recursion(2000, {"/bin/bash", "walk"});
  add(profile, {.leaf_first = recursion}, 5);
  const Flame flame = flame_of(profile);
  EXPECT_EQ(flame.depth_of.back(), 501u);
  EXPECT_EQ(lines_of(flame).back(), std::string(501, ' ') + "(deeper) 5");
}

Json data_of(const Result<std::string>& page) {
  constexpr std::string_view kBegin = "<script type=\"application/json\" id=\"profile\">";
  const std::size_t begin = page->find(kBegin) + kBegin.size();
  return Json::parse(page->substr(begin, page->find("</script>", begin) - begin));
}

Json data_of(Profile profile) {
  const Recorded recorded{std::move(profile), {}, {}};
  return data_of(flame({"here", recorded}, nullptr));
}

std::size_t count(std::string_view text, std::string_view part) {
  std::size_t found = 0;
  for (std::size_t at = 0; (at = text.find(part, at)) != std::string_view::npos; ++at) {
    ++found;
  }
  return found;
}

TEST(FlamePage, LetsNoNameOutOfItsData) {
  const std::string evil = "</script><script>alert(1)</script><!--\xff\x1b\u2028";
  Profile profile({{evil, 1}});
  add(profile, {.domain = evil, .process = evil, .leaf_first = {{evil, evil}}}, 1);
  Recorded recorded{std::move(profile), SessionRecord(), {evil}};
  recorded.session->machine = evil;
  recorded.session->started = evil;
  recorded.session->domains = {{.name = evil, .role = evil}};
  const auto page = flame({evil, recorded}, nullptr);
  const Recorded harmless{Profile(), {}, {}};
  const auto other = flame({"here", harmless}, nullptr);
  EXPECT_EQ(count(*page, "<"), count(*other, "<"));
  EXPECT_EQ(data_of(page)["texts"][0], "</script><script>alert(1)</script><!--??\u2028");
}

TEST(FlamePage, HasTheNumbersOfTheProfile) {
  Profile profile({{"cycles", 1000}, {"dtlb-misses", 5}});
  add(profile, {}, 7, 0);
  add(profile,
      {.domain = "guest1", .leaf_first = {{"[xen]", "do_it", kXen}}, .mode = Mode::kHypervisor}, 3,
      0);
  add(profile, {}, 2, 1);
  const Json data = data_of(std::move(profile));
  EXPECT_EQ(data["events"], Json::parse(R"([{"name": "cycles", "count": 1000},
                                            {"name": "dtlb-misses", "count": 5}])"));
  EXPECT_EQ(data["table"]["totals"], Json({10, 2}));
  EXPECT_EQ(data["tree"]["samples"], Json({{10, 7, 7, 7, 3, 3, 3}, {2, 2, 2, 2, 0, 0, 0}}));
  ASSERT_EQ(data["domains"].size(), 2u);
  // Hypervisor, kernel, user; each by event.
  EXPECT_EQ(data["domains"][0]["modes"], Json({{0, 0}, {0, 0}, {7, 2}}));
  EXPECT_EQ(data["domains"][1]["modes"], Json({{3, 0}, {0, 0}, {0, 0}}));
}

TEST(FlamePage, HoldsOnlyWhatPassesTheFilter) {
  Profile profile({{"cycles", 1}});
  add(profile, {}, 7);
  add(profile, {.domain = "guest1"}, 3);
  const Recorded recorded{std::move(profile), {}, {}};
  const Json data =
      data_of(flame({"here", recorded}, nullptr, {{.column = Column::kDomain, .text = "guest1"}}));
  EXPECT_EQ(data["table"]["totals"], Json({3}));
  EXPECT_EQ(data["tree"]["samples"][0][0], 3);
}

TEST(FlamePage, SaysWhatOneProfileAloneHas) {
  Profile shown({{"cycles", 1}, {"instructions", 1}});
  Profile base({{"branches", 1}, {"cycles", 4}});
  add(shown, {}, 7, 0);
  add(base, {}, 5, 1);
  add(base, {.process = "gone"}, 6, 1);
  const Recorded one{std::move(shown), {}, {}};
  const Recorded other{std::move(base), {}, {}};
  const FlameSource before{"before", other};
  const Json data = data_of(flame({"after", one}, &before));
  EXPECT_EQ(data["events"], Json::parse(R"([{"name": "cycles", "count": 1, "baseCount": 4}])"));
  EXPECT_EQ(data["leftOut"], Json({"instructions", "branches"}));
  EXPECT_EQ(data["table"]["totals"], Json({7, 11}));
  EXPECT_EQ(data["tree"]["samples"][0][0], 7);
  EXPECT_EQ(data["tree"]["samples"][1][0], 11);
}

TEST(FlamePage, ComparesNothingWithoutAnEventInCommon) {
  const Recorded one{Profile({{"cycles", 1}}), {}, {}};
  const Recorded other{Profile({{"branches", 1}}), {}, {}};
  const FlameSource before{"before", other};
  const auto page = flame({"after", one}, &before);
  ASSERT_FALSE(page);
  EXPECT_THAT(page.error().message, HasSubstr("before and after have no event in common"));
}

}  // namespace
}  // namespace xenoprof
