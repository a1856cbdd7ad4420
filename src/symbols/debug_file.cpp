// SPDX-License-Identifier: GPL-2.0-or-later
#include "symbols/debug_file.h"

#include <lzma.h>
#include <zlib.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <system_error>
#include <utility>
#include <vector>

#include "symbols/child_process.h"

namespace xenoprof {
namespace {

// A file whose checksum must be made is read whole.
constexpr std::uint64_t kMaxChecked = std::uint64_t{2} << 30;
// What decompressing may take (xz -9 asks for 65 MiB) and yield: names of functions shrink to a
// fifth or so.
constexpr std::uint64_t kMaxDecoderMemory = std::uint64_t{128} << 20;
constexpr std::uint64_t kMaxExpansion = 32;
constexpr std::uint64_t kMaxExpanded = std::uint64_t{256} << 20;

struct DebugLink {
  std::string name;
  std::uint32_t checksum = 0;  // zlib's CRC-32 of the whole file
};

// The section holds the name, zeros up to the next multiple of four, the checksum (GDB's manual,
// "Debugging Information in Separate Files").
std::optional<DebugLink> debug_link(const ElfFile& file) {
  Elf_Scn* section = file.section(".gnu_debuglink");
  GElf_Shdr header;
  if (section == nullptr || gelf_getshdr(section, &header) == nullptr) {
    return std::nullopt;
  }
  const Elf_Data* data = data_of(section, header);
  if (data == nullptr || data->d_buf == nullptr) {
    return std::nullopt;
  }
  const std::string_view content(static_cast<const char*>(data->d_buf), data->d_size);
  DebugLink link;
  link.name = content.substr(0, content.find('\0'));
  const std::size_t place = (link.name.size() + 4) / 4 * 4;
  if (link.name.empty() || link.name.find('/') != std::string::npos || link.name.size() > 255 ||
      content.size() < place + sizeof link.checksum) {
    return std::nullopt;
  }
  std::memcpy(&link.checksum, content.data() + place, sizeof link.checksum);
  return link;
}

bool has_checksum(const ElfFile& file, std::uint32_t wanted) {
  constexpr std::size_t kPiece = std::size_t{1} << 20;
  uLong sum = crc32(0, nullptr, 0);
  for (std::uint64_t offset = 0; offset < kMaxChecked;) {
    const std::string piece = file.read(offset, kPiece);
    if (piece.empty()) {
      return sum == wanted;
    }
    sum = crc32(sum, reinterpret_cast<const Bytef*>(piece.data()), static_cast<uInt>(piece.size()));
    offset += piece.size();
  }
  return false;
}

std::optional<ElfFile> open_checked(const std::string& build_id,
                                    const std::filesystem::path& path) {
  auto found = ElfFile::open(path);
  if (!found || found->build_id() != build_id) {
    return std::nullopt;
  }
  return *std::move(found);
}

std::optional<ElfFile> by_build_id(const std::string& id, const DebugSearch& search) {
  return id.size() <= 2 ? std::nullopt
                        : open_checked(id, search.root / ".build-id" / id.substr(0, 2) /
                                               (id.substr(2) + ".debug"));
}

std::optional<ElfFile> by_link(const ElfFile& file, const std::filesystem::path& path,
                               const std::filesystem::path& root) {
  const auto link = debug_link(file);
  if (!link) {
    return std::nullopt;
  }
  const auto folder = path.parent_path();
  for (const auto& candidate : {folder / link->name, folder / ".debug" / link->name,
                                root / folder.relative_path() / link->name}) {
    auto found = ElfFile::open(candidate);
    if (found && (file.build_id().empty() ? has_checksum(*found, link->checksum)
                                          : found->build_id() == file.build_id())) {
      return *std::move(found);
    }
  }
  return std::nullopt;
}

// Through the program, because its library cannot be loaded into a static program. It keeps what
// it fetched in the user's cache.
std::optional<ElfFile> from_debuginfod(const std::string& build_id, DebugSearch& search) {
  const char* servers = std::getenv("DEBUGINFOD_URLS");
  if (servers == nullptr || *servers == '\0' || search.debuginfod.count() <= 0) {
    return std::nullopt;
  }
  const auto begin = std::chrono::steady_clock::now();
  const std::string said = output_of({"debuginfod-find", "debuginfo", build_id},
                                     {.time = search.debuginfod, .output = 4096});
  search.debuginfod -= std::chrono::duration_cast<std::chrono::milliseconds>(
      std::chrono::steady_clock::now() - begin);
  const std::string path = said.substr(0, said.find('\n'));
  return path.starts_with('/') ? open_checked(build_id, path) : std::nullopt;
}

}  // namespace

std::optional<ElfFile> find_debug_file(const ElfFile& file, const std::filesystem::path& path,
                                       DebugSearch& search) {
  const std::string& id = file.build_id();
  if (auto found = by_build_id(id, search)) {
    return found;
  }
  if (auto found = by_link(file, path, search.root)) {
    return found;
  }
  const bool complete = file.has_data(".debug_info");
  return complete || id.empty() ? std::nullopt : from_debuginfod(id, search);
}

std::optional<ElfFile> find_kernel_file(const std::string& build_id, DebugSearch& search) {
  if (build_id.empty()) {
    return std::nullopt;
  }
  if (auto found = by_build_id(build_id, search)) {
    return found;
  }
  // Debian: boot/vmlinux-RELEASE. Fedora: lib/modules/RELEASE/vmlinux.
  std::error_code error;
  std::vector<std::filesystem::path> candidates;
  for (const auto& entry : std::filesystem::directory_iterator(search.root / "boot", error)) {
    candidates.push_back(entry.path());
  }
  for (const auto& entry :
       std::filesystem::directory_iterator(search.root / "lib/modules", error)) {
    candidates.push_back(entry.path() / "vmlinux");
  }
  for (const auto& candidate : candidates) {
    if (auto found = open_checked(build_id, candidate)) {
      return found;
    }
  }
  return from_debuginfod(build_id, search);
}

std::optional<ElfFile> read_mini_debug_info(const ElfFile& file) {
  Elf_Scn* section = file.section(".gnu_debugdata");
  GElf_Shdr header;
  if (section == nullptr || gelf_getshdr(section, &header) == nullptr) {
    return std::nullopt;
  }
  const Elf_Data* data = data_of(section, header);
  if (data == nullptr || data->d_buf == nullptr || data->d_size == 0) {
    return std::nullopt;
  }
  lzma_stream stream = LZMA_STREAM_INIT;
  if (lzma_stream_decoder(&stream, kMaxDecoderMemory, 0) != LZMA_OK) {
    return std::nullopt;
  }
  std::string bytes;
  stream.next_in = static_cast<const std::uint8_t*>(data->d_buf);
  stream.avail_in = data->d_size;
  lzma_ret status = LZMA_OK;
  const std::uint64_t most = std::min(data->d_size * kMaxExpansion, kMaxExpanded);
  while (status == LZMA_OK && bytes.size() < most) {
    const std::size_t have = bytes.size();
    bytes.resize(have + std::max<std::size_t>(data->d_size, 4096));
    stream.next_out = reinterpret_cast<std::uint8_t*>(bytes.data()) + have;
    stream.avail_out = bytes.size() - have;
    status = lzma_code(&stream, LZMA_FINISH);
    bytes.resize(bytes.size() - stream.avail_out);
  }
  lzma_end(&stream);
  if (status != LZMA_STREAM_END) {
    return std::nullopt;
  }
  auto found = ElfFile::in_memory(std::move(bytes));
  return found ? std::optional(*std::move(found)) : std::nullopt;
}

}  // namespace xenoprof
