// SPDX-License-Identifier: GPL-2.0-or-later
#include "symbols/image_code.h"

#include <algorithm>
#include <system_error>
#include <utility>

#include "model/profile.h"
#include "symbols/demangle.h"
#include "symbols/kernel_symbols.h"

namespace xenoprof {
namespace {

// No function is larger; a damaged file's symbol may be.
constexpr std::uint64_t kMaxFunction = std::uint64_t{4} << 20;
constexpr char kKernelMemory[] = "/proc/kcore";

// x86-64 Linux moves itself up by a multiple of CONFIG_PHYSICAL_ALIGN, which is one of 2 MiB, and
// stays within KERNEL_IMAGE_SIZE (arch/x86/Kconfig, asm/page_64_types.h, 6.1). Xen stays where its
// linker put it.
constexpr std::uint64_t kMoveStep = std::uint64_t{2} << 20;
constexpr std::uint64_t kMoveLimit = std::uint64_t{1} << 30;
constexpr std::size_t kEnoughFunctions = 1000;

// By how much all has to be moved up so that most functions are where they were seen. Not all need
// be: one may have two names.
std::optional<std::uint64_t> find_move(const ElfImage& image,
                                       std::span<const NamedAddress> functions) {
  functions = functions.first(std::min(functions.size(), kEnoughFunctions));
  for (std::uint64_t moved = 0; moved < kMoveLimit; moved += kMoveStep) {
    const auto fits = std::ranges::count_if(functions, [&](const NamedAddress& function) {
      const auto offset = image.file.offset_of(function.address - moved);
      const auto symbol = offset ? image.symbols.find(*offset) : std::nullopt;
      return symbol && symbol->name == function.symbol;
    });
    if (static_cast<std::size_t>(fits) * 2 > functions.size()) {
      return moved;
    }
  }
  return std::nullopt;
}

std::optional<std::filesystem::file_time_type> time_of(const std::filesystem::path& path) {
  std::error_code error;
  const auto time = std::filesystem::last_write_time(path, error);
  return error ? std::nullopt : std::optional(time);
}

}  // namespace

Result<ImageCode> ImageCode::open_memory(std::string_view image, std::string_view build_id) {
  if (image == kXenImage) {
    return fail("Xen's memory cannot be read from within a domain");
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
  code.memory_.emplace(*std::move(memory), *std::move(symbols));
  return code;
}

Result<ImageCode> ImageCode::open_kernel(std::string_view image, std::string_view build_id,
                                         KernelSearch& search) {
  std::optional<ElfFile> file;
  const std::string path = search.file.string();
  if (!path.empty()) {
    auto given = ElfFile::open(path);
    if (!given) {
      return std::unexpected(given.error());
    }
    if (!build_id.empty() && given->build_id() != build_id) {
      return fail("{} is not the {} that ran: its build-id is {}, not {}", path, image,
                  given->build_id().empty() ? "missing" : given->build_id(), build_id);
    }
    file = *std::move(given);
  } else {
    file = find_kernel_file(std::string(build_id), search.debug);
  }
  if (!file || !file->has_data(".text")) {
    return path.empty() ? fail("there is no file of it here") : fail("{} has no code in it", path);
  }
  ImageCode code;
  code.file_ = whole_image(*std::move(file));
  code.moved_ = find_move(*code.file_, search.functions);
  if (!code.moved_) {
    return fail("the functions of {} do not lie as they did when recorded",
                path.empty() ? "its debug file" : path);
  }
  code.written_ = path.empty() ? std::filesystem::file_time_type::max() : time_of(path);
  return code;
}

Result<ImageCode> ImageCode::open(std::string_view image, std::string_view build_id,
                                  KernelSearch kernel) {
  const std::string path(image);
  if (image == kUnknownImage || image == kPassiveUserImage) {
    return fail("no file is known that holds its code");
  }
  if (image == kKernelImage || image == kXenImage) {
    auto code = open_kernel(image, build_id, kernel);
    if (code || !kernel.file.empty()) {
      return code;
    }
    auto memory = open_memory(image, build_id);
    if (memory) {
      return memory;
    }
    return fail("{}, and {}; --vmlinux FILE shows it, with source lines", code.error().message,
                memory.error().message);
  }
  if (image.starts_with('[') && image != "[vdso]") {
    return open_memory(image, build_id);
  }
  auto file = image == "[vdso]" ? read_vdso() : read_elf(path, kernel.debug);
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
  code.written_ = time_of(path);
  return code;
}

std::optional<std::uint64_t> ImageCode::offset_of(std::uint64_t address) const {
  return moved_ ? file_->file.offset_of(address - *moved_) : address;
}

std::optional<Symbol> ImageCode::function_at(std::uint64_t address, std::string_view name) const {
  if (memory_) {
    const auto symbol = memory_->symbols.find(address);
    return symbol && demangle(symbol->name) == name ? symbol : std::nullopt;
  }
  const auto offset = offset_of(address);
  auto symbol = offset ? file_->symbols.find(*offset) : std::nullopt;
  // Of the kernel's file most functions are known to be where they were. The same one may have
  // another name here, because a list of the kernel's symbols has no lengths to choose by.
  if (!symbol || (!moved_ && demangle(symbol->name) != name)) {
    return std::nullopt;
  }
  symbol->start += address - *offset;
  symbol->end += address - *offset;
  return symbol;
}

std::uint64_t ImageCode::virtual_address(std::uint64_t address) const {
  return memory_ || moved_ ? address : file_->file.address_of(address).value_or(address);
}

std::string ImageCode::bytes(const Symbol& function) const {
  const std::uint64_t size = function.end - function.start;
  const ElfFile& file = memory_ ? memory_->file : file_->file;
  const auto offset = memory_ ? file.offset_of(function.start) : offset_of(function.start);
  return size > kMaxFunction || !offset ? "" : file.read(*offset, size);
}

SourceLines ImageCode::lines(std::span<const std::uint64_t> addresses,
                             std::chrono::milliseconds time) const {
  if (memory_) {
    SourceLines none;
    none.of.resize(addresses.size());
    return none;
  }
  std::vector<std::uint64_t> offsets;
  for (const std::uint64_t address : addresses) {
    offsets.push_back(offset_of(address).value_or(0));
  }
  return read_source_lines(*file_, offsets, time);
}

}  // namespace xenoprof
