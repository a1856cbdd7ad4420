// SPDX-License-Identifier: GPL-2.0-or-later
#include "session/output_folder.h"

#include <gtest/gtest.h>

#include "report/session_file.h"
#include "tests/unit/other_user.h"
#include "tests/unit/temporary_folder.h"

namespace xenoprof {
namespace {

namespace fs = std::filesystem;

class OutputFolderTest : public testing::Test {
 protected:
  void SetUp() override {
    fs::create_directory(victim_);
    temporary_.file("victim/session.json", "untouched");
    temporary_.file("victim/profile.pb.gz", "untouched");
  }
  // Whatever was done.
  void TearDown() override {
    for (const char* name : {kSessionFile, kProfileFile}) {
      std::string text;
      std::ifstream(victim_ / name) >> text;
      EXPECT_EQ(text, "untouched");
    }
    EXPECT_EQ(std::distance(fs::directory_iterator(victim_), {}), 2);
  }

  // Records a session as far as its files.
  std::string record() const {
    auto output = OutputFolder::open(path_);
    if (!output) {
      return output.error().message;
    }
    output->begun();
    output->release_reserve();
    EXPECT_TRUE(output->files()->create("host.perf.data"));
    EXPECT_TRUE(output->files()->write(kProfileFile, "new"));
    EXPECT_TRUE(output->files()->write(kSessionFile, "new"));
    return "";
  }
  void make_session(const fs::path& folder) const {
    fs::create_directory(folder);
    for (const char* name : {kSessionFile, kProfileFile}) {
      std::ofstream(folder / name) << "earlier";
    }
  }

  const TemporaryFolder temporary_;
  const fs::path path_ = temporary_ / "s";
  const fs::path victim_ = temporary_ / "victim";
};

TEST_F(OutputFolderTest, HoldsFilesForThisUserAlone) {
  const mode_t before = ::umask(0);
  EXPECT_EQ(record(), "");
  ::umask(before);
  EXPECT_EQ(mode_of(path_), 0700u);
  int files = 0;
  for (const auto& entry : fs::directory_iterator(path_)) {
    EXPECT_EQ(mode_of(entry.path()), 0600u) << entry.path();
    ++files;
  }
  EXPECT_EQ(files, 3);
}

TEST_F(OutputFolderTest, OneOfAnotherUserIsRefused) {
  NEED_ROOT();
  fs::create_directory(path_);
  give_away(path_);
  plant_link(victim_ / kSessionFile, path_ / kSessionFile);
  plant_link(victim_ / kProfileFile, path_ / kProfileFile);
  EXPECT_NE(record().find("belongs to user 65534"), std::string::npos);
  EXPECT_EQ(std::distance(fs::directory_iterator(path_), {}), 2) << "nothing is made there";
}

TEST_F(OutputFolderTest, OneThatOthersMayWriteIsRefused) {
  fs::create_directory(path_);
  ASSERT_EQ(::chmod(path_.c_str(), 0777), 0);
  EXPECT_NE(record().find("other users may write there"), std::string::npos);
  EXPECT_TRUE(fs::is_empty(path_));
}

TEST_F(OutputFolderTest, ALinkOfThisUserLeadsToTheFolderAndOneOfAnotherIsRefused) {
  fs::create_directory(temporary_ / "kept");
  fs::create_symlink("kept", path_);
  EXPECT_EQ(record(), "");
  EXPECT_EQ(record(), "");
  EXPECT_TRUE(fs::exists(temporary_ / "kept/session.json"));
  EXPECT_TRUE(fs::exists(temporary_ / "kept.old/session.json"));
  NEED_ROOT();
  fs::remove(path_);
  fs::create_directory(temporary_ / "empty");
  plant_link("empty", path_);
  EXPECT_NE(record().find("link that user 65534 made"), std::string::npos);
  EXPECT_TRUE(fs::is_empty(temporary_ / "empty"));
}

TEST_F(OutputFolderTest, WhatAnotherUserPutBesideItStaysAndIsTold) {
  NEED_ROOT();
  for (const char* suffix : {".old", ".xenoprof-before", ".xenoprof-outdated"}) {
    const fs::path theirs = path_.string() + suffix;
    make_session(path_);
    make_session(theirs);
    give_away(theirs);
    EXPECT_NE(record().find(theirs.string()), std::string::npos) << suffix;
    EXPECT_TRUE(fs::exists(theirs / kSessionFile)) << suffix;
    EXPECT_TRUE(fs::exists(path_ / kSessionFile)) << suffix;
    fs::remove_all(theirs);
    fs::remove_all(path_);

    make_session(path_);
    plant_link(victim_, theirs);
    EXPECT_NE(record().find(theirs.string()), std::string::npos) << suffix;
    EXPECT_TRUE(fs::is_symlink(theirs)) << suffix;
    fs::remove(theirs);
    fs::remove_all(path_);
  }
}

TEST_F(OutputFolderTest, RemovesAnEarlierSessionAndNotWhatItsLinksLeadTo) {
  make_session(path_);
  make_session(path_.string() + ".old");
  fs::create_directory_symlink(victim_, path_.string() + ".old/link");
  fs::create_directory(path_.string() + ".old/sub");
  fs::create_directory_symlink(victim_, path_.string() + ".old/sub/link");
  EXPECT_EQ(record(), "");
  EXPECT_TRUE(fs::exists(path_.string() + ".old/session.json"));
  EXPECT_FALSE(fs::exists(path_.string() + ".old/sub"));
  EXPECT_FALSE(fs::exists(path_.string() + ".xenoprof-outdated"));
}

TEST_F(OutputFolderTest, IsTheOneThatWasMadeWhateverTakesItsPlace) {
  auto output = OutputFolder::open(path_);
  ASSERT_TRUE(output) << output.error().message;
  output->begun();
  fs::rename(path_, temporary_ / "moved");
  fs::create_directory_symlink(victim_, path_);
  EXPECT_TRUE(output->files()->create("host.perf.data"));
  EXPECT_TRUE(output->files()->write(kProfileFile, "new"));
  EXPECT_TRUE(output->files()->write(kSessionFile, "new"));
  EXPECT_TRUE(fs::exists(temporary_ / "moved/session.json"));
}

// In a folder where others may rename everything: of the session itself, of the earlier ones, and
// of what is removed.
TEST_F(OutputFolderTest, NothingThatIsExchangedMeanwhileLeadsElsewhere) {
  NEED_ROOT();
  const fs::path planted = temporary_ / "planted";
  for (int round = 0; round < 40; ++round) {
    const char* suffix = round % 3 == 0 ? "" : round % 3 == 1 ? ".old" : ".xenoprof-outdated";
    if (round % 2 == 0) {
      plant_link(victim_, planted);
    } else {
      make_session(planted);
      plant_link(victim_, planted / "link");
      give_away(planted);
    }
    {
      const Exchange exchange(path_.string() + suffix, planted);
      for (int i = 0; i < 5; ++i) {
        (void)record();
      }
    }
    for (const auto& entry : fs::directory_iterator(temporary_.path())) {
      if (entry.path() != victim_) {
        fs::remove_all(entry.path());
      }
    }
  }
}

}  // namespace
}  // namespace xenoprof
