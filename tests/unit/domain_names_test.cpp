// SPDX-License-Identifier: GPL-2.0-or-later
#include "hypervisor/domain_names.h"

#include <gtest/gtest.h>

namespace xenoprof {
namespace {

TEST(DomainNames, FitAFileAndAnOption) {
  EXPECT_EQ(fit_name("Web / prod"), "Web _ prod");
  EXPECT_EQ(fit_name("../../etc"), "_._.._etc");
  EXPECT_EQ(fit_name("/root/x"), "_root_x");
  EXPECT_EQ(fit_name("a=b,c"), "a_b_c");
  EXPECT_EQ(fit_name("\x1b[2J"), "?[2J");
  EXPECT_EQ(fit_name(""), "machine");
  EXPECT_EQ(fit_name(std::string(1000, 'x')).size(), 40u);
}

TEST(DomainNames, AreEachTheirOwn) {
  std::string names[] = {"web", "dom0", "web", "db", "web-3"};
  make_names_unique(
      {{&names[0], 1}, {&names[1], 2}, {&names[2], 3}, {&names[3], 4}, {&names[4], 5}}, "dom0");
  EXPECT_EQ(names[0], "web-1");
  EXPECT_EQ(names[1], "dom0-2");
  EXPECT_EQ(names[2], "web-3");
  EXPECT_EQ(names[3], "db");
  EXPECT_EQ(names[4], "web-3-5-2");
}

}  // namespace
}  // namespace xenoprof
