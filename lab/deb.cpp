// SPDX-License-Identifier: GPL-2.0-or-later
#include "deb.h"

#include <archive.h>
#include <archive_entry.h>

#include <array>
#include <memory>
#include <mutex>
#include <system_error>

namespace xenoprof::lab {
namespace {

namespace fs = std::filesystem;

constexpr std::array<std::string_view, 4> kMergedFolders = {"bin", "sbin", "lib", "lib64"};
constexpr mode_t kKeptModeBits = 0777;

struct ArchiveDeleter {
  void operator()(archive* reader) const { archive_read_free(reader); }
};
using ReadArchive = std::unique_ptr<archive, ArchiveDeleter>;

struct DiskDeleter {
  void operator()(archive* writer) const { archive_write_free(writer); }
};

std::string error_text(archive* of) {
  const char* text = archive_error_string(of);
  return text == nullptr ? "unknown error" : text;
}

// Feeds one member of an archive to another reader.
la_ssize_t read_member(archive*, void* outer, const void** buffer) {
  std::size_t size = 0;
  la_int64_t offset = 0;
  const int result = archive_read_data_block(static_cast<archive*>(outer), buffer, &size, &offset);
  if (result == ARCHIVE_EOF)
    return 0;
  return result == ARCHIVE_OK ? static_cast<la_ssize_t>(size) : -1;
}

Result<void> copy_data(archive* from, archive* to, const std::string& name) {
  const void* buffer = nullptr;
  std::size_t size = 0;
  la_int64_t offset = 0;
  while (true) {
    const int result = archive_read_data_block(from, &buffer, &size, &offset);
    if (result == ARCHIVE_EOF)
      return {};
    if (result != ARCHIVE_OK)
      return fail("{} cannot be read: {}", name, error_text(from));
    if (archive_write_data_block(to, buffer, size, offset) != ARCHIVE_OK)
      return fail("{} cannot be written: {}", name, error_text(to));
  }
}

// libarchive asks for the umask by setting it to zero for a moment: one thread at a time.
std::unique_ptr<archive, DiskDeleter> new_disk_writer() {
  static std::mutex mutex;
  const std::lock_guard lock(mutex);
  return std::unique_ptr<archive, DiskDeleter>(archive_write_disk_new());
}

Result<void> unpack_tar(archive* tar, const fs::path& root,
                        const std::function<bool(std::string_view)>& wanted) {
  const std::unique_ptr<archive, DiskDeleter> disk = new_disk_writer();
  archive_write_disk_set_options(disk.get(), ARCHIVE_EXTRACT_TIME | ARCHIVE_EXTRACT_PERM |
                                                 ARCHIVE_EXTRACT_SECURE_NODOTDOT |
                                                 ARCHIVE_EXTRACT_UNLINK);
  archive_entry* entry = nullptr;
  while (true) {
    const int result = archive_read_next_header(tar, &entry);
    if (result == ARCHIVE_EOF)
      return {};
    if (result != ARCHIVE_OK && result != ARCHIVE_WARN)
      return fail("the package's content cannot be read: {}", error_text(tar));
    const std::string original = archive_entry_pathname(entry);
    const std::string path = merged_path(original);
    if (path.empty() || !wanted(path))
      continue;
    const auto type = archive_entry_filetype(entry);
    const char* hard_link = archive_entry_hardlink(entry);  // such entries have no type
    if (hard_link == nullptr && type != AE_IFREG && type != AE_IFLNK && type != AE_IFDIR)
      continue;
    archive_entry_set_pathname(entry, (root / path).c_str());
    // Folders must stay writable for us while later packages add to them.
    archive_entry_set_perm(entry, (archive_entry_perm(entry) & kKeptModeBits) | 0600);
    if (hard_link != nullptr)
      archive_entry_set_hardlink(entry, (root / merged_path(hard_link)).c_str());
    else if (type == AE_IFLNK)
      archive_entry_set_symlink(entry,
                                merged_link_target(original, archive_entry_symlink(entry)).c_str());
    // Two packages' folders meet in one place; a folder is never replaced by its later twin.
    std::error_code error;
    if (type == AE_IFDIR && fs::is_directory(root / path, error))
      continue;
    if (archive_write_header(disk.get(), entry) != ARCHIVE_OK)
      return fail("{} cannot be written: {}", path, error_text(disk.get()));
    if (archive_entry_size(entry) > 0) {
      if (auto copied = copy_data(tar, disk.get(), path); !copied)
        return copied;
    }
    if (archive_write_finish_entry(disk.get()) != ARCHIVE_OK)
      return fail("{} cannot be written: {}", path, error_text(disk.get()));
  }
}

}  // namespace

std::string merged_path(std::string_view path) {
  const std::string clean = fs::path("/" + std::string(path)).lexically_normal().relative_path();
  const std::string whole = clean.ends_with('/') ? clean.substr(0, clean.size() - 1) : clean;
  const std::string first = whole.substr(0, whole.find('/'));
  for (const std::string_view folder : kMergedFolders)
    if (first == folder)
      return "usr/" + whole;
  return whole == "." ? "" : whole;
}

std::string merged_link_target(std::string_view link, std::string_view target) {
  const fs::path original_folder =
      fs::path("/" + std::string(link)).lexically_normal().parent_path();
  const fs::path absolute = (original_folder / target).lexically_normal();
  const fs::path merged = "/" + merged_path(absolute.string());
  const fs::path merged_folder = fs::path("/" + merged_path(link)).parent_path();
  return merged.lexically_relative(merged_folder);
}

Result<void> prepare_root(const fs::path& root) {
  std::error_code error;
  for (const std::string_view folder : kMergedFolders) {
    fs::create_directories(root / "usr" / folder, error);
    if (!error && !fs::is_symlink(root / folder))
      fs::create_directory_symlink(fs::path("usr") / folder, root / folder, error);
    if (error)
      return fail("cannot prepare {}: {}", root.string(), error.message());
  }
  return {};
}

Result<void> unpack_deb(const fs::path& deb, const fs::path& root,
                        const std::function<bool(std::string_view)>& wanted) {
  const ReadArchive package(archive_read_new());
  archive_read_support_format_ar(package.get());
  if (archive_read_open_filename(package.get(), deb.c_str(), 1 << 20) != ARCHIVE_OK)
    return fail("{} cannot be opened: {}", deb.string(), error_text(package.get()));
  archive_entry* member = nullptr;
  while (archive_read_next_header(package.get(), &member) == ARCHIVE_OK) {
    if (!std::string_view(archive_entry_pathname(member)).starts_with("data.tar"))
      continue;
    const ReadArchive tar(archive_read_new());
    archive_read_support_format_tar(tar.get());
    archive_read_support_filter_all(tar.get());
    if (archive_read_open(tar.get(), package.get(), nullptr, read_member, nullptr) != ARCHIVE_OK)
      return fail("{} is damaged: {}", deb.string(), error_text(tar.get()));
    auto unpacked = unpack_tar(tar.get(), root, wanted);
    if (!unpacked)
      return fail("{}: {}", deb.filename().string(), unpacked.error().message);
    return {};
  }
  return fail("{} is no Debian package; remove it and try again", deb.string());
}

Result<std::string> decompress(std::string_view data, std::string_view what) {
  const ReadArchive raw(archive_read_new());
  archive_read_support_format_raw(raw.get());
  archive_read_support_filter_all(raw.get());
  archive_entry* entry = nullptr;
  if (archive_read_open_memory(raw.get(), data.data(), data.size()) != ARCHIVE_OK ||
      archive_read_next_header(raw.get(), &entry) != ARCHIVE_OK)
    return fail("{} cannot be decompressed: {}", what, error_text(raw.get()));
  std::string out;
  std::array<char, 1 << 16> block;
  while (true) {
    const la_ssize_t n = archive_read_data(raw.get(), block.data(), block.size());
    if (n < 0)
      return fail("{} cannot be decompressed: {}", what, error_text(raw.get()));
    if (n == 0)
      return out;
    out.append(block.data(), static_cast<std::size_t>(n));
  }
}

}  // namespace xenoprof::lab
