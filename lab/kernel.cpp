// SPDX-License-Identifier: GPL-2.0-or-later
#include "kernel.h"

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <fstream>
#include <functional>
#include <map>
#include <optional>
#include <set>

#include "deb.h"
#include "elf_needs.h"
#include "files/folder.h"
#include "files/new_file.h"

namespace xenoprof::lab {
namespace {

namespace fs = std::filesystem;

Result<std::string> read_file(const fs::path& file) {
  std::ifstream stream(file, std::ios::binary);
  if (!stream)
    return fail("cannot read {}", file.string());
  return std::string(std::istreambuf_iterator<char>(stream), {});
}

Result<void> keep(const fs::path& file, std::string_view bytes) {
  const auto folder = Folder::make_unexposed(file.parent_path());
  return folder ? write_file(file, bytes) : std::unexpected(folder.error());
}

std::uint32_t u32_at(std::string_view bytes, std::size_t offset) {
  std::uint32_t value = 0;
  if (offset + sizeof value <= bytes.size())
    std::memcpy(&value, bytes.data() + offset, sizeof value);
  return value;
}

// Fields of the x86 boot protocol (Linux Documentation/arch/x86/boot.rst): setup_sects at 0x1f1,
// payload_offset at 0x248, payload_length at 0x24c.
Result<std::string> kernel_payload(std::string_view image, const fs::path& file) {
  constexpr std::size_t kSector = 512;
  if (image.size() < 2 * kSector || image.substr(0x202, 0) != "" || u32_at(image, 0x202) < 0x208)
    return fail("{} is no Linux kernel image", file.string());
  const std::size_t begin =
      (static_cast<unsigned char>(image[0x1f1]) + 1U) * kSector + u32_at(image, 0x248);
  const std::size_t size = u32_at(image, 0x24c);
  // The payload ends with the four bytes of its uncompressed size.
  if (size < 4 || begin > image.size() || size > image.size() - begin)
    return fail("{} is a damaged Linux kernel image", file.string());
  return decompress(image.substr(begin, size - 4), file.string());
}

std::vector<fs::path> files_like(const fs::path& folder, std::string_view prefix,
                                 std::string_view suffix) {
  std::vector<fs::path> found;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(folder, error)) {
    const std::string name = entry.path().filename();
    if (name.starts_with(prefix) && name.ends_with(suffix))
      found.push_back(entry.path());
  }
  std::ranges::sort(found);
  return found;
}

bool is_newer(const fs::path& file, const fs::path& than) {
  std::error_code error;
  return fs::exists(file, error) &&
         fs::last_write_time(file, error) > fs::last_write_time(than, error);
}

// Files and tools spell a module's name with '-' or '_' at will.
std::string module_name(std::string_view text) {
  std::string name(text.substr(0, text.find(".ko")));
  std::ranges::replace(name, '-', '_');
  return name;
}

}  // namespace

Result<Kernel> find_kernel(const fs::path& root, const fs::path& cache) {
  const auto images = files_like(root / "boot", "vmlinuz-", "");
  if (images.empty())
    return fail("{} has no kernel", (root / "boot").string());
  Kernel kernel;
  kernel.vmlinuz = images.back();
  kernel.release = kernel.vmlinuz.filename().string().substr(std::strlen("vmlinuz-"));
  kernel.modules = root / "usr/lib/modules" / kernel.release;
  kernel.vmlinux = cache / ("vmlinux-" + kernel.release);
  if (is_newer(kernel.vmlinux, kernel.vmlinuz))
    return kernel;
  const auto image = read_file(kernel.vmlinuz);
  if (!image)
    return std::unexpected(image.error());
  const auto payload = kernel_payload(*image, kernel.vmlinuz);
  if (!payload)
    return std::unexpected(payload.error());
  if (auto written = keep(kernel.vmlinux, *payload); !written)
    return std::unexpected(written.error());
  return kernel;
}

Result<fs::path> find_xen(const fs::path& root, const fs::path& cache) {
  const auto images = files_like(root / "boot", "xen-", ".gz");
  if (images.empty())
    return fail("{} has no Xen hypervisor", (root / "boot").string());
  fs::path xen = cache / images.back().stem();
  if (is_newer(xen, images.back()))
    return xen;
  const auto compressed = read_file(images.back());
  if (!compressed)
    return std::unexpected(compressed.error());
  const auto image = decompress(*compressed, images.back().string());
  if (!image)
    return std::unexpected(image.error());
  if (auto written = keep(xen, *image); !written)
    return std::unexpected(written.error());
  return xen;
}

Result<std::vector<fs::path>> modules_in_load_order(const fs::path& modules,
                                                    const std::vector<std::string>& names) {
  std::map<std::string, fs::path> files;
  std::error_code error;
  for (const auto& entry : fs::recursive_directory_iterator(modules / "kernel", error))
    if (entry.path().extension() == ".ko")
      files[module_name(entry.path().filename().string())] = entry.path();
  std::vector<fs::path> order;
  std::set<std::string> visited;
  const std::function<Result<void>(const std::string&)> visit =
      [&](const std::string& name) -> Result<void> {
    if (!visited.insert(name).second)
      return {};
    const auto file = files.find(name);
    if (file == files.end())
      return fail("the kernel in {} has no module {}", modules.string(), name);
    const auto dependencies = module_dependencies(file->second);
    if (!dependencies)
      return std::unexpected(dependencies.error());
    for (const std::string& dependency : *dependencies)
      if (auto visited_it = visit(module_name(dependency)); !visited_it)
        return visited_it;
    order.push_back(file->second);
    return {};
  };
  for (const std::string& name : names)
    if (auto visited_it = visit(module_name(name)); !visited_it)
      return std::unexpected(visited_it.error());
  return order;
}

}  // namespace xenoprof::lab
