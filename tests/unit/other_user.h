// SPDX-License-Identifier: GPL-2.0-or-later
// What another user does to this one, which root alone can play.
#pragma once

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cstdio>
#include <filesystem>
#include <thread>

namespace xenoprof {

inline constexpr uid_t kOtherUser = 65534;

#define NEED_ROOT()                                                            \
  if (::geteuid() != 0) {                                                      \
    GTEST_SKIP() << "needs root: nobody else can make what another user owns"; \
  }                                                                            \
  static_assert(true)

inline void give_away(const std::filesystem::path& path) {
  ASSERT_EQ(::lchown(path.c_str(), kOtherUser, kOtherUser), 0) << path;
}

inline void plant_link(const std::filesystem::path& to, const std::filesystem::path& link) {
  std::filesystem::create_symlink(to, link);
  give_away(link);
}

inline mode_t mode_of(const std::filesystem::path& path) {
  struct stat status{};
  EXPECT_EQ(::lstat(path.c_str(), &status), 0) << path;
  return status.st_mode & 07777;
}

// Exchanges two names for each other, again and again, as long as it lives.
class Exchange {
 public:
  Exchange(std::filesystem::path one, std::filesystem::path other)
      : thread_([this, one = std::move(one), other = std::move(other)] {
          while (!end_) {
            ::renameat2(AT_FDCWD, one.c_str(), AT_FDCWD, other.c_str(), RENAME_EXCHANGE);
          }
        }) {}
  ~Exchange() {
    end_ = true;
    thread_.join();
  }
  Exchange(const Exchange&) = delete;
  Exchange& operator=(const Exchange&) = delete;

 private:
  std::atomic<bool> end_ = false;
  std::thread thread_;
};

}  // namespace xenoprof
