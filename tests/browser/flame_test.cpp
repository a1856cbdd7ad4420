// SPDX-License-Identifier: GPL-2.0-or-later
// The flame graph's page in a real browser, used as a person would.
#include "report/flame.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

#include "../unit/stacks.h"
#include "browser.h"

namespace xenoprof {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

constexpr std::uint64_t kKernel = 0xffffffff81000000;
constexpr std::uint64_t kXen = 0xffff82d040200000;

const Call kMain{"/usr/bin/compute", "main", 0x1000};
const Call kMultiply{"/usr/bin/compute", "multiply", 0x2000};
const Call kSend{"/usr/bin/iperf3", "send_all", 0x3000};
const Call kTcp{"[kernel]", "tcp_sendmsg", kKernel};
const Call kGrant{"[xen]", "gnttab_copy", kXen};

// As many samples of each event.
void add(Profile& profile, StackSample one, const std::vector<std::uint64_t>& samples) {
  for (one.event = 0; one.event < samples.size(); ++one.event) {
    one.samples = samples[one.event];
    add(profile, one);
  }
}

// 1,000 instructions: 600 of guest2's user code, 300 of dom0's kernel, 100 of Xen for dom0.
// 400 misses: 100 of guest2, 300 of Xen.
Recorded small_session() {
  Profile profile({{"instructions", 1'000'000}, {"dtlb-misses", 5'000}});
  add(profile, {.calls = {kMain, kMultiply}, .domain = "guest2", .process = "compute"}, {600, 100});
  add(profile, {.calls = {kSend, kTcp}, .process = "iperf3", .mode = Mode::kKernel}, {300, 0});
  add(profile, {.calls = {kSend, kTcp, kGrant}, .process = "iperf3", .mode = Mode::kHypervisor},
      {100, 300});
  Recorded recorded{std::move(profile), SessionRecord(), {}};
  recorded.session->started = "2026-02-03T10:20:30+00:00";
  recorded.session->seconds = 10;
  recorded.session->domains = {
      {.name = "dom0", .role = "initiator", .events = {{"instructions", 1'000'000, 400, 400}}},
      {.name = "guest2",
       .role = "active",
       .events = {{"instructions", 1'000'000, 609, 600, {{"hypervisor-buffer", 9}}}}}};
  return recorded;
}

class FlamePage : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    browser = std::make_unique<Browser>(1400, 900);
    folder = std::filesystem::path(XENOPROF_BUILD) / "browser";
    std::filesystem::create_directories(folder);
  }
  static void TearDownTestSuite() { browser.reset(); }

  void TearDown() override {
    // To be looked at: a picture tells more of a page than what a program can ask it.
    browser->save_screenshot(folder / (name() + ".png"));
    EXPECT_THAT(browser->complaints(), IsEmpty());
  }

  static std::string name() {
    return ::testing::UnitTest::GetInstance()->current_test_info()->name();
  }

  void show(const Recorded& recorded, const std::string& fragment = {},
            const Recorded* base = nullptr) {
    const auto page = [&] {
      if (base == nullptr) {
        return flame({"here", recorded}, nullptr);
      }
      const FlameSource other{"before", *base};
      return flame({"after", recorded}, &other);
    }();
    ASSERT_TRUE(page) << page.error().message;
    file_ = folder / (name() + ".html");
    std::ofstream(file_, std::ios::binary) << *page;
    browser->open(file_, fragment);
  }

  // The boxes as "name width", from the root up, in percent of the picture's width.
  std::vector<std::string> boxes() {
    return browser->value(R"([...document.querySelectorAll('.box')]
        .sort((one, other) => parseFloat(one.style.bottom) - parseFloat(other.style.bottom)
          || parseFloat(one.style.left) - parseFloat(other.style.left))
        .map(box => `${box.textContent} ${Math.round(parseFloat(box.style.width))}`))");
  }

  std::string box(const std::string& text) {
    const auto id =
        browser->value("([...document.querySelectorAll('.box')].find(box => box.textContent === '" +
                       text + "') || {id: ''}).id");
    return "#" + id.get<std::string>();
  }

  void press(const std::string& selector, const std::string& text) {
    const auto found = browser->value("[...document.querySelectorAll('" + selector +
                                      "')].findIndex(one => one.textContent === '" + text + "')");
    browser->click(selector + ":nth-of-type(" + std::to_string(found.get<int>() + 1) + ")");
  }

  static inline std::unique_ptr<Browser> browser;
  static inline std::filesystem::path folder;
  std::filesystem::path file_;
};

TEST_F(FlamePage, StandsOnTheRootWithTheHypervisorOnTop) {
  show(small_session());
  EXPECT_THAT(boxes(), ElementsAre("all 100", "dom0 40", "guest2 60", "iperf3 40", "compute 60",
                                   "send_all 40", "main 60", "tcp_sendmsg 40", "multiply 60",
                                   "gnttab_copy 10"));
}

TEST_F(FlamePage, SaysWhenItWasRecordedAndWhatWasLost) {
  show(small_session());
  EXPECT_THAT(browser->text("#sources"), HasSubstr("Recorded 2026-02-03 10:20:30 for 10.0 s"));
  EXPECT_THAT(browser->text("#sources .lossy"), HasSubstr("Lost 9 of 609 samples (1.5 %)"));
}

TEST_F(FlamePage, NeedsNothingBesideItself) {
  show(small_session());
  EXPECT_EQ(browser->value("performance.getEntriesByType('resource').length"), 0);
}

TEST_F(FlamePage, SwitchesTheEvent) {
  show(small_session());
  press("#events button", "dtlb-misses");
  EXPECT_THAT(boxes(), ElementsAre("all 100", "dom0 75", "guest2 25", "iperf3 75", "compute 25",
                                   "send_all 75", "main 25", "tcp_sendmsg 75", "multiply 25",
                                   "gnttab_copy 75"));
  EXPECT_EQ(browser->text("#domains-title"), "Domains and modes: dtlb-misses");
  EXPECT_THAT(browser->text("#table tbody tr:first-child"), HasSubstr("gnttab_copy"));
}

TEST_F(FlamePage, ZoomsAndFindsItsWayBack) {
  show(small_session());
  browser->click(box("tcp_sendmsg"));
  EXPECT_THAT(boxes(), ElementsAre("all 100", "dom0 100", "iperf3 100", "send_all 100",
                                   "tcp_sendmsg 100", "gnttab_copy 25"));
  browser->back();
  EXPECT_EQ(boxes().size(), 10u);
  browser->click(box("compute"));
  EXPECT_EQ(boxes().size(), 5u);
  browser->click("#reset");
  EXPECT_EQ(boxes().size(), 10u);
}

TEST_F(FlamePage, SearchesAndAddsUpWhatMatches) {
  show(small_session());
  // gnttab_copy is on tcp_sendmsg: it must not be counted twice.
  browser->type("/");
  browser->type("T");
  EXPECT_THAT(browser->text("#matched"), HasSubstr("100.0 % matched"));
  browser->type("cp_");
  EXPECT_EQ(browser->text("#matched"), "40.0 % matched: 1 name");
  EXPECT_EQ(browser->value("document.querySelectorAll('.box.match').length"), 1);
  browser->type("nothing");
  EXPECT_EQ(browser->text("#matched"), "nothing matches");
  browser->type(kEscape);
  EXPECT_EQ(browser->text("#matched"), "");
}

TEST_F(FlamePage, LeavesOutADomain) {
  show(small_session());
  browser->click("#domains .domain:nth-child(2) input");
  EXPECT_THAT(boxes(), ElementsAre("all 100", "dom0 100", "iperf3 100", "send_all 100",
                                   "tcp_sendmsg 100", "gnttab_copy 25"));
  EXPECT_THAT(browser->text("#table tbody"), Not(HasSubstr("multiply")));
}

TEST_F(FlamePage, TellsExactCounts) {
  show(small_session());
  browser->point_at(box("tcp_sendmsg"));
  const std::string tip = browser->text("#tip");
  EXPECT_THAT(tip, HasSubstr("[kernel] \u00b7 kernel"));
  // 400 of 1,000, of which 300 in itself, and 1.96 * sqrt(0.4 * 0.6 / 1000).
  EXPECT_THAT(tip, HasSubstr("instructions 400 40.0 % \u00b13.0 300"));
  EXPECT_THAT(tip, HasSubstr("dtlb-misses 300 75.0 % \u00b14.2 0"));
}

TEST_F(FlamePage, IsWalkedWithTheArrowKeys) {
  show(small_session());
  browser->value("document.getElementById('flame').focus()");
  for (int i = 0; i < 3; ++i) {
    browser->type(kUp);
  }
  EXPECT_EQ(browser->text(".box.chosen"), "iperf3");
  browser->type(kEnter);
  EXPECT_EQ(boxes().size(), 6u);
}

TEST_F(FlamePage, OpensWhereItsAddressSays) {
  show(small_session(), "event=dtlb-misses&search=gnttab&without=guest2");
  EXPECT_EQ(browser->text("#matched"), "100.0 % matched: 1 name");
  EXPECT_EQ(browser->text("#events [aria-checked=true]"), "dtlb-misses");
}

TEST_F(FlamePage, SortsItsTable) {
  show(small_session());
  const auto first = [&] { return browser->text("#table tbody tr:first-child td.function"); };
  EXPECT_THAT(first(), HasSubstr("multiply"));
  press("#table th", "Function");
  EXPECT_THAT(first(), HasSubstr("gnttab_copy"));
  press("#table th", "Function");
  EXPECT_THAT(first(), HasSubstr("tcp_sendmsg"));
  press("#table th", "% dtlb-misses");
  EXPECT_THAT(first(), HasSubstr("gnttab_copy"));
}

TEST_F(FlamePage, RunsNothingThatAGuestNamesItself) {
  const char* const evil = "</script><img src=x onerror='window.broken = 1'><!--";
  Profile profile({{"cycles", 1}});
  add(profile, {.calls = {{evil, evil, 0x10}}, .domain = evil, .process = evil}, {100});
  Recorded recorded{std::move(profile), SessionRecord(), {evil}};
  recorded.session->machine = evil;
  recorded.session->domains = {{.name = evil, .role = evil}};
  show(recorded);
  EXPECT_EQ(boxes().size(), 4u);
  browser->point_at(".box");
  browser->click("#table tbody tr");
  EXPECT_EQ(browser->value("window.broken === undefined"), true);
  EXPECT_EQ(browser->value("document.querySelectorAll('img').length"), 0);
  EXPECT_EQ(browser->text("#domains label"), evil);
}

TEST_F(FlamePage, ColoursOnlyWhatDiffersBeyondSamplingError) {
  Profile before({{"cycles", 1}});
  Profile after({{"cycles", 1}});
  const auto fill = [](Profile& profile, std::uint64_t grown, std::uint64_t same) {
    add(profile, {.calls = {{"/bin/p", "grown", 1}}, .process = "p"}, {grown});
    add(profile, {.calls = {{"/bin/p", "same", 2}}, .process = "p"}, {same});
    add(profile, {.calls = {{"/bin/p", "shrunk", 3}}, .process = "p"}, {1000 - grown - same});
  };
  fill(before, 100, 300);
  fill(after, 400, 310);
  const Recorded base{std::move(before), {}, {}};
  show({std::move(after), {}, {}}, {}, &base);
  const auto colour = [&](const std::string& name) -> std::string {
    return browser->value("document.querySelector('" + box(name) +
                          "').style.getPropertyValue('--colour')");
  };
  EXPECT_THAT(colour("grown"), HasSubstr("--more"));
  EXPECT_THAT(colour("shrunk"), HasSubstr("--less"));
  EXPECT_THAT(colour("same"), HasSubstr("--same"));
  browser->point_at(box("grown"));
  EXPECT_THAT(browser->text("#tip"), HasSubstr("400 40.0 % 100 10.0 % +30.0 \u00b13.6"));
  press("#widths button", "Widths: base");
  EXPECT_THAT(boxes(),
              ElementsAre("all 100", "dom0 100", "p 100", "shrunk 60", "grown 10", "same 30"));
}

}  // namespace
}  // namespace xenoprof
