// SPDX-License-Identifier: GPL-2.0-or-later
#include <archive.h>
#include <archive_entry.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <thread>

#include "image.h"
#include "initramfs.h"

namespace xenoprof::lab {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

struct Read {
  std::vector<std::string> names;
  std::map<std::string, std::string> contents;  // of links: their targets
  std::map<std::string, unsigned> modes;
};

Read read_back(const std::string& bytes) {
  Read read;
  archive* reader = archive_read_new();
  archive_read_support_format_cpio(reader);
  archive_read_open_memory(reader, bytes.data(), bytes.size());
  archive_entry* entry = nullptr;
  while (archive_read_next_header(reader, &entry) == ARCHIVE_OK) {
    const std::string name = archive_entry_pathname(entry);
    read.names.push_back(name);
    read.modes[name] = archive_entry_mode(entry);
    std::string content(static_cast<std::size_t>(archive_entry_size(entry)), '\0');
    archive_read_data(reader, content.data(), content.size());
    if (const char* target = archive_entry_symlink(entry))
      content = target;
    read.contents[name] = content;
  }
  archive_read_free(reader);
  return read;
}

TEST(Initramfs, HoldsWhatWasAddedWithFoldersBeforeTheirContent) {
  InitramfsLayer layer;
  layer.add_text("/usr/bin/tool", "#!/bin/sh\n", 0755);
  layer.add_link("/bin", "usr/bin");
  const auto archive = layer.archive();
  ASSERT_TRUE(archive.has_value()) << archive.error().message;
  EXPECT_EQ(archive->substr(0, 6), "070701");  // newc: the one format Linux unpacks
  const Read read = read_back(*archive);
  EXPECT_THAT(read.names, ElementsAre("bin", "usr", "usr/bin", "usr/bin/tool"));
  EXPECT_EQ(read.contents.at("usr/bin/tool"), "#!/bin/sh\n");
  EXPECT_EQ(read.modes.at("usr/bin/tool"), 0100755U);
  EXPECT_EQ(read.contents.at("bin"), "usr/bin");
  EXPECT_EQ(read.modes.at("usr"), 0040755U);
}

TEST(Initramfs, IsPaddedSoThatTheKernelFindsALayerBehindIt) {
  InitramfsLayer layer;
  layer.add_text("/odd", "x", 0644);
  EXPECT_EQ(layer.archive()->size() % 4, 0U);
}

TEST(Initramfs, SaysWhichFileItCannotRead) {
  InitramfsLayer layer;
  layer.add_file("/x", "/nonexistent/file", 0644);
  const auto archive = layer.archive();
  ASSERT_FALSE(archive.has_value());
  EXPECT_THAT(archive.error().message, HasSubstr("/nonexistent/file"));
}

TEST(Initramfs, KeyFollowsTheContent) {
  const auto file = std::filesystem::path(testing::TempDir()) / "initramfs_key";
  std::ofstream(file) << "one";
  InitramfsLayer layer;
  layer.add_file("/x", file, 0644);
  const auto key = layer.key();
  EXPECT_EQ(layer.key(), key);
  std::ofstream(file) << "longer";
  EXPECT_NE(layer.key(), key);
  std::ofstream(file) << "one";
  InitramfsLayer other;
  other.add_file("/x", file, 0755);
  EXPECT_NE(other.key(), layer.key());
  std::filesystem::remove(file);
}

// Images hold images: taking the inner one from the cache must not make the outer one anew.
TEST(CachedArchive, IsWrittenOnceAndKeepsItsPlaceInAnother) {
  const auto cache = std::filesystem::path(testing::TempDir()) / fmt::format("cache.{}", getpid());
  InitramfsLayer inner;
  inner.add_text("/x", "content", 0644);
  const auto first = cached_archive(inner, "inner", cache);
  ASSERT_TRUE(first.has_value()) << first.error().message;
  InitramfsLayer outer;
  outer.add_file("/inner.cpio", *first, 0644);
  const auto key = outer.key();
  const auto changed = std::filesystem::last_write_time(*first);
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  const auto second = cached_archive(inner, "inner", cache);
  ASSERT_TRUE(second.has_value());
  EXPECT_EQ(*second, *first);
  EXPECT_EQ(std::filesystem::last_write_time(*first), changed);
  EXPECT_EQ(outer.key(), key);
  std::filesystem::remove_all(cache);
}

}  // namespace
}  // namespace xenoprof::lab
