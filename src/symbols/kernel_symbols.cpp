// SPDX-License-Identifier: GPL-2.0-or-later
#include "symbols/kernel_symbols.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <functional>
#include <iterator>
#include <memory>
#include <sstream>
#include <unordered_map>
#include <vector>

#include "model/profile.h"
#include "symbols/elf_file.h"

namespace xenoprof {
namespace {

// Ten times what a large kernel has.
constexpr std::size_t kMaxLines = 4'000'000;

// One line of /proc/kallsyms, System.map and /proc/xen/xensyms: "address type name", and in the
// first, for a module's symbol, "\t[module]".
struct ListLine {
  std::uint64_t address = 0;
  char type = 0;
  std::string_view name;
  std::string_view module;
};

bool parse_line(std::string_view text, ListLine& line) {
  const auto [end, error] =
      std::from_chars(text.data(), text.data() + text.size(), line.address, 16);
  text.remove_prefix(static_cast<std::size_t>(end - text.data()));
  if (error != std::errc() || text.size() < 4 || text[0] != ' ' || text[2] != ' ') {
    return false;
  }
  line.type = text[1];
  line.name = text.substr(3, text.find_first_of("\t\n", 3) - 3);
  const std::size_t module = text.find('[');
  line.module = module == std::string_view::npos
                    ? ""
                    : text.substr(module, text.find(']', module) - module + 1);
  return true;
}

Result<void> read_lines(const std::filesystem::path& path,
                        const std::function<void(const ListLine&)>& take) {
  const std::unique_ptr<std::FILE, int (*)(std::FILE*)> file(std::fopen(path.c_str(), "re"),
                                                             &std::fclose);
  if (!file) {
    return fail("{} cannot be read: {}.", path.string(), std::strerror(errno));
  }
  // The kernel would have /proc read in pieces of 1 KiB.
  std::setvbuf(file.get(), nullptr, _IOFBF, std::size_t{64} << 10);
  std::array<char, 1024> buffer{};
  ListLine line;
  std::size_t lines = 0;
  while (std::fgets(buffer.data(), buffer.size(), file.get()) != nullptr) {
    if (++lines > kMaxLines) {
      return fail("{} has more than {} lines, so it is no list of symbols.", path.string(),
                  kMaxLines);
    }
    if (parse_line(buffer.data(), line)) {
      take(line);
    }
  }
  if (std::ferror(file.get()) != 0) {
    return fail("{} cannot be read: {}.", path.string(), std::strerror(errno));
  }
  return {};
}

// Lower case: local.
bool is_code(char type) {
  return type == 'T' || type == 't' || type == 'W' || type == 'w';
}

SymbolTable::Binding binding_of(char type) {
  switch (type) {
    case 'T':
      return SymbolTable::Binding::kGlobal;
    case 'W':
      return SymbolTable::Binding::kWeak;
    default:
      return SymbolTable::Binding::kLocal;
  }
}

// "arch/x86/mm.c#name" without the file.
std::string_view without_file(std::string_view name) {
  return name.substr(name.find('#') + 1);  // npos + 1 is 0
}

std::string contents_of(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

}  // namespace

// "[xen_netback]" has its notes where sysfs shows the module.
std::string running_build_id(std::string_view image) {
  if (image == kXenImage) {
    std::string id = contents_of("/sys/hypervisor/properties/buildid");
    id.erase(std::find_if(id.begin(), id.end(), [](unsigned char c) { return !std::isxdigit(c); }),
             id.end());
    return id;
  }
  if (image == kKernelImage) {
    return build_id_of_notes(contents_of("/sys/kernel/notes"));
  }
  const std::string module(image.substr(1, image.size() - 2));
  if (module.find('/') != std::string::npos) {
    return {};
  }
  return build_id_of_notes(
      contents_of(std::filesystem::path("/sys/module") / module / "notes/.note.gnu.build-id"));
}

// A line of /proc/modules: name size users used-by state address.
std::uint64_t running_address(std::string_view module) {
  std::ifstream list("/proc/modules");
  for (std::string line; std::getline(list, line);) {
    std::istringstream words(line);
    std::string name;
    std::string unused;
    std::uint64_t address = 0;
    words >> name >> unused >> unused >> unused >> unused >> std::hex >> address;
    if (words && "[" + name + "]" == module) {
      return address;
    }
  }
  return 0;
}

Result<SymbolTable> read_kallsyms(const std::filesystem::path& path, KernelText* text) {
  SymbolTable table;
  std::unordered_map<std::string, std::uint32_t> modules = {{"", 0}};
  std::string module;  // those of a module stand together
  std::uint32_t id = 0;
  bool some_address = false;
  const auto read = read_lines(path, [&](const ListLine& line) {
    if (!is_code(line.type)) {
      return;
    }
    some_address |= line.address != 0;
    if (line.module != module) {
      module = line.module;
      id = modules.try_emplace(module, modules.size()).first->second;
    }
    if (text != nullptr && module.empty() && line.name == "_text") {
      text->start = line.address;
    } else if (text != nullptr && module.empty() && line.name == "_etext") {
      text->end = line.address;
    }
    table.add(line.address, 0, binding_of(line.type), line.name, {.id = id});
  });
  if (!read) {
    return std::unexpected(read.error());
  }
  if (table.size() == 0) {
    return fail("{} names no kernel function: it is neither a kallsyms nor a System.map file.",
                path.string());
  }
  if (!some_address) {
    return fail(
        "{} hides the kernel's addresses: run as root or with CAP_SYSLOG, or set "
        "kernel.kptr_restrict to 0.",
        path.string());
  }
  table.finish();
  return table;
}

Result<SymbolTable> read_xensyms(const std::filesystem::path& path) {
  struct Found {
    std::uint64_t address;
    char type;
    std::string name;
  };
  std::vector<Found> found;
  const auto read = read_lines(path, [&](const ListLine& line) {
    if (is_code(line.type)) {
      found.push_back({line.address, line.type, std::string(line.name)});
    }
  });
  if (!read) {
    return std::unexpected(read.error());
  }
  if (found.empty()) {
    return fail("{} names no function of Xen.", path.string());
  }
  std::unordered_map<std::string_view, unsigned> times;
  for (const Found& one : found) {
    ++times[without_file(one.name)];
  }
  SymbolTable table;
  for (const Found& one : found) {
    const std::string_view bare = without_file(one.name);
    table.add(one.address, 0, binding_of(one.type), times[bare] == 1 ? bare : one.name);
  }
  table.finish();
  return table;
}

}  // namespace xenoprof
