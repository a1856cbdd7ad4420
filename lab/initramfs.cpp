// SPDX-License-Identifier: GPL-2.0-or-later
#include "initramfs.h"

#include <archive.h>
#include <archive_entry.h>

#include <fstream>
#include <memory>

#include "hash.h"

namespace xenoprof::lab {
namespace {

namespace fs = std::filesystem;

struct WriteDeleter {
  void operator()(archive* writer) const { archive_write_free(writer); }
};
struct EntryDeleter {
  void operator()(archive_entry* entry) const { archive_entry_free(entry); }
};

la_ssize_t append(archive*, void* out, const void* bytes, std::size_t size) {
  static_cast<std::string*>(out)->append(static_cast<const char*>(bytes), size);
  return static_cast<la_ssize_t>(size);
}

}  // namespace

void InitramfsLayer::add(const std::string& path, Entry entry) {
  const std::string folder = fs::path(path).parent_path();
  if (folder.size() > 1 && !entries_.contains(folder))
    add_folder(folder);
  entries_.insert_or_assign(path, std::move(entry));
}

void InitramfsLayer::add_folder(const std::string& path) {
  add(path, {Kind::kFolder, "", 0755});
}

void InitramfsLayer::add_link(const std::string& path, const std::string& target) {
  add(path, {Kind::kLink, target, 0777});
}

void InitramfsLayer::add_file(const std::string& path, const fs::path& source, unsigned mode) {
  add(path, {Kind::kFile, source.string(), mode});
}

void InitramfsLayer::add_text(const std::string& path, std::string text, unsigned mode) {
  add(path, {Kind::kText, std::move(text), mode});
}

std::uint64_t InitramfsLayer::key() const {
  Hash hash;
  for (const auto& [path, entry] : entries_) {
    hash.add(path);
    hash.add(fmt::format("{} {}", static_cast<int>(entry.kind), entry.mode));
    hash.add(entry.text);
    if (entry.kind == Kind::kFile) {
      std::error_code error;
      hash.add(fmt::format("{} {}", fs::file_size(entry.text, error),
                           fs::last_write_time(entry.text, error).time_since_epoch().count()));
    }
  }
  return hash.value();
}

Result<std::string> InitramfsLayer::archive() const {
  std::string out;
  const std::unique_ptr<struct archive, WriteDeleter> writer(archive_write_new());
  archive_write_set_format_cpio_newc(writer.get());
  archive_write_set_bytes_per_block(writer.get(), 0);
  archive_write_open(writer.get(), &out, nullptr, append, nullptr);
  for (const auto& [path, item] : entries_) {
    std::string content;
    if (item.kind == Kind::kText) {
      content = item.text;
    } else if (item.kind == Kind::kFile) {
      std::ifstream stream(item.text, std::ios::binary);
      content.assign(std::istreambuf_iterator<char>(stream), {});
      if (!stream)
        return fail("cannot read {}", item.text);
    }
    const std::unique_ptr<archive_entry, EntryDeleter> entry(archive_entry_new());
    archive_entry_set_pathname(entry.get(), path.substr(1).c_str());
    archive_entry_set_perm(entry.get(), item.mode);
    archive_entry_set_filetype(entry.get(), item.kind == Kind::kFolder ? AE_IFDIR
                                            : item.kind == Kind::kLink ? AE_IFLNK
                                                                       : AE_IFREG);
    archive_entry_set_size(entry.get(), static_cast<la_int64_t>(content.size()));
    if (item.kind == Kind::kLink)
      archive_entry_set_symlink(entry.get(), item.text.c_str());
    if (archive_write_header(writer.get(), entry.get()) != ARCHIVE_OK ||
        (!content.empty() && archive_write_data(writer.get(), content.data(), content.size()) < 0))
      return fail("cannot put {} into an image: {}", path, archive_error_string(writer.get()));
  }
  if (archive_write_close(writer.get()) != ARCHIVE_OK)
    return fail("cannot finish an image: {}", archive_error_string(writer.get()));
  out.resize((out.size() + 511) / 512 * 512, '\0');
  return out;
}

}  // namespace xenoprof::lab
