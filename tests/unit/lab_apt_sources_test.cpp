// SPDX-License-Identifier: GPL-2.0-or-later
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "apt_sources.h"

namespace xenoprof::lab {
namespace {

using testing::ElementsAre;
using testing::Pair;
using testing::SizeIs;

constexpr char kDeb822[] = R"(# made by an installer
Types: deb deb-src
URIs: http://mirror.test/debian
Suites: bookworm bookworm-updates
Components: main contrib
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

Types: deb
URIs: http://mirror.test/debian-security
Suites: bookworm-security
Components: main
Signed-By:
 -----BEGIN PGP PUBLIC KEY BLOCK-----
 .
 abc

Enabled: no
Types: deb
URIs: http://mirror.test/off
Suites: bookworm
Components: main

Types: deb-src
URIs: http://mirror.test/source
Suites: bookworm
Components: main
)";

TEST(AptSources, ReadsStanzasThatAreEnabledAndHaveBinaries) {
  const auto sources = parse_deb822_sources(kDeb822);
  ASSERT_THAT(sources, SizeIs(2));
  EXPECT_THAT(sources[0].uris, ElementsAre("http://mirror.test/debian"));
  EXPECT_THAT(sources[0].suites, ElementsAre("bookworm", "bookworm-updates"));
  EXPECT_THAT(sources[0].components, ElementsAre("main", "contrib"));
  EXPECT_THAT(sources[0].options,
              ElementsAre(Pair("Signed-By", "/usr/share/keyrings/debian-archive-keyring.gpg")));
  EXPECT_THAT(sources[1].options,
              ElementsAre(Pair("Signed-By", "\n -----BEGIN PGP PUBLIC KEY BLOCK-----\n .\n abc")));
}

TEST(AptSources, WritesWhatItReads) {
  const auto sources = parse_deb822_sources(kDeb822);
  EXPECT_EQ(parse_deb822_sources(to_deb822(sources)), sources);
}

TEST(AptSources, ReadsOneLineFormat) {
  const auto sources = parse_one_line_sources(
      "# comment\n"
      "deb http://mirror.test/debian bookworm main contrib # trailing\n"
      "deb-src http://mirror.test/debian bookworm main\n"
      "deb [ arch=amd64,i386 signed-by=/etc/apt/keyrings/a.gpg ] http://b.test ./\n"
      "deb [broken http://c.test bookworm main\n"
      "deb\n");
  ASSERT_THAT(sources, SizeIs(2));
  EXPECT_THAT(sources[0].suites, ElementsAre("bookworm"));
  EXPECT_THAT(sources[0].components, ElementsAre("main", "contrib"));
  EXPECT_THAT(sources[1].uris, ElementsAre("http://b.test"));
  EXPECT_THAT(sources[1].components, SizeIs(0));
  EXPECT_THAT(sources[1].options, ElementsAre(Pair("Architectures", "amd64 i386"),
                                              Pair("Signed-By", "/etc/apt/keyrings/a.gpg")));
}

TEST(AptSources, KeepsTheDistributionAndAddsItsBackportsFromTheSamePlace) {
  auto sources = parse_deb822_sources(kDeb822);
  sources.push_back({{"http://other.test"}, {"cloud-sdk-bookworm"}, {"main"}, {}});
  sources.push_back({{"http://old.test/debian"}, {"bookworm-backports"}, {"main"}, {}});
  const auto chosen = distribution_sources(sources, "bookworm", "bookworm");
  ASSERT_TRUE(chosen.has_value()) << chosen.error().message;
  ASSERT_THAT(*chosen, SizeIs(3));
  EXPECT_THAT((*chosen)[0].suites, ElementsAre("bookworm", "bookworm-updates"));
  EXPECT_THAT((*chosen)[1].suites, ElementsAre("bookworm-security"));
  EXPECT_THAT((*chosen)[2].suites, ElementsAre("bookworm-backports"));
  EXPECT_THAT((*chosen)[2].uris, ElementsAre("http://mirror.test/debian"));
  EXPECT_EQ((*chosen)[2].options, (*chosen)[0].options);
}

TEST(AptSources, AnotherReleaseComesFromTheSamePlacesWithTheSameOptions) {
  auto sources = parse_deb822_sources(
      "Types: deb\n"
      "URIs: http://mirror.test/debian\n"
      "Suites: trixie trixie-updates trixie-backports trixie-proposed-updates\n"
      "Components: main\n"
      "Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg\n");
  const auto more = parse_one_line_sources(
      "deb [trusted=yes] http://mirror.test/debian-security trixie-security main\n"
      "deb http://mirror.test/debian trixie-backports main\n"
      "deb http://tools.test/apt trixie-tools main\n"
      "deb http://tools.test/apt stable main\n");
  sources.insert(sources.end(), more.begin(), more.end());
  const auto chosen = distribution_sources(sources, "trixie", "bookworm");
  ASSERT_TRUE(chosen.has_value()) << chosen.error().message;
  EXPECT_EQ(to_deb822(*chosen),
            "Types: deb\n"
            "URIs: http://mirror.test/debian\n"
            "Suites: bookworm bookworm-updates\n"
            "Components: main\n"
            "Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg\n\n"
            "Types: deb\n"
            "URIs: http://mirror.test/debian-security\n"
            "Suites: bookworm-security\n"
            "Components: main\n"
            "Trusted: yes\n\n"
            "Types: deb\n"
            "URIs: http://mirror.test/debian\n"
            "Suites: bookworm-backports\n"
            "Components: main\n"
            "Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg\n\n");
}

TEST(AptSources, SaysWhenTheReleaseIsMissing) {
  const auto chosen = distribution_sources(parse_deb822_sources(kDeb822), "trixie", "bookworm");
  ASSERT_FALSE(chosen.has_value());
  EXPECT_NE(chosen.error().message.find("trixie"), std::string::npos);
}

}  // namespace
}  // namespace xenoprof::lab
