// SPDX-License-Identifier: GPL-2.0-or-later
#include <archive.h>
#include <archive_entry.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "deb.h"

namespace xenoprof::lab {
namespace {

namespace fs = std::filesystem;

TEST(MergedPath, MovesTheOldFoldersBelowUsr) {
  EXPECT_EQ(merged_path("./lib/modules/x.ko"), "usr/lib/modules/x.ko");
  EXPECT_EQ(merged_path("/sbin/ethtool"), "usr/sbin/ethtool");
  EXPECT_EQ(merged_path("lib64/ld.so"), "usr/lib64/ld.so");
  EXPECT_EQ(merged_path("./usr/lib/x"), "usr/lib/x");
  EXPECT_EQ(merged_path("./library/x"), "library/x");
  EXPECT_EQ(merged_path("./lib/"), "usr/lib");
  EXPECT_EQ(merged_path("./"), "");
}

TEST(MergedPath, DoesNotLeaveTheRoot) {
  EXPECT_EQ(merged_path("../../etc/passwd"), "etc/passwd");
  EXPECT_EQ(merged_path("./usr/../../x"), "x");
}

TEST(MergedLinkTarget, LeadsToTheMergedPlaceFromTheMergedPlace) {
  EXPECT_EQ(merged_link_target("./lib64/ld.so", "/lib/x86_64-linux-gnu/ld.so"),
            "../lib/x86_64-linux-gnu/ld.so");
  EXPECT_EQ(merged_link_target("./lib/x/liba.so", "../../usr/lib/x/liba.so.1"), "liba.so.1");
  EXPECT_EQ(merged_link_target("./usr/lib/liba.so", "liba.so.1"), "liba.so.1");
  EXPECT_EQ(merged_link_target("./lib/modules/6/build", "/usr/src/headers"),
            "../../../src/headers");
  EXPECT_EQ(merged_link_target("./etc/mtab", "../../../../proc/mounts"), "../proc/mounts");
}

struct Member {
  std::string name;
  mode_t type;
  std::string text;  // content, or target
  mode_t permissions = 0644;
};

std::string make_archive(bool ar, const std::vector<Member>& members) {
  std::string out(1 << 20, '\0');
  std::size_t used = 0;
  archive* writer = archive_write_new();
  if (ar)
    archive_write_set_format_ar_svr4(writer);
  else
    archive_write_set_format_ustar(writer);
  if (!ar)
    archive_write_add_filter_xz(writer);
  archive_write_open_memory(writer, out.data(), out.size(), &used);
  for (const Member& member : members) {
    archive_entry* entry = archive_entry_new();
    archive_entry_set_pathname(entry, member.name.c_str());
    archive_entry_set_filetype(entry, member.type);
    archive_entry_set_perm(entry, member.permissions);
    if (member.type == AE_IFLNK)
      archive_entry_set_symlink(entry, member.text.c_str());
    else
      archive_entry_set_size(entry, static_cast<la_int64_t>(member.text.size()));
    archive_write_header(writer, entry);
    if (member.type == AE_IFREG)
      archive_write_data(writer, member.text.data(), member.text.size());
    archive_entry_free(entry);
  }
  archive_write_close(writer);
  archive_write_free(writer);
  out.resize(used);
  return out;
}

class UnpackDeb : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = fs::path(testing::TempDir()) / ("unpack_deb." + std::to_string(getpid()));
    fs::remove_all(folder_);
    fs::create_directories(folder_);
  }
  void TearDown() override { fs::remove_all(folder_); }

  Result<void> unpack(const std::vector<Member>& content) {
    const std::string tar = make_archive(false, content);
    const std::string deb =
        make_archive(true, {{"debian-binary", AE_IFREG, "2.0\n"}, {"data.tar.xz", AE_IFREG, tar}});
    std::ofstream(folder_ / "x.deb", std::ios::binary) << deb;
    if (auto prepared = prepare_root(root()); !prepared)
      return prepared;
    return unpack_deb(folder_ / "x.deb", root(),
                      [](std::string_view path) { return path != "usr/unwanted"; });
  }
  fs::path root() const { return folder_ / "root"; }
  std::string content(const std::string& path) const {
    std::ifstream stream(root() / path);
    return {std::istreambuf_iterator<char>(stream), {}};
  }

  fs::path folder_;
};

TEST_F(UnpackDeb, PutsFilesAndLinksInTheMergedRoot) {
  const auto done = unpack({{"./lib/", AE_IFDIR, "", 0755},
                            {"./lib/a", AE_IFREG, "text", 04755},
                            {"./usr/b", AE_IFLNK, "/lib/a"},
                            {"./usr/unwanted", AE_IFREG, "no"}});
  ASSERT_TRUE(done.has_value()) << done.error().message;
  EXPECT_EQ(content("usr/lib/a"), "text");
  EXPECT_EQ(content("lib/a"), "text");
  EXPECT_EQ(content("usr/b"), "text");
  EXPECT_FALSE(fs::exists(root() / "usr/unwanted"));
  EXPECT_EQ(fs::status(root() / "usr/lib/a").permissions() & fs::perms::set_uid, fs::perms::none);
}

TEST_F(UnpackDeb, WritesNothingOutsideOfTheRoot) {
  const auto done = unpack({{"../../escaped", AE_IFREG, "x"}});
  EXPECT_FALSE(fs::exists(folder_ / "escaped"));
  EXPECT_FALSE(fs::exists(folder_.parent_path() / "escaped"));
  EXPECT_TRUE(!done || fs::exists(root() / "escaped"));
}

TEST_F(UnpackDeb, RefusesWhatIsNoPackage) {
  std::ofstream(folder_ / "y.deb") << "not a package";
  const auto done = unpack_deb(folder_ / "y.deb", root(), [](std::string_view) { return true; });
  ASSERT_FALSE(done.has_value());
  EXPECT_NE(done.error().message.find("y.deb"), std::string::npos);
}

TEST(Decompress, GivesBackTheContentOrAnError) {
  EXPECT_FALSE(decompress("", "nothing").has_value());
  const std::string tar = make_archive(false, {{"a", AE_IFREG, "payload"}});
  const auto plain = decompress(tar, "test");
  ASSERT_TRUE(plain.has_value());
  EXPECT_NE(plain->find("payload"), std::string::npos);
  EXPECT_FALSE(decompress(tar.substr(0, tar.size() / 2), "test").has_value());
}

}  // namespace
}  // namespace xenoprof::lab
