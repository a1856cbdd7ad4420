// SPDX-License-Identifier: GPL-2.0-or-later
#include "kernel_module.h"

#include <fstream>
#include <map>

#include "file_lock.h"
#include "files/folder.h"
#include "files/new_file.h"
#include "hash.h"
#include "process.h"

namespace xenoprof::lab {
namespace {

namespace fs = std::filesystem;

// Of every source file's name and content, and of the kernel it is built for.
std::uint64_t build_key(const fs::path& sources, const Kernel& kernel) {
  std::map<std::string, std::string> files;
  std::error_code error;
  for (const auto& entry : fs::recursive_directory_iterator(sources, error)) {
    if (!entry.is_regular_file())
      continue;
    std::ifstream stream(entry.path(), std::ios::binary);
    files[entry.path().lexically_relative(sources)] = {std::istreambuf_iterator<char>(stream), {}};
  }
  Hash hash;
  hash.add(kernel.modules.string());
  for (const auto& [name, content] : files) {
    hash.add(name);
    hash.add(content);
  }
  return hash.value();
}

}  // namespace

Result<fs::path> build_kernel_module(const fs::path& sources, const std::string& name,
                                     const Kernel& kernel, const fs::path& cache,
                                     Progress& progress) {
  const fs::path folder =
      cache / fmt::format("{}-{}-{:016x}", name, kernel.release, build_key(sources, kernel));
  fs::path module = folder / (name + ".ko");
  const fs::path complete = folder / "complete";
  std::error_code error;
  if (fs::exists(complete, error))
    return module;
  if (const auto ours = Folder::make_unexposed(cache); !ours)
    return std::unexpected(ours.error());
  const auto lock = FileLock::take(cache / "lock", FileLock::Wait::kUntilFree);
  if (!lock)
    return std::unexpected(lock.error());
  if (fs::exists(complete, error))
    return module;
  progress.step(fmt::format("building {}.ko for {}", name, kernel.release));
  fs::remove_all(folder, error);
  fs::copy(sources, folder, fs::copy_options::recursive, error);
  if (error)
    return fail("cannot copy {} to {}: {}", sources.string(), folder.string(), error.message());
  const fs::path headers = fs::canonical(kernel.modules / "build", error);
  if (error)
    return fail("{} has no kernel headers: {}", kernel.modules.string(), error.message());
  const auto made =
      run_program({{"make", "-C", headers, "M=" + folder.string(), "modules"}, {}, {}});
  if (!made)
    return std::unexpected(made.error());
  if (made->status != 0 || !fs::exists(module, error))
    return fail("{}.ko for kernel {} does not build:\n{}", name, kernel.release, made->output);
  if (auto marked = write_file(complete, ""); !marked)
    return std::unexpected(marked.error());
  return module;
}

}  // namespace xenoprof::lab
