// SPDX-License-Identifier: GPL-2.0-or-later
#include "files/folder.h"

#include <gtest/gtest.h>

#include <chrono>

#include "tests/unit/other_user.h"
#include "tests/unit/temporary_folder.h"

namespace xenoprof {
namespace {

namespace fs = std::filesystem;

class FolderTest : public testing::Test {
 protected:
  static std::string why(const Result<Folder>& folder) {
    return folder ? "" : folder.error().message;
  }

  const TemporaryFolder temporary_;
};

TEST_F(FolderTest, WhatItMakesIsForThisUserAlone) {
  const mode_t before = ::umask(0);
  const auto folder = Folder::make(temporary_ / "a/b/c");
  ASSERT_TRUE(folder) << folder.error().message;
  EXPECT_TRUE(folder->write("whole", "text"));
  EXPECT_TRUE(folder->create("created"));
  ::umask(before);
  for (const char* made : {"a", "a/b", "a/b/c"}) {
    EXPECT_EQ(mode_of(temporary_ / made), 0700u) << made;
  }
  EXPECT_EQ(mode_of(temporary_ / "a/b/c/whole"), 0600u);
  EXPECT_EQ(mode_of(temporary_ / "a/b/c/created"), 0600u);
}

TEST_F(FolderTest, OneThatOthersMayWriteIsRefusedAndTheyAreTold) {
  for (const mode_t mode : {0770, 0702, 01777}) {
    const fs::path path = temporary_ / "writable";
    fs::create_directories(path);
    ASSERT_EQ(::chmod(path.c_str(), mode), 0);
    for (const auto& folder : {Folder::make(path), Folder::open(path)}) {
      EXPECT_NE(why(folder).find("other users may write there"), std::string::npos) << mode;
      EXPECT_NE(why(folder).find("chmod go-w " + path.string()), std::string::npos) << mode;
    }
  }
  fs::create_directories(temporary_ / "readable");
  ASSERT_EQ(::chmod((temporary_ / "readable").c_str(), 0755), 0);
  EXPECT_TRUE(Folder::make(temporary_ / "readable"));
}

TEST_F(FolderTest, AnotherUsersIsRefused) {
  NEED_ROOT();
  fs::create_directory(temporary_ / "theirs");
  give_away(temporary_ / "theirs");
  EXPECT_NE(why(Folder::make(temporary_ / "theirs")).find("belongs to user 65534"),
            std::string::npos);
}

TEST_F(FolderTest, LinksOfThisUserAreFollowedAndThoseOfAnotherAreNot) {
  fs::create_directory(temporary_ / "mine");
  fs::create_symlink("mine", temporary_ / "link");
  fs::create_symlink(temporary_ / "link", temporary_ / "link-to-link");
  fs::create_symlink("circle", temporary_ / "circle");
  const auto folder = Folder::open(temporary_ / "link-to-link");
  ASSERT_TRUE(folder) << folder.error().message;
  EXPECT_TRUE(folder->write("file", ""));
  EXPECT_TRUE(fs::exists(temporary_ / "mine/file"));
  EXPECT_NE(why(Folder::make(temporary_ / "circle")).find("Too many levels"), std::string::npos);
  NEED_ROOT();
  plant_link("mine", temporary_ / "theirs");
  EXPECT_NE(why(Folder::make(temporary_ / "theirs")).find("link that user 65534 made"),
            std::string::npos);
  EXPECT_NE(why(Folder::make(temporary_ / "theirs/new")).find("link that user 65534 made"),
            std::string::npos);
  EXPECT_FALSE(fs::exists(temporary_ / "mine/new"));
}

TEST_F(FolderTest, WhatNeedsItsPathIsRefusedWhereOthersCanExchangeIt) {
  fs::create_directories(temporary_ / "shared/way");
  ASSERT_EQ(::chmod((temporary_ / "shared").c_str(), 0777), 0);
  const auto exposed = Folder::make_unexposed(temporary_ / "shared/way/folder");
  EXPECT_NE(why(exposed).find((temporary_ / "shared").string() + " is writable"),
            std::string::npos);
  EXPECT_TRUE(Folder::make(temporary_ / "shared/way/folder"));
  ASSERT_EQ(::chmod((temporary_ / "shared").c_str(), 01777), 0);
  EXPECT_TRUE(Folder::make_unexposed(temporary_ / "shared/way/folder"));
  NEED_ROOT();
  give_away(temporary_ / "shared/way");
  EXPECT_NE(why(Folder::make_unexposed(temporary_ / "shared/way/folder")).find("/way is writable"),
            std::string::npos);
}

TEST_F(FolderTest, IsClearedOfLinksNotOfWhatTheyLeadTo) {
  const fs::path victim = temporary_ / "victim";
  fs::create_directories(victim / "inner");
  fs::create_directories(temporary_ / "folder/sub/deeper");
  fs::create_directory_symlink(victim, temporary_ / "folder/link");
  fs::create_directory_symlink(victim, temporary_ / "folder/sub/deeper/link");
  temporary_.file("folder/kept", "");
  temporary_.file("folder/sub/file", "");
  const auto folder = Folder::open(temporary_ / "folder");
  ASSERT_TRUE(folder);
  folder->clear("kept");
  EXPECT_EQ(folder->names(), std::vector<std::string>{"kept"});
  EXPECT_TRUE(fs::exists(victim / "inner"));
  NEED_ROOT();
  fs::create_directory(temporary_ / "folder/theirs");
  temporary_.file("folder/theirs/file", "");
  give_away(temporary_ / "folder/theirs");
  folder->clear();
  EXPECT_TRUE(fs::exists(temporary_ / "folder/theirs/file"));
}

TEST_F(FolderTest, IsOneFolderWhateverHasItsNameMeanwhile) {
  NEED_ROOT();
  const fs::path victim = temporary_ / "victim";
  fs::create_directory(victim);
  temporary_.file("victim/file", "untouched");
  fs::create_directory(temporary_ / "shared");
  ASSERT_EQ(::chmod((temporary_ / "shared").c_str(), 0777), 0);
  const fs::path path = temporary_ / "shared/folder";
  ASSERT_TRUE(Folder::make(path));
  plant_link(victim, temporary_ / "shared/planted");
  int opened = 0;
  {
    const Exchange exchange(path, temporary_ / "shared/planted");
    // On a busy machine the link can be there for long.
    const auto limit = std::chrono::steady_clock::now() + std::chrono::seconds(10);
    for (int i = 0; i < 400 || (opened == 0 && std::chrono::steady_clock::now() < limit); ++i) {
      if (const auto folder = Folder::make(path)) {
        ++opened;
        EXPECT_TRUE(folder->write("file", "text"));
        EXPECT_TRUE(folder->create("other"));
        folder->clear();
      }
    }
  }
  EXPECT_GT(opened, 0);
  std::string text;
  std::ifstream(victim / "file") >> text;
  EXPECT_EQ(text, "untouched");
}

}  // namespace
}  // namespace xenoprof
