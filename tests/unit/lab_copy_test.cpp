// SPDX-License-Identifier: GPL-2.0-or-later
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdio>
#include <fstream>
#include <string>

#include "copy.h"
#include "other_user.h"
#include "temporary_folder.h"

namespace xenoprof::lab {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

class LabCopy : public testing::Test {
 protected:
  // What `tar` sends when it is called with that in the temporary folder; the error, if any.
  std::string unpack_of(const std::string& arguments, const std::string& to) const {
    const std::string command = "tar -C " + folder_.path().string() + " -c -f - " + arguments;
    std::FILE* const tar = ::popen(command.c_str(), "r");
    const auto target = find_place(folder_ / to, MissingFolders::kMade);
    const auto done = target ? unpack(::fileno(tar), *target) : std::unexpected(target.error());
    ::pclose(tar);
    return done ? "" : done.error().message;
  }

  const TemporaryFolder folder_;
};

TEST_F(LabCopy, ATreeIsAsItWasAndForThisUserAloneToWrite) {
  fs::create_directories(folder_ / "tree/inner folder/empty");
  ASSERT_EQ(::chmod(folder_.file("tree/inner folder/script", "text").c_str(), 0777), 0);
  ASSERT_EQ(::chmod((folder_ / "tree").c_str(), 0777), 0);
  fs::create_symlink("inner folder/script", folder_ / "tree/link");
  EXPECT_EQ(unpack_of("tree", "new/back"), "");
  EXPECT_EQ(mode_of(folder_ / "new/back") & 022, 0u);
  EXPECT_EQ(mode_of(folder_ / "new/back/inner folder/script"), 0755u);
  EXPECT_EQ(fs::read_symlink(folder_ / "new/back/link"), "inner folder/script");
  EXPECT_TRUE(fs::is_directory(folder_ / "new/back/inner folder/empty"));
  EXPECT_EQ(unpack_of("tree", "new/back"), "") << "once more, in its place";
  EXPECT_EQ(unpack_of("tree/inner\\ folder/script", "file"),
            "the domain sent "
            "'tree/inner folder/script', which does not lie in 'tree'");
  EXPECT_EQ(unpack_of("-C tree/inner\\ folder script", "file"), "");
  EXPECT_TRUE(fs::is_regular_file(folder_ / "file"));
}

TEST_F(LabCopy, NothingGoesThroughALinkThatWasSent) {
  fs::create_directories(folder_ / "victim");
  fs::create_directories(folder_ / "tree");
  fs::create_directory_symlink(folder_ / "victim", folder_ / "tree/a");
  fs::create_directories(folder_ / "other/a");
  folder_.file("other/a/file", "planted");
  EXPECT_THAT(unpack_of("tree -C other --transform 's,^a,tree/a,' a/file", "new"),
              HasSubstr("cannot write"));
  EXPECT_THAT(unpack_of("-P --transform 's,^tree/a,tree/../victim/x,' tree", "more"),
              HasSubstr("does not lie in"));
  EXPECT_TRUE(fs::is_empty(folder_ / "victim"));
}

TEST_F(LabCopy, AFolderThatAnotherUserPutThereIsRefused) {
  NEED_ROOT();
  fs::create_directories(folder_ / "tree");
  folder_.file("tree/file", "");
  fs::create_directories(folder_ / "theirs");
  give_away(folder_ / "theirs");
  EXPECT_THAT(unpack_of("tree", "theirs"), HasSubstr("belongs to user 65534"));
  EXPECT_TRUE(fs::is_empty(folder_ / "theirs"));
}

}  // namespace
}  // namespace xenoprof::lab
