// SPDX-License-Identifier: GPL-2.0-or-later
// Whatever a perf.data holds: no crash, no hang, no memory that the file does not justify
// (-rss_limit_mb), and every sample that is told is in the profile.
#include <sys/mman.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>

#include "perf/data_reader.h"
#include "perf/interpret.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace xenoprof;
  static const int file = ::memfd_create("perf.data", MFD_CLOEXEC);
  static const std::string path = "/proc/self/fd/" + std::to_string(file);
  if (::ftruncate(file, 0) != 0 || ::pwrite(file, data, size, 0) != static_cast<ssize_t>(size)) {
    return -1;
  }
  auto reader = perf::DataReader::open(path);
  if (!reader) {
    return 0;
  }
  perf::Interpreter interpreter(reader->layout());
  std::uint64_t samples = 0;
  for (auto record = reader->next(); record && *record; record = reader->next()) {
    samples += std::holds_alternative<perf::SampleRecord>((*record)->body) ? 1 : 0;
    interpreter.add(**record);
  }
  interpreter.set_build_ids(reader->build_ids());
  const Profile& profile = interpreter.profile();
  for (std::size_t event = 0; event < profile.events().size(); ++event) {
    samples -= profile.total(event);
  }
  if (samples != 0) {
    std::abort();
  }
  reader->notes();
  return 0;
}
