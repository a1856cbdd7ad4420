// SPDX-License-Identifier: GPL-2.0-or-later
#include "symbols/jit_symbols.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <cstdio>
#include <cstring>
#include <memory>
#include <string>

#include "model/number.h"

namespace xenoprof {
namespace {

// A hundred times what a large program's has.
constexpr off_t kMaxSize = off_t{1} << 30;

using File = std::unique_ptr<std::FILE, int (*)(std::FILE*)>;

bool take_hex(std::string_view& line, std::uint64_t& number) {
  if (line.starts_with("0x")) {
    line.remove_prefix(2);
  }
  const auto [end, error] = std::from_chars(line.data(), line.data() + line.size(), number, 16);
  line.remove_prefix(static_cast<std::size_t>(end - line.data()));
  if (error != std::errc() || !line.starts_with(' ')) {
    return false;
  }
  line.remove_prefix(1);
  return true;
}

bool is_trusted(uid_t owner, std::int32_t process) {
  struct stat status{};
  const std::string folder = fmt::format("/proc/{}", process);
  return owner == 0 || owner == ::geteuid() ||
         (::stat(folder.c_str(), &status) == 0 && owner == status.st_uid);
}

}  // namespace

std::optional<std::int32_t> jit_process(std::string_view image) {
  constexpr std::string_view kBefore = "/tmp/perf-";
  constexpr std::string_view kAfter = ".map";
  if (!image.starts_with(kBefore) || !image.ends_with(kAfter) ||
      image.size() <= kBefore.size() + kAfter.size()) {
    return std::nullopt;
  }
  image.remove_prefix(kBefore.size());
  image.remove_suffix(kAfter.size());
  return number<std::int32_t>(image);
}

Result<SymbolTable> read_jit_symbols(std::string_view image) {
  const std::string path(image);
  const int number = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
  const File file(number < 0 ? nullptr : ::fdopen(number, "r"), &std::fclose);
  struct stat status{};
  if (!file || ::fstat(number, &status) != 0) {
    return fail("{} cannot be read: {}.", path, std::strerror(errno));
  }
  if (!S_ISREG(status.st_mode) || status.st_size > kMaxSize) {
    return fail("{} cannot be read: it is no file of symbols.", path);
  }
  if (!is_trusted(status.st_uid, jit_process(image).value_or(0))) {
    return fail("{} is not used: it is neither root's, nor ours, nor of the process's user.", path);
  }
  SymbolTable table;
  char* buffer = nullptr;
  std::size_t room = 0;
  off_t read = 0;
  for (ssize_t length = 0; read < kMaxSize && (length = ::getline(&buffer, &room, file.get())) > 0;
       read += length) {
    std::string_view line(buffer, static_cast<std::size_t>(length));
    std::uint64_t start = 0;
    std::uint64_t size = 0;
    if (take_hex(line, start) && take_hex(line, size) && size != 0) {
      table.add(start, size, SymbolTable::Binding::kGlobal, line.substr(0, line.find('\n')));
    }
  }
  std::free(buffer);
  table.finish();
  return table;
}

}  // namespace xenoprof
