// SPDX-License-Identifier: GPL-2.0-or-later
#include "symbols/image_code.h"

#include <system_error>

#include "model/profile.h"
#include "symbols/demangle.h"
#include "symbols/kernel_symbols.h"

namespace xenoprof {
namespace {

// No function is larger; a damaged file's symbol may be.
constexpr std::uint64_t kMaxFunction = std::uint64_t{4} << 20;
constexpr char kKernelMemory[] = "/proc/kcore";

}  // namespace

Result<ImageCode> ImageCode::open_kernel(std::string_view image, std::string_view build_id) {
  if (image == kXenImage) {
    return fail("Xen's code cannot be read from within a domain");
  }
  if (build_id.empty() || running_build_id(image) != build_id) {
    return fail("the kernel that runs here is not the one that was recorded, or that is not known");
  }
  auto memory = ElfFile::open(kKernelMemory);
  if (!memory) {
    return fail("{} shows the kernel's code to root alone, and not on every kernel", kKernelMemory);
  }
  auto symbols = read_kallsyms();
  if (!symbols) {
    return std::unexpected(symbols.error());
  }
  ImageCode code;
  code.kernel_.emplace(*std::move(memory), *std::move(symbols));
  return code;
}

Result<ImageCode> ImageCode::open(std::string_view image, std::string_view build_id) {
  if (image.starts_with('[') && image != "[vdso]") {
    return image == kUnknownImage || image == kPassiveUserImage
               ? fail("no file is known that holds its code")
               : open_kernel(image, build_id);
  }
  DebugSearch search;
  const std::string path(image);
  auto file = image == "[vdso]" ? read_vdso() : read_elf(path, search);
  if (!file) {
    return fail("{} is not on this machine, or cannot be read", path);
  }
  if (build_id.empty()) {
    return fail("the profile does not say which {} ran: it has no build-id", path);
  }
  if (file->file.build_id() != build_id) {
    return fail("{} on this machine is not the file that ran: its build-id is another", path);
  }
  ImageCode code;
  code.file_ = *std::move(file);
  std::error_code error;
  if (const auto time = std::filesystem::last_write_time(path, error); !error) {
    code.written_ = time;
  }
  return code;
}

std::optional<Symbol> ImageCode::function_at(std::uint64_t address) {
  auto symbol = (kernel_ ? kernel_->symbols : file_->symbols).find(address);
  if (symbol) {
    name_ = demangle(symbol->name);
    symbol->name = name_;
  }
  return symbol;
}

std::uint64_t ImageCode::virtual_address(std::uint64_t address) const {
  return kernel_ ? address : file_->file.address_of(address).value_or(address);
}

std::string ImageCode::bytes(const Symbol& function) const {
  const std::uint64_t size = function.end - function.start;
  if (size > kMaxFunction) {
    return {};
  }
  if (!kernel_) {
    return file_->file.read(function.start, size);
  }
  for (const Segment& segment : kernel_->memory.segments()) {
    if (function.start >= segment.start && function.start - segment.start < segment.file_size) {
      return kernel_->memory.read(function.start - segment.start + segment.offset, size);
    }
  }
  return {};
}

SourceLines ImageCode::lines(std::span<const std::uint64_t> addresses,
                             std::chrono::milliseconds time) const {
  if (kernel_) {
    SourceLines none;
    none.of.resize(addresses.size());
    return none;
  }
  return read_source_lines(*file_, addresses, time);
}

}  // namespace xenoprof
