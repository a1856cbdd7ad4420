// SPDX-License-Identifier: GPL-2.0-or-later
#include "session/domains.h"

#include <gtest/gtest.h>

namespace xenoprof {
namespace {

const std::vector<Domain> kRunning = {
    {.id = 0, .name = "dom0"},
    {.id = 3, .name = "web", .has_agent = true},
    {.id = 5, .name = "db"},
};

using Names = std::vector<std::string>;

Names names(const std::vector<Domain>& domains) {
  Names result;
  for (const Domain& domain : domains) {
    result.push_back(domain.name);
  }
  return result;
}

std::string error(const SessionRequest& request) {
  const auto chosen = choose_domains(request, kRunning);
  return chosen ? "" : chosen.error().message;
}

TEST(ChooseDomains, UnaskedThoseWithAnAgentAndTheOthersAreTold) {
  const auto chosen = choose_domains({}, kRunning);
  ASSERT_TRUE(chosen);
  EXPECT_EQ(names(chosen->active), (Names{"dom0", "web"}));
  EXPECT_TRUE(chosen->passive.empty());
  ASSERT_EQ(chosen->notes.size(), 1u);
  EXPECT_NE(chosen->notes[0].find("db"), std::string::npos);
}

TEST(ChooseDomains, PassiveOnesAreInAllButNotActive) {
  const auto chosen = choose_domains({.domains = {"all"}, .passive = {"web", "web"}}, kRunning);
  ASSERT_TRUE(chosen);
  EXPECT_EQ(names(chosen->active), (Names{"dom0", "db"}));
  EXPECT_EQ(names(chosen->passive), Names{"web"});
  EXPECT_TRUE(chosen->notes.empty());
}

TEST(ChooseDomains, Dom0IsAlwaysInAndEachOnce) {
  const auto chosen = choose_domains({.domains = {"db", "dom0", "db"}}, kRunning);
  ASSERT_TRUE(chosen);
  EXPECT_EQ(names(chosen->active), (Names{"dom0", "db"}));
}

TEST(ChooseDomains, WhatCannotBeIsToldByName) {
  EXPECT_NE(error({.domains = {"wbe"}}).find("'wbe'; those running are dom0, web, db"),
            std::string::npos);
  EXPECT_NE(error({.domains = {"web"}, .passive = {"web"}}).find("web is asked for as active"),
            std::string::npos);
  EXPECT_NE(error({.passive = {"dom0"}}).find("cannot be passive"), std::string::npos);
  EXPECT_NE(error({.kernel_symbols = {{"web", {"/symbols"}}}}).find("not among the passive"),
            std::string::npos);
  EXPECT_FALSE(choose_domains({}, {}));
}

}  // namespace
}  // namespace xenoprof
