// SPDX-License-Identifier: GPL-2.0-or-later
#include "copy.h"

#include <archive.h>
#include <archive_entry.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <memory>
#include <optional>
#include <thread>

#include "files/folder.h"
#include "files/place.h"

namespace xenoprof::lab {
namespace {

namespace fs = std::filesystem;

constexpr auto kQuestionLimit = std::chrono::seconds(30);

struct WriteDeleter {
  void operator()(archive* writer) const { archive_write_free(writer); }
};
struct ReadDeleter {
  void operator()(archive* reader) const { archive_read_free(reader); }
};
struct EntryDeleter {
  void operator()(archive_entry* entry) const { archive_entry_free(entry); }
};

class Pipe {
 public:
  Pipe() {
    if (pipe2(ends_.data(), O_CLOEXEC) != 0)
      ends_ = {-1, -1};
  }
  ~Pipe() {
    close_reading();
    close_writing();
  }
  Pipe(const Pipe&) = delete;
  Pipe& operator=(const Pipe&) = delete;

  int reading() const { return ends_[0]; }
  int writing() const { return ends_[1]; }
  void close_reading() { close_end(ends_[0]); }
  void close_writing() { close_end(ends_[1]); }

 private:
  static void close_end(int& fd) {
    if (fd >= 0)
      close(fd);
    fd = -1;
  }
  std::array<int, 2> ends_{-1, -1};
};

std::string text_of(archive* of) {
  const char* text = archive_error_string(of);
  return text == nullptr ? "unknown error" : text;
}

Result<void> write_entry(archive* tar, const fs::path& file, const std::string& name) {
  std::error_code error;
  const fs::file_status status = fs::symlink_status(file, error);
  const std::unique_ptr<archive_entry, EntryDeleter> entry(archive_entry_new());
  archive_entry_set_pathname(entry.get(), name.c_str());
  archive_entry_set_perm(entry.get(), static_cast<mode_t>(status.permissions()) & 0777);
  std::ifstream content;
  if (fs::is_symlink(status)) {
    archive_entry_set_filetype(entry.get(), AE_IFLNK);
    archive_entry_set_symlink(entry.get(), fs::read_symlink(file, error).c_str());
  } else if (fs::is_directory(status)) {
    archive_entry_set_filetype(entry.get(), AE_IFDIR);
  } else if (fs::is_regular_file(status)) {
    content.open(file, std::ios::binary);
    if (!content)
      return fail("cannot read {}: {}", file.string(), std::strerror(errno));
    archive_entry_set_filetype(entry.get(), AE_IFREG);
    archive_entry_set_size(entry.get(), static_cast<la_int64_t>(fs::file_size(file, error)));
  } else {
    return fail("{} is neither a file nor a folder nor a link", file.string());
  }
  if (error)
    return fail("cannot read {}: {}", file.string(), error.message());
  if (archive_write_header(tar, entry.get()) != ARCHIVE_OK)
    return fail("cannot send {}: {}", file.string(), text_of(tar));
  std::array<char, 65536> block;
  while (content.is_open() && content) {
    content.read(block.data(), block.size());
    // A file that has grown since its header is cut there by libarchive.
    if (content.gcount() > 0 &&
        archive_write_data(tar, block.data(), static_cast<std::size_t>(content.gcount())) < 0)
      return fail("cannot send {}: {}", file.string(), text_of(tar));
  }
  return {};
}

Result<void> write_tree(int fd, const fs::path& from, const std::string& name) {
  const std::unique_ptr<archive, WriteDeleter> tar(archive_write_new());
  archive_write_set_format_gnutar(tar.get());
  archive_write_open_fd(tar.get(), fd);
  if (auto written = write_entry(tar.get(), from, name); !written)
    return written;
  std::error_code error;
  if (fs::is_directory(fs::symlink_status(from, error))) {
    for (const auto& entry : fs::recursive_directory_iterator(from, error)) {
      const fs::path inner = fs::path(name) / entry.path().lexically_relative(from);
      if (auto written = write_entry(tar.get(), entry.path(), inner); !written)
        return written;
    }
  }
  if (error)
    return fail("cannot read {}: {}", from.string(), error.message());
  if (archive_write_close(tar.get()) != ARCHIVE_OK)
    return fail("cannot send {}: {}", from.string(), text_of(tar.get()));
  return {};
}

// A new file, folder or link in `folder`, as the entry says. Others may not write what comes from a
// domain.
Result<void> put(archive* tar, archive_entry* entry, int folder, const std::string& name) {
  const auto permissions = static_cast<mode_t>(archive_entry_perm(entry)) & 0755;
  const auto failed = [&] { return fail("cannot write {}: {}", name, std::strerror(errno)); };
  const auto type = archive_entry_filetype(entry);
  if (type == AE_IFDIR) {
    // What belongs into it comes next.
    if (mkdirat(folder, name.c_str(), permissions | S_IRWXU) != 0 && errno != EEXIST)
      return failed();
    return {};
  }
  if (unlinkat(folder, name.c_str(), 0) != 0 && errno != ENOENT)
    return failed();
  if (type == AE_IFLNK) {
    const char* target = archive_entry_symlink(entry);
    return target != nullptr && symlinkat(target, folder, name.c_str()) == 0 ? Result<void>{}
                                                                             : failed();
  }
  if (type != AE_IFREG)
    return fail("the domain sent {}, which is neither a file nor a folder nor a link", name);
  const FileDescriptor file(
      openat(folder, name.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600));
  if (!file)
    return failed();
  if (archive_read_data_into_fd(tar, file.get()) != ARCHIVE_OK)
    return fail("cannot write {}: {}", name, text_of(tar));
  const std::array<timespec, 2> times = {timespec{0, UTIME_OMIT},
                                         timespec{archive_entry_mtime(entry), 0}};
  return fchmod(file.get(), permissions) == 0 && futimens(file.get(), times.data()) == 0
             ? Result<void>{}
             : failed();
}

// What lies below the first entry: through folders that were sent, and no links.
Result<void> put_below(archive* tar, archive_entry* entry, const Folder& top,
                       const fs::path& inner) {
  FileDescriptor folder(openat(top.descriptor(), ".", O_PATH | O_DIRECTORY | O_CLOEXEC));
  for (const fs::path& part : inner.parent_path()) {
    folder = FileDescriptor(
        openat(folder.get(), part.c_str(), O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
    if (!folder)
      return fail("cannot write {}: {}", (top.path() / inner).string(), std::strerror(errno));
  }
  return put(tar, entry, folder.get(), inner.filename());
}

std::string last_component(const fs::path& path) {
  const fs::path name = path.lexically_normal();
  return name.has_filename() ? name.filename() : name.parent_path().filename();
}

Result<void> check_remote(const Endpoint& domain, const Result<ExitStatus>& status, int error_file,
                          std::string_view what) {
  if (!status)
    return std::unexpected(status.error());
  if (status->shell_status() == 0)
    return {};
  std::string text(4096, '\0');
  const ssize_t n = pread(error_file, text.data(), text.size(), 0);
  text.resize(n > 0 ? static_cast<std::size_t>(n) : 0);
  return fail("domain {} cannot {}: {}", domain.domain, what, text);
}

}  // namespace

Result<void> unpack(int fd, const Place& target) {
  const std::unique_ptr<archive, ReadDeleter> tar(archive_read_new());
  archive_read_support_format_tar(tar.get());
  archive_read_open_fd(tar.get(), fd, 65536);
  std::string top;
  std::optional<Folder> folder;
  archive_entry* entry = nullptr;
  while (true) {
    const int result = archive_read_next_header(tar.get(), &entry);
    if (result == ARCHIVE_EOF)
      return top.empty() ? fail("nothing was sent") : Result<void>{};
    if (result != ARCHIVE_OK && result != ARCHIVE_WARN)
      return fail("what was sent is no tar stream: {}", text_of(tar.get()));
    if (const char* other = archive_entry_hardlink(entry))
      return fail("the domain sent {}, a second name of {}: copy that file alone",
                  archive_entry_pathname(entry), other);
    fs::path path = fs::path(archive_entry_pathname(entry)).lexically_normal();
    if (!path.has_filename())
      path = path.parent_path();
    const bool first = top.empty();
    if (first)
      top = *path.begin();
    // Nothing outside of the target is written, whatever a domain sends.
    const fs::path inner = path.lexically_relative(top);
    if (inner.empty() || *inner.begin() == ".." || first != (inner == "."))
      return fail("the domain sent '{}', which does not lie in '{}'", path.string(), top);
    if (first || !folder) {
      if (!first)
        return fail("the domain sent '{}', and '{}' is no folder", path.string(), top);
      if (auto written = put(tar.get(), entry, target.folder.get(), target.name); !written)
        return written;
      if (archive_entry_filetype(entry) == AE_IFDIR) {
        auto opened = Folder::open(target);
        if (!opened)
          return std::unexpected(opened.error());
        folder = *std::move(opened);
      }
      continue;
    }
    if (auto written = put_below(tar.get(), entry, *folder, inner); !written)
      return written;
  }
}

Result<void> copy_in(const Endpoint& domain, const fs::path& from, const std::string& to) {
  std::error_code status_error;
  if (!fs::exists(fs::symlink_status(from, status_error)))
    return fail("{} does not exist", from.string());
  const auto is_folder = capture_in_domain(domain, {"test", "-d", to}, kQuestionLimit);
  if (!is_folder)
    return std::unexpected(is_folder.error());
  const fs::path target = is_folder->status.shell_status() == 0
                              ? fs::path(to) / last_component(from)
                              : fs::path(to).lexically_normal();
  const std::string folder = target.has_parent_path() ? target.parent_path().string() : ".";

  Pipe pipe;
  const int error_file = memfd_create("error", MFD_CLOEXEC);
  Result<void> sent;
  Result<ExitStatus> status = ExitStatus{};
  {
    std::jthread sender([&] {
      sent = write_tree(pipe.writing(), from, target.filename());
      pipe.close_writing();
    });
    status = exec_in_domain(domain, {"tar", "-x", "-f", "-", "-C", folder},
                            {pipe.reading(), -1, error_file}, {});
    // A sender that nobody listens to any more must not wait for ever.
    pipe.close_reading();
  }
  auto outcome = check_remote(domain, status, error_file, "write " + target.string());
  close(error_file);
  return outcome && !sent ? sent : outcome;
}

Result<void> copy_out(const Endpoint& domain, const std::string& from, const fs::path& to) {
  const fs::path source = fs::path(from).lexically_normal();
  const std::string name = last_component(source);
  const fs::path whole = source.has_filename() ? source : source.parent_path();
  const std::string folder = whole.has_parent_path() ? whole.parent_path().string() : ".";
  std::error_code error;
  // The user's own links in the way are the user's; those that a domain sends are not followed.
  const auto target =
      find_place(fs::is_directory(to, error) ? to / name : to, MissingFolders::kMade);
  if (!target)
    return std::unexpected(target.error());

  Pipe pipe;
  const int error_file = memfd_create("error", MFD_CLOEXEC);
  Result<void> received;
  Result<ExitStatus> status = ExitStatus{};
  {
    std::jthread receiver([&] {
      received = unpack(pipe.reading(), *target);
      pipe.close_reading();
    });
    status = exec_in_domain(domain, {"tar", "-c", "-f", "-", "-C", folder, name},
                            {-1, pipe.writing(), error_file}, {});
    pipe.close_writing();
  }
  auto outcome = check_remote(domain, status, error_file, "read " + from);
  close(error_file);
  return outcome && !received ? received : outcome;
}

}  // namespace xenoprof::lab
