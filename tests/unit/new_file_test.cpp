// SPDX-License-Identifier: GPL-2.0-or-later
#include "files/new_file.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <fstream>
#include <iterator>

#include "tests/unit/other_user.h"
#include "tests/unit/temporary_folder.h"

namespace xenoprof {
namespace {

namespace fs = std::filesystem;

class NewFileTest : public testing::Test {
 protected:
  static std::string text_of(const fs::path& path) {
    std::ifstream file(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
  }
  std::ptrdiff_t files() const { return std::distance(fs::directory_iterator(folder_.path()), {}); }

  const TemporaryFolder folder_;
};

TEST_F(NewFileTest, AppearsWholeOrNotAtAll) {
  folder_.file("file", "before");
  {
    auto file = NewFile::make(folder_ / "file", Readers::kAsUsual);
    ASSERT_TRUE(file) << file.error().message;
    EXPECT_TRUE(file->write("half"));
  }
  EXPECT_EQ(text_of(folder_ / "file"), "before");
  ASSERT_TRUE(write_file(folder_ / "file", "after"));
  EXPECT_EQ(text_of(folder_ / "file"), "after");
  EXPECT_EQ(files(), 1) << "nothing is left beside it";
  const auto nowhere = write_file(folder_ / "none/file", "");
  ASSERT_FALSE(nowhere);
  EXPECT_NE(nowhere.error().message.find("none/file cannot be written"), std::string::npos);
  EXPECT_FALSE(write_file(folder_.path(), ""));
}

TEST_F(NewFileTest, HasTheModeOfADocumentOrOfASecret) {
  const mode_t before = ::umask(022);
  ASSERT_TRUE(write_file(folder_ / "document", ""));
  ASSERT_TRUE(write_file(folder_ / "secret", "", Readers::kThisUser));
  folder_.file("private", "");
  ASSERT_EQ(::chmod((folder_ / "private").c_str(), 0600), 0);
  ASSERT_TRUE(write_file(folder_ / "private", "again"));
  ::umask(before);
  EXPECT_EQ(mode_of(folder_ / "document"), 0644u);
  EXPECT_EQ(mode_of(folder_ / "secret"), 0600u);
  EXPECT_EQ(mode_of(folder_ / "private"), 0600u) << "as its user has made it";
}

TEST_F(NewFileTest, WhatIsNoFileIsWrittenToAsItIs) {
  EXPECT_TRUE(write_file("/dev/null", "text"));
  EXPECT_TRUE(fs::is_character_file("/dev/null"));
  fs::create_symlink("/dev/null", folder_ / "device");
  EXPECT_TRUE(write_file(folder_ / "device", "text"));
  EXPECT_TRUE(fs::is_symlink(folder_ / "device"));
  const auto full = write_file("/dev/full", "text");
  ASSERT_FALSE(full);
  EXPECT_NE(full.error().message.find("No space left"), std::string::npos);

  const fs::path fifo = folder_ / "fifo";
  ASSERT_EQ(::mkfifo(fifo.c_str(), 0600), 0);
  const int both = ::open(fifo.c_str(), O_RDWR | O_CLOEXEC);
  EXPECT_TRUE(write_file(fifo, "into it"));
  // As /dev/stdout leads to one.
  EXPECT_TRUE(write_file(fmt::format("/dev/fd/{}", both), ", twice"));
  char text[32] = {};
  EXPECT_EQ(::read(both, text, sizeof text), 14);
  EXPECT_EQ(std::string(text), "into it, twice");
  ::close(both);
  EXPECT_TRUE(fs::is_fifo(fifo));

  const int file = ::open((folder_ / "file").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  EXPECT_TRUE(write_file(fmt::format("/proc/self/fd/{}", file), "text"));
  EXPECT_EQ(::pread(file, text, sizeof text, 0), 4) << "the open file, not a new one";
  ::close(file);
}

TEST_F(NewFileTest, ALinkOfThisUserStaysAndLeadsToTheNewFile) {
  fs::create_symlink("file", folder_ / "link");
  ASSERT_TRUE(write_file(folder_ / "link", "new"));
  EXPECT_TRUE(fs::is_symlink(folder_ / "link"));
  EXPECT_EQ(text_of(folder_ / "file"), "new");
}

TEST_F(NewFileTest, ALinkThatAnotherUserPlantedIsReplaced) {
  NEED_ROOT();
  folder_.file("victim", "untouched");
  for (const char* target : {"victim", "/dev/null"}) {
    plant_link(target, folder_ / "planted");
    ASSERT_TRUE(write_file(folder_ / "planted", "new"));
    EXPECT_TRUE(fs::is_regular_file(fs::symlink_status(folder_ / "planted")));
    fs::remove(folder_ / "planted");
  }
  // Nor is its file taken, which it could keep open.
  folder_.file("theirs", "");
  give_away(folder_ / "theirs");
  ASSERT_TRUE(write_file(folder_ / "theirs", "new"));
  struct stat status{};
  ASSERT_EQ(::stat((folder_ / "theirs").c_str(), &status), 0);
  EXPECT_EQ(status.st_uid, 0u);
  EXPECT_EQ(text_of(folder_ / "victim"), "untouched");
}

TEST_F(NewFileTest, NoLinkThatComesInBetweenIsFollowed) {
  NEED_ROOT();
  folder_.file("victim", "untouched");
  std::atomic<bool> end = false;
  std::thread other([&] {
    while (!end) {
      plant_link("victim", folder_ / "planted");
      fs::rename(folder_ / "planted", folder_ / "file");
      fs::rename(folder_.file("harmless", ""), folder_ / "file");
    }
  });
  for (int i = 0; i < 300; ++i) {
    EXPECT_TRUE(write_file(folder_ / "file", "new"));
  }
  end = true;
  other.join();
  EXPECT_EQ(text_of(folder_ / "victim"), "untouched");
}

}  // namespace
}  // namespace xenoprof
