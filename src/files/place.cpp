// SPDX-License-Identifier: GPL-2.0-or-later
#include "files/place.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <cerrno>
#include <climits>
#include <cstring>
#include <ranges>
#include <utility>
#include <vector>

namespace xenoprof {
namespace {

namespace fs = std::filesystem;

constexpr int kMaxLinks = 40;  // as the kernel's (include/linux/namei.h, MAXSYMLINKS)
constexpr int kPassage = O_PATH | O_DIRECTORY | O_CLOEXEC;

bool is_ours_or_roots(const struct stat& status) {
  return status.st_uid == ::geteuid() || status.st_uid == 0;
}

// Others can rename what is in this folder. In one with the sticky bit only its owner can.
bool is_exposed(const FileDescriptor& folder) {
  struct stat status{};
  return ::fstat(folder.get(), &status) != 0 || !is_ours_or_roots(status) ||
         ((status.st_mode & (S_IWGRP | S_IWOTH)) != 0 && (status.st_mode & S_ISVTX) == 0);
}

// The links there say what a file was called: it cannot be found by that.
bool is_procfs(const FileDescriptor& folder) {
  struct statfs system{};
  return ::fstatfs(folder.get(), &system) == 0 && system.f_type == PROC_SUPER_MAGIC;
}

class Walk {
 public:
  Walk(const fs::path& path, MissingFolders missing) : given_(path), missing_(missing) {}

  Result<Place> run() {
    if (auto begun = begin(given_, false); !begun) {
      return std::unexpected(begun.error());
    }
    Place place;
    while (!steps_.empty()) {
      const Step step = std::move(steps_.back());
      steps_.pop_back();
      const bool last = steps_.empty();
      if (place.exposed.empty() && is_exposed(folder_)) {
        place.exposed = path_.empty() ? "." : path_;
      }
      struct stat status{};
      const bool there =
          ::fstatat(folder_.get(), step.name.c_str(), &status, AT_SYMLINK_NOFOLLOW) == 0;
      if (!there && errno != ENOENT) {
        return failed(step.name);
      }
      if (there && S_ISLNK(status.st_mode) && !(last && stays(status))) {
        place.by_link |= last && !step.of_link;
        if (auto followed = follow(step.name, status); !followed) {
          return std::unexpected(followed.error());
        }
        continue;
      }
      if (last && step.name != "..") {
        place.name = step.name;
        place.path = path_ / step.name;
        place.is_procfs = is_procfs(folder_);
        place.folder = std::move(folder_);
        return place;
      }
      if (!there && !step.of_link && missing_ == MissingFolders::kMade &&
          ::mkdirat(folder_.get(), step.name.c_str(), S_IRWXU) != 0 && errno != EEXIST) {
        return failed(step.name);
      }
      if (auto entered = enter(step.name, O_NOFOLLOW); !entered) {
        return std::unexpected(entered.error());
      }
    }
    place.name.push_back('.');
    place.path = path_.empty() ? "." : path_;
    place.folder = std::move(folder_);
    return place;
  }

 private:
  struct Step {
    std::string name;
    bool of_link;  // not the given path's own
  };

  std::unexpected<Error> failed(const std::string& name) const {
    return fail("cannot open {}: {}", (path_ / name).string(), std::strerror(errno));
  }
  bool stays(const struct stat& link) const {
    return !is_ours_or_roots(link) || is_procfs(folder_);
  }

  // `path`, before what is left.
  Result<void> begin(const fs::path& path, bool of_link) {
    std::vector<Step> steps;
    for (const fs::path& part : path.relative_path()) {
      if (!part.empty() && part != ".") {
        steps.push_back({part.string(), of_link});
      }
    }
    for (Step& step : steps | std::views::reverse) {
      steps_.push_back(std::move(step));
    }
    if (path.is_absolute() || !folder_) {
      path_ = path.root_path();
      folder_ = FileDescriptor(::open(path.is_absolute() ? "/" : ".", kPassage));
    }
    return folder_ ? Result<void>() : failed(".");
  }

  Result<void> enter(const std::string& name, int flags) {
    FileDescriptor next(::openat(folder_.get(), name.c_str(), kPassage | flags));
    if (!next) {
      return failed(name);
    }
    folder_ = std::move(next);
    path_ /= name;
    return {};
  }

  Result<void> follow(const std::string& name, const struct stat& seen) {
    if (is_procfs(folder_)) {
      return enter(name, 0);
    }
    const FileDescriptor link(
        ::openat(folder_.get(), name.c_str(), O_PATH | O_NOFOLLOW | O_CLOEXEC));
    struct stat status{};
    std::string text(PATH_MAX, '\0');
    const ssize_t size = !link || ::fstat(link.get(), &status) != 0
                             ? -1
                             : ::readlinkat(link.get(), "", text.data(), text.size());
    if (size < 0 || status.st_ino != seen.st_ino) {
      return failed(name);
    }
    if (!is_ours_or_roots(status)) {
      return fail(
          "{} is a link that user {} made, and that user can change it: name the folder "
          "that it leads to",
          (path_ / name).string(), status.st_uid);
    }
    if (++links_ > kMaxLinks) {
      errno = ELOOP;
      return failed(name);
    }
    text.resize(static_cast<std::size_t>(size));
    return begin(text, true);
  }

  const fs::path& given_;
  MissingFolders missing_;
  FileDescriptor folder_;
  fs::path path_;            // of that
  std::vector<Step> steps_;  // the next one last
  int links_ = 0;
};

}  // namespace

Result<Place> find_place(const fs::path& path, MissingFolders missing) {
  return Walk(path, missing).run();
}

}  // namespace xenoprof
