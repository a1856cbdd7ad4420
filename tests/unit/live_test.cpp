// SPDX-License-Identifier: GPL-2.0-or-later
#include "report/live.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <string>

#include "tests/unit/stacks.h"

namespace xenoprof {
namespace {

constexpr TextStyle kStyle{.width = 100};

SessionProgress progress(double seconds = 10, std::uint64_t scale = 1) {
  auto profile =
      std::make_shared<Profile>(std::vector<Event>{{"instructions", 1000}, {"cycles", 1000}});
  add(*profile, {.calls = {{.image = "/bin/crunch", .symbol = "multiply"}},
                 .samples = 60 * scale,
                 .domain = "guest1",
                 .process = "crunch"});
  add(*profile, {.calls = {{.image = "[kernel]", .symbol = "tcp_recvmsg"}},
                 .samples = 30 * scale,
                 .process = "iperf3",
                 .mode = Mode::kKernel});
  add(*profile, {.calls = {{.image = "[kernel]", .symbol = "tcp_recvmsg"}},
                 .samples = 90 * scale,
                 .process = "iperf3",
                 .mode = Mode::kKernel,
                 .event = 1});
  return {.seconds = seconds,
          .domains = {{.name = "dom0", .role = "initiator", .taken = 130 * scale},
                      {.name = "guest1", .role = "active", .taken = 100 * scale, .lost = 20}},
          .profile = std::move(profile)};
}

class LiveViewTest : public testing::Test {
 protected:
  LiveViewTest() { view_.update(progress()); }

  std::string screen(std::size_t height = 24) { return view_.draw(kStyle, height); }
  void type(std::string_view text) {
    view_.press('f');
    for (const char c : text) {
      view_.press(c);
    }
    view_.press(LiveView::kEnter);
  }
  static bool has(const std::string& text, std::string_view part) {
    return text.find(part) != std::string::npos;
  }
  static bool in_order(const std::string& text, std::string_view one, std::string_view other) {
    const auto first = text.rfind(one);
    return first != std::string::npos && first < text.rfind(other);
  }

  LiveView view_;
};

TEST_F(LiveViewTest, EverySampleIsBelowOrLostOrOnItsWay) {
  EXPECT_TRUE(has(screen(), "230 samples: 180 in the profile, 30 on their way, 20 lost"))
      << screen();
}

TEST_F(LiveViewTest, TheRateIsThatOfTheLastSeconds) {
  for (int second = 11; second <= 20; ++second) {
    view_.update(progress(second, static_cast<std::uint64_t>(second) - 9));
  }
  EXPECT_TRUE(has(screen(), ", 230 a second")) << screen();
}

TEST_F(LiveViewTest, LossesStandOut) {
  EXPECT_TRUE(has(view_.draw({.width = 100, .colour = true}, 24), "\x1b[1m10 s")) << screen();
}

TEST_F(LiveViewTest, ADomainThatIsGoneIsToldOf) {
  auto now = progress();
  now.domains[1].problem = "the domain ended";
  view_.update(now);
  EXPECT_TRUE(has(screen(), "guest1: the domain ended"));
}

TEST_F(LiveViewTest, BeforeTheFirstProfileItSaysThatItWaits) {
  LiveView view;
  EXPECT_TRUE(has(view.draw(kStyle, 24), "Waiting"));
  for (const int key : {int{'s'}, int{'d'}, int{'g'}, int{LiveView::kPageDown}}) {
    view.press(key);
  }
  EXPECT_TRUE(has(view.draw(kStyle, 24), "Waiting"));
}

TEST_F(LiveViewTest, NothingMovesWhilePaused) {
  view_.press('p');
  const std::string before = screen();
  EXPECT_TRUE(has(before, "PAUSED"));
  view_.update(progress(11, 2));
  EXPECT_EQ(screen(), before);
  view_.press('p');
  view_.update(progress(11, 2));
  EXPECT_TRUE(has(screen(), "460 samples"));
}

TEST_F(LiveViewTest, SortsByTheNextEvent) {
  EXPECT_TRUE(in_order(screen(), "multiply", "tcp_recvmsg")) << screen();
  view_.press('s');
  EXPECT_TRUE(in_order(screen(), "tcp_recvmsg", "multiply")) << screen();
  view_.press('s');
  EXPECT_TRUE(in_order(screen(), "multiply", "tcp_recvmsg")) << screen();
}

TEST_F(LiveViewTest, GroupsByProcess) {
  view_.press('g');
  EXPECT_TRUE(has(screen(), "iperf3"));
  EXPECT_FALSE(has(screen(), "tcp_recvmsg"));
}

TEST_F(LiveViewTest, GoesThroughTheDomains) {
  view_.press('d');
  EXPECT_TRUE(has(screen(), "Only domain=dom0"));
  EXPECT_FALSE(has(screen(), "multiply"));
  view_.press('d');
  EXPECT_TRUE(has(screen(), "multiply"));
  EXPECT_FALSE(has(screen(), "tcp_recvmsg"));
  view_.press('d');
  EXPECT_TRUE(has(screen(), "multiply"));
  EXPECT_TRUE(has(screen(), "tcp_recvmsg"));
}

TEST_F(LiveViewTest, AWordLeavesTheRowsThatHaveItAndThePercentages) {
  type("iper");
  EXPECT_FALSE(has(screen(), "multiply"));
  EXPECT_TRUE(has(screen(), "33.3       30  100.0       90  dom0")) << screen();
  type("");
  view_.press('f');
  for (int i = 0; i < 10; ++i) {
    view_.press(LiveView::kBackspace);
  }
  view_.press(LiveView::kEnter);
  EXPECT_TRUE(has(screen(), "multiply"));
}

TEST_F(LiveViewTest, ATermFiltersAsInReport) {
  type("symbol~^tcp");
  EXPECT_FALSE(has(screen(), "multiply"));
  EXPECT_TRUE(has(screen(), "100.0       30  100.0       90  dom0")) << screen();
}

TEST_F(LiveViewTest, AWrongFilterIsToldAndChangesNothing) {
  type("nonsense=1");
  EXPECT_TRUE(has(screen(), "nonsense")) << screen();
  EXPECT_TRUE(has(screen(), "multiply"));
  type("pid=10");
  EXPECT_TRUE(has(screen(), "no pid")) << screen();
  EXPECT_TRUE(has(screen(), "multiply"));
  type("symbol~(");
  EXPECT_TRUE(has(screen(), "multiply"));
  EXPECT_FALSE(has(screen(), "q quit"));
  view_.press(LiveView::kUp);
  EXPECT_TRUE(has(screen(), "q quit"));
}

TEST_F(LiveViewTest, WhileAFilterIsTypedLettersAreNoKeys) {
  view_.press('f');
  view_.press('q');
  EXPECT_FALSE(view_.quits());
  EXPECT_TRUE(has(screen(), "q_"));
  view_.press(LiveView::kEscape);
  EXPECT_TRUE(has(screen(), "multiply"));
  view_.press('q');
  EXPECT_TRUE(view_.quits());
}

TEST_F(LiveViewTest, ScrollsRowsUnderTheirHeading) {
  EXPECT_TRUE(has(screen(), "multiply"));
  view_.press(LiveView::kDown);
  EXPECT_FALSE(has(screen(), "multiply")) << screen();
  EXPECT_TRUE(has(screen(), "Function"));
  view_.press(LiveView::kPageDown);
  EXPECT_TRUE(has(screen(), "tcp_recvmsg")) << "the last row stays";
  view_.press(LiveView::kHome);
  EXPECT_TRUE(has(screen(), "multiply"));
}

TEST_F(LiveViewTest, FillsTheScreenAndNoMore) {
  for (std::size_t height = 1; height < 30; ++height) {
    EXPECT_EQ(std::ranges::count(screen(height), '\n') + 1, static_cast<long>(height));
  }
  EXPECT_TRUE(has(screen(1), "q quit"));
}

TEST_F(LiveViewTest, AllIsDrawnForAFileWithoutKeys) {
  const std::string text = view_.draw_all(kStyle, 1);
  EXPECT_TRUE(has(text, "multiply"));
  EXPECT_FALSE(has(text, "tcp_recvmsg"));
  EXPECT_FALSE(has(text, "quit"));
}

}  // namespace
}  // namespace xenoprof
