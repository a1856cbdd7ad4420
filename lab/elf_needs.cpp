// SPDX-License-Identifier: GPL-2.0-or-later
#include "elf_needs.h"

#include <fcntl.h>
#include <gelf.h>
#include <libelf.h>
#include <unistd.h>

#include <cstring>
#include <deque>
#include <optional>
#include <sstream>
#include <string_view>

namespace xenoprof::lab {
namespace {

namespace fs = std::filesystem;

class ElfFile {
 public:
  static Result<ElfFile> open(const fs::path& file) {
    elf_version(EV_CURRENT);
    ElfFile elf;
    elf.fd_ = ::open(file.c_str(), O_RDONLY | O_CLOEXEC);
    if (elf.fd_ < 0)
      return fail("cannot open {}: {}", file.string(), std::strerror(errno));
    elf.elf_ = elf_begin(elf.fd_, ELF_C_READ, nullptr);
    if (elf.elf_ == nullptr || elf_kind(elf.elf_) != ELF_K_ELF)
      return fail("{} is no ELF file", file.string());
    return elf;
  }
  ElfFile() = default;
  ElfFile(ElfFile&& other) noexcept
      : fd_(std::exchange(other.fd_, -1)), elf_(std::exchange(other.elf_, nullptr)) {}
  ElfFile(const ElfFile&) = delete;
  ElfFile& operator=(const ElfFile&) = delete;
  ElfFile& operator=(ElfFile&&) = delete;
  ~ElfFile() {
    if (elf_ != nullptr)
      elf_end(elf_);
    if (fd_ >= 0)
      close(fd_);
  }

  // Content of the first section of that type or name; nothing when there is none.
  struct Section {
    std::string_view bytes;
    std::size_t link = 0;
  };
  std::optional<Section> section_of_type(GElf_Word type) const {
    return find([type](const GElf_Shdr& header, const char*) { return header.sh_type == type; });
  }
  std::optional<Section> section_named(std::string_view name) const {
    return find([name](const GElf_Shdr&, const char* its_name) {
      return its_name != nullptr && name == its_name;
    });
  }
  const char* string_at(std::size_t section, std::size_t offset) const {
    return elf_strptr(elf_, section, offset);
  }

 private:
  template <class Predicate>
  std::optional<Section> find(Predicate matches) const {
    std::size_t names = 0;
    if (elf_getshdrstrndx(elf_, &names) != 0)
      return std::nullopt;
    Elf_Scn* section = nullptr;
    while ((section = elf_nextscn(elf_, section)) != nullptr) {
      GElf_Shdr header;
      if (gelf_getshdr(section, &header) == nullptr ||
          !matches(header, elf_strptr(elf_, names, header.sh_name)))
        continue;
      const Elf_Data* data = elf_getdata(section, nullptr);
      if (data == nullptr || data->d_buf == nullptr)
        return std::nullopt;
      return Section{{static_cast<const char*>(data->d_buf), data->d_size}, header.sh_link};
    }
    return std::nullopt;
  }

  int fd_ = -1;
  Elf* elf_ = nullptr;
};

struct Needs {
  std::vector<std::string> libraries;
  std::vector<std::string> search_folders;  // of DT_RUNPATH
  std::string interpreter;
};

Result<Needs> needs_of(const fs::path& file) {
  const auto elf = ElfFile::open(file);
  if (!elf)
    return std::unexpected(elf.error());
  Needs needs;
  if (const auto interpreter = elf->section_named(".interp"))
    needs.interpreter = interpreter->bytes.substr(0, interpreter->bytes.find('\0'));
  const auto dynamic = elf->section_of_type(SHT_DYNAMIC);
  if (!dynamic)
    return needs;
  const std::size_t count = dynamic->bytes.size() / sizeof(Elf64_Dyn);
  for (std::size_t i = 0; i < count; ++i) {
    Elf64_Dyn entry;
    std::memcpy(&entry, dynamic->bytes.data() + i * sizeof entry, sizeof entry);
    const char* text = elf->string_at(dynamic->link, entry.d_un.d_val);
    if (text == nullptr)
      continue;
    if (entry.d_tag == DT_NEEDED)
      needs.libraries.emplace_back(text);
    else if (entry.d_tag == DT_RUNPATH || entry.d_tag == DT_RPATH)
      needs.search_folders.emplace_back(text);
  }
  return needs;
}

// Adds a path of the root and, when it is a link, what it leads to. Returns the file at the end.
fs::path add_with_links(const fs::path& root, fs::path path, std::set<std::string>& all) {
  std::error_code error;
  for (int links = 0; links < 16; ++links) {
    // The folders' own links (lib -> usr/lib) are the image's business.
    const fs::path folder = fs::canonical(root / path.relative_path().parent_path(), error);
    path = "/" / folder.lexically_relative(root) / path.filename();
    all.insert(path.string());
    const fs::path file = root / path.relative_path();
    if (!fs::is_symlink(file, error))
      return file;
    path = path.parent_path() / fs::read_symlink(file, error);
  }
  return root / path.relative_path();
}

}  // namespace

Result<std::set<std::string>> shared_objects_needed(const std::vector<fs::path>& files,
                                                    const fs::path& root_path) {
  std::error_code error;
  const fs::path root = fs::canonical(root_path, error);
  std::set<std::string> all;
  std::set<fs::path> seen;
  std::deque<fs::path> open(files.begin(), files.end());
  while (!open.empty()) {
    const fs::path file = open.front();
    open.pop_front();
    if (!seen.insert(file).second)
      continue;
    const auto needs = needs_of(file);
    if (!needs)
      return std::unexpected(needs.error());
    std::vector<std::string> wanted;
    if (!needs->interpreter.empty())
      wanted.push_back(needs->interpreter);
    for (const std::string& library : needs->libraries) {
      std::vector<std::string> folders = {"/usr/lib/x86_64-linux-gnu", "/usr/lib", "/usr/lib64"};
      folders.insert(folders.begin(), needs->search_folders.begin(), needs->search_folders.end());
      std::string found;
      for (const std::string& folder : folders) {
        const fs::path candidate = fs::path(folder) / library;
        if (fs::exists(root / candidate.relative_path(), error)) {
          found = candidate;
          break;
        }
      }
      if (found.empty())
        return fail("{} needs the library {}, which no package of the lab has", file.string(),
                    library);
      wanted.push_back(found);
    }
    for (const std::string& path : wanted)
      open.push_back(add_with_links(root, path, all));
  }
  return all;
}

Result<std::vector<std::string>> module_dependencies(const fs::path& module) {
  const auto elf = ElfFile::open(module);
  if (!elf)
    return std::unexpected(elf.error());
  const auto info = elf->section_named(".modinfo");
  if (!info)
    return fail("{} is no kernel module", module.string());
  std::vector<std::string> names;
  std::istringstream entries{std::string(info->bytes)};
  for (std::string entry; std::getline(entries, entry, '\0');) {
    constexpr std::string_view kDepends = "depends=";
    if (!entry.starts_with(kDepends))
      continue;
    std::istringstream list(entry.substr(kDepends.size()));
    for (std::string name; std::getline(list, name, ',');)
      names.push_back(name);
  }
  return names;
}

}  // namespace xenoprof::lab
